"""The arguments of `pocketrec export`, apart from what loads TensorFlow."""

import argparse
from pathlib import Path


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


COMMANDS = {"export": (add_arguments, "pocketrec.cli.export:run")}
