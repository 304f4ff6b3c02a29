"""The command `pocketrec export`."""

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING

from edge_runtime.cli.commands import JSON, Command, argument, path, show
from edge_runtime.contract.bundle import MANIFEST_FILE
from edge_runtime.contract.errors import ConfigError

if TYPE_CHECKING:
    from pocketrec.pipeline.export import Exported


def _export(args: argparse.Namespace) -> int:
    exported = _export_student(args) if (args.model / MANIFEST_FILE).is_file() else _export_teacher(args)
    return show(args, {"folder": str(args.out), **dataclasses.asdict(exported)}, _text(args, exported))


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


export = Command(
    _export,
    path("model", "MODEL", "a bundle, for its student; or the teacher's folder in a build's work folder"),
    path("--work", "DIR", "of a bundle: stages of its own build (BUNDLE.build)"),
    path("--shop", "SHOP", "of a teacher: folder of the shop's tables"),
    path("--out", "DIR", "rank_folder of the server's settings", required=True),
    argument("--max-tokens", type=int, default=64, help="of a teacher: longer texts are cut (64)"),
    JSON,
)
