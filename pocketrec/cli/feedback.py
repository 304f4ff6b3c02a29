"""The command `pocketrec feedback`: export, estimated counts, retention; and what `pocketrec devices` does with data."""

import argparse
import sys
import time
from pathlib import Path

import msgspec
from sqlalchemy import Engine

from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.counts import COUNTED_KINDS
from edge_runtime.contract.errors import ConfigError
from pocketrec.publishing.local_server import add_home, opened_database, settings_of
from sync_server.config import ServerConfig
from sync_server.events.data_requests import device_data, erase_device
from sync_server.events.export import export_parquet
from sync_server.events.json_lines import export_json_lines
from sync_server.events.private_counts import sum_reports
from sync_server.events.retention import sweep

_DAY_S = 86_400.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `pocketrec feedback`."""
    actions = parser.add_subparsers(dest="action", required=True)
    exporting = actions.add_parser("export", help="write all events as files")
    exporting.add_argument("--out", required=True, type=Path, metavar="PATH", help="a new folder, or a file for jsonl")
    exporting.add_argument("--format", choices=("parquet", "jsonl"), default="parquet", help="form of files (parquet)")
    counting = actions.add_parser("counts", help="estimate counts from the noisy reports of level counts")
    counting.add_argument("--products", required=True, type=Path, metavar="FILE", help="product ids, one a line")
    counting.add_argument("--kind", choices=COUNTED_KINDS, default="click", help="what was counted (click)")
    counting.add_argument("--top", type=int, default=20, help="how many to show, largest estimate first (20)")
    counting.add_argument("--days", type=float, help="of the last days only (all)")
    sweeping = actions.add_parser("sweep", help="remove what is older than the retention")
    sweeping.add_argument("--days", type=float, help="retention in days (retention_days of the settings)")
    for action in (exporting, counting, sweeping):
        add_home(action)
        action.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def run(args: argparse.Namespace) -> int:
    """Run one action; return the exit code."""
    config = settings_of(home=args.home, config=args.config)
    with opened_database(config) as engine:
        return {"export": _export, "counts": _counts, "sweep": _sweep}[args.action](args, engine, config)


def _export(args: argparse.Namespace, engine: Engine, _: ServerConfig) -> int:
    count = {"parquet": export_parquet, "jsonl": export_json_lines}[args.format](engine, args.out)
    _show(args, {"events": count, "out": str(args.out)}, f"wrote {count} events to {args.out}")
    return 0


def _counts(args: argparse.Namespace, engine: Engine, _: ServerConfig) -> int:
    try:
        products = args.products.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {args.products} ({error}); expected product ids, one a line") from error
    sums = sum_reports(engine, from_s=0.0 if args.days is None else time.time() - args.days * _DAY_S)
    rows = sorted(sums.estimate(products, args.kind), key=lambda one: -one.count)[: args.top]
    lines = [f"{row.product_id:<30} {row.count:>10.0f}   95% interval {row.low:.0f} … {row.high:.0f}" for row in rows]
    losses = {str(epsilon): count for epsilon, count in sums.reports_by_epsilon.items()}
    lines.append(f"{args.kind}s told from {sums.reports} noisy reports; reports by epsilon: {losses or 'none'}")
    _show(args, {"reports": sums.reports, "reports_by_epsilon": losses, "estimates": rows}, "\n".join(lines))
    return 0


def _sweep(args: argparse.Namespace, engine: Engine, config: ServerConfig) -> int:
    days = config.retention_days if args.days is None else args.days
    if not days > 0:
        raise ConfigError(f"--days: expected more than 0, got {days:g}")
    removed = 0
    while gone := sweep(engine, before_s=time.time() - days * _DAY_S):
        removed += gone
        print(f"removed {removed} events and reports", file=sys.stderr, flush=True)
    _show(args, {"removed": removed, "days": days}, f"removed {removed} events and reports older than {days:g} days")
    return 0


def add_device_actions(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `export` and `erase` to the actions of `pocketrec devices`, whose parser adds the place."""
    exporting = actions.add_parser("export", help="write all that is kept of one device")
    exporting.add_argument("--out", required=True, type=Path, metavar="FILE", help="lines of JSON")
    erasing = actions.add_parser("erase", help="erase what one device sent; it stays enrolled")
    for action in (exporting, erasing):
        action.add_argument("device_id", metavar="DEVICE")


def run_device_action(args: argparse.Namespace, engine: Engine, *, actor: str) -> int:
    """Run `pocketrec devices export` or `erase`; return the exit code."""
    if args.action == "export":
        lines = list(device_data(engine, args.device_id))
        write_bytes_atomically(args.out, b"".join(lines))
        _show(args, {"lines": len(lines), "out": str(args.out)}, f"wrote {len(lines)} lines to {args.out}")
        return 0
    gone = erase_device(engine, args.device_id, actor=actor, now_s=time.time())
    text = f"erased {gone.events} events and {gone.count_reports} count reports of {args.device_id}"
    _show(args, {"device_id": args.device_id, **msgspec.to_builtins(gone)}, text)
    return 0


def _show(args: argparse.Namespace, result: object, text: str) -> None:
    print(msgspec.json.encode(result).decode() if args.json else text, flush=True)
