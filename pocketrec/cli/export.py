"""The command `pocketrec export`."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.contract.bundle import MANIFEST_FILE
from edge_runtime.contract.errors import ConfigError

if TYPE_CHECKING:
    from pocketrec.pipeline.export import Exported


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pocketrec export`."""
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="a bundle, for its student; or the teacher's folder in a build's work folder",
    )
    parser.add_argument("--work", type=Path, metavar="DIR", help="of a bundle: stages of its own build (BUNDLE.build)")
    parser.add_argument("--shop", type=Path, metavar="SHOP", help="of a teacher: folder of the shop's tables")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="rank_folder of the server's settings")
    parser.add_argument("--max-tokens", type=int, default=64, help="of a teacher: longer texts are cut (64)")
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def run(args: argparse.Namespace) -> int:
    """Run `pocketrec export`."""
    exported = _export_student(args) if (args.model / MANIFEST_FILE).is_file() else _export_teacher(args)
    result = {"folder": str(args.out), **dataclasses.asdict(exported)}
    print(json.dumps(result) if args.json else _text(args, exported))
    return 0


def _text(args: argparse.Namespace, exported: "Exported") -> str:
    text = f"exported to {args.out}: model.onnx, saved_model/ and the vectors of {exported.products} products"
    found = exported.agreement
    if found is None:
        return text
    return (
        f"{text}\nagainst the device's int8 on {found.queries} golden queries: cosine {found.mean_cosine:.4f} "
        f"(worst {found.worst_cosine:.4f}), {found.top10_overlap:.1%} of its first ten by vectors"
    )


def _export_student(args: argparse.Namespace) -> "Exported":
    from pocketrec.pipeline.export import export_student

    if args.shop is not None:
        raise ConfigError(f"--shop belongs to a teacher; {args.model} is a bundle, which has its own products")
    return export_student(args.model, args.out, work=args.work or args.model.with_name(f"{args.model.name}.build"))


def _export_teacher(args: argparse.Namespace) -> "Exported":
    from pocketrec.pipeline.export import export_teacher
    from train.data.reading import read_shop

    if args.shop is None:
        raise ConfigError(f"{args.model} is no bundle; for a teacher give --shop, whose products it encodes")
    products = read_shop(args.shop).products
    print(f"encoding {len(products)} products ...", file=sys.stderr, flush=True)
    return export_teacher(args.model, products, args.out, max_tokens=args.max_tokens)
