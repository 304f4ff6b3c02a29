"""The command `pocketrec demo`."""

import argparse
import contextlib
import json
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from edge_runtime.cli.commands import JSON, Command, argument, path
from pocketrec.pipeline.demo import SETTINGS, run_demo, serving_storefront, show_demo, storefront_command


def _demo(args: argparse.Namespace) -> int:
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
    if args.serve:
        _serve(report.folder, args.port)
    elif not args.json:
        print(
            f"The shop for a browser: {storefront_command(report.folder)}, then open /shop/ at the address it prints."
        )
    return 0


def _serve(folder: Path, port: int) -> None:
    # The address is no result of the demo's: with --json, stdout holds one object.
    with serving_storefront(folder, port=port) as address:
        print(f"The shop is at {address} (Ctrl-C ends it)", file=sys.stderr, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


demo = Command(
    _demo,
    path("--dir", "DIR", "a new folder, or an earlier demo's (demo)", default=Path("demo")),
    argument("--products", type=int, default=2000, help="size of the sample shop (2000)"),
    path("--config", "FILE", "settings of the build (some for a few minutes)", default=SETTINGS),
    argument("--serve", action="store_true", help="afterwards keep the server up, with its storefront, until Ctrl-C"),
    argument("--port", type=int, default=8080, help="where --serve listens, 0 for any free port (8080)"),
    JSON,
)
