"""The command `pocketrec export`."""

import argparse
import json
import sys

from compress.export import export_teacher
from train.shop.reading import read_shop


def run(args: argparse.Namespace) -> int:
    """Run `pocketrec export`."""
    shop = read_shop(args.shop)
    print(f"encoding {len(shop.products)} products ...", file=sys.stderr, flush=True)
    export_teacher(args.teacher, shop.products, args.out, max_tokens=args.max_tokens)
    result = {"folder": str(args.out), "products": len(shop.products)}
    text = f"exported to {args.out}: model.onnx, saved_model/ and the vectors of {len(shop.products)} products"
    print(json.dumps(result) if args.json else text)
    return 0
