"""The command `pocketrec demo`."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from compress.demo import SETTINGS, run_demo
from compress.demo_tables import show_demo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pocketrec demo`."""
    parser.add_argument(
        "--dir", type=Path, default=Path("demo"), metavar="DIR", help="a new folder, or an earlier demo's (demo)"
    )
    parser.add_argument("--products", type=int, default=2000, help="size of the sample shop (2000)")
    parser.add_argument(
        "--config", type=Path, default=SETTINGS, metavar="FILE", help="settings of the build (some for a few minutes)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the demo; return the exit code."""
    progress = Console(file=sys.stderr, highlight=False)
    report = run_demo(
        args.dir,
        products=args.products,
        config=args.config,
        on_step=lambda command: progress.print(f"$ {command}", style="bold", markup=False, soft_wrap=True),
    )
    if args.json:
        print(json.dumps(asdict(report), default=str, ensure_ascii=False))
    else:
        show_demo(report, Console())
    return 0


COMMANDS = {"demo": (add_arguments, run)}
