"""The command `pocketrec export`."""

import argparse
import json
import sys

from compress.export import export_student, export_teacher
from edge_runtime.contract.bundle import MANIFEST_FILE
from edge_runtime.contract.errors import ConfigError
from train.shop.reading import read_shop


def run(args: argparse.Namespace) -> int:
    """Run `pocketrec export`."""
    products = _export_student(args) if (args.model / MANIFEST_FILE).is_file() else _export_teacher(args)
    result = {"folder": str(args.out), "products": products}
    text = f"exported to {args.out}: model.onnx, saved_model/ and the vectors of {products} products"
    print(json.dumps(result) if args.json else text)
    return 0


def _export_student(args: argparse.Namespace) -> int:
    if args.shop is not None:
        raise ConfigError(f"--shop belongs to a teacher; {args.model} is a bundle, which has its own products")
    return export_student(args.model, args.out, work=args.work or args.model.with_name(f"{args.model.name}.build"))


def _export_teacher(args: argparse.Namespace) -> int:
    if args.shop is None:
        raise ConfigError(f"{args.model} is no bundle; for a teacher give --shop, whose products it encodes")
    products = read_shop(args.shop).products
    print(f"encoding {len(products)} products ...", file=sys.stderr, flush=True)
    export_teacher(args.model, products, args.out, max_tokens=args.max_tokens)
    return len(products)
