"""The command `pocketrec export`."""

import argparse
import dataclasses
import json
import sys

from edge_runtime.contract.bundle import MANIFEST_FILE
from edge_runtime.contract.errors import ConfigError
from pocketrec.pipeline.export import Exported, export_student, export_teacher
from train.data.reading import read_shop


def run(args: argparse.Namespace) -> int:
    """Run `pocketrec export`."""
    exported = _export_student(args) if (args.model / MANIFEST_FILE).is_file() else _export_teacher(args)
    result = {"folder": str(args.out), **dataclasses.asdict(exported)}
    print(json.dumps(result) if args.json else _text(args, exported))
    return 0


def _text(args: argparse.Namespace, exported: Exported) -> str:
    text = f"exported to {args.out}: model.onnx, saved_model/ and the vectors of {exported.products} products"
    found = exported.agreement
    if found is None:
        return text
    return (
        f"{text}\nagainst the device's int8 on {found.queries} golden queries: cosine {found.mean_cosine:.4f} "
        f"(worst {found.worst_cosine:.4f}), {found.top10_overlap:.1%} of its first ten by vectors"
    )


def _export_student(args: argparse.Namespace) -> Exported:
    if args.shop is not None:
        raise ConfigError(f"--shop belongs to a teacher; {args.model} is a bundle, which has its own products")
    return export_student(args.model, args.out, work=args.work or args.model.with_name(f"{args.model.name}.build"))


def _export_teacher(args: argparse.Namespace) -> Exported:
    if args.shop is None:
        raise ConfigError(f"{args.model} is no bundle; for a teacher give --shop, whose products it encodes")
    products = read_shop(args.shop).products
    print(f"encoding {len(products)} products ...", file=sys.stderr, flush=True)
    return export_teacher(args.model, products, args.out, max_tokens=args.max_tokens)
