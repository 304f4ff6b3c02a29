"""The command `pocketrec feedback`: export, estimated counts, retention."""

import argparse
import sys
import time
from collections.abc import Callable

from sqlalchemy import Engine

from edge_runtime.cli.commands import JSON, Actions, Command, Run, argument, path, show
from edge_runtime.contract.counts import COUNTED_KINDS
from edge_runtime.contract.errors import ConfigError
from pocketrec.cli.places import HOME, SETTINGS, opened_database, settings_of
from sync_server.config import ServerConfig
from sync_server.events.export import export_parquet
from sync_server.events.json_lines import export_json_lines
from sync_server.events.private_counts import sum_reports
from sync_server.events.retention import sweep

_DAY_S = 86_400.0


def _export(args: argparse.Namespace, engine: Engine, _: ServerConfig) -> int:
    count = {"parquet": export_parquet, "jsonl": export_json_lines}[args.format](engine, args.out)
    return show(args, {"events": count, "out": str(args.out)}, f"wrote {count} events to {args.out}")


def _counts(args: argparse.Namespace, engine: Engine, config: ServerConfig) -> int:
    try:
        products = args.products.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {args.products} ({error}); expected product ids, one a line") from error
    from_s = 0.0 if args.days is None else time.time() - args.days * _DAY_S
    sums = sum_reports(engine, config.counts, from_s=from_s)
    rows = sorted(sums.estimate(products, args.kind), key=lambda one: -one.count)[: args.top]
    lines = [f"{row.product_id:<30} {row.count:>10.0f}   95% interval {row.low:.0f} … {row.high:.0f}" for row in rows]
    losses = {str(epsilon): count for epsilon, count in sums.reports_by_epsilon.items()}
    lines.append(f"{args.kind}s told from {sums.reports} noisy reports; reports by epsilon: {losses or 'none'}")
    return show(args, {"reports": sums.reports, "reports_by_epsilon": losses, "estimates": rows}, "\n".join(lines))


def _sweep(args: argparse.Namespace, engine: Engine, config: ServerConfig) -> int:
    days = config.retention_days if args.days is None else args.days
    if not days > 0:
        raise ConfigError(f"--days: expected more than 0, got {days:g}")
    removed = 0
    while gone := sweep(engine, before_s=time.time() - days * _DAY_S):
        removed += gone
        print(f"removed {removed} events and reports", file=sys.stderr, flush=True)
    return show(
        args, {"removed": removed, "days": days}, f"removed {removed} events and reports older than {days:g} days"
    )


def _on_database(run: Callable[[argparse.Namespace, Engine, ServerConfig], int]) -> Run:
    def run_there(args: argparse.Namespace) -> int:
        config = settings_of(args)
        with opened_database(config) as engine:
            return run(args, engine, config)

    return run_there


feedback = Actions(
    {
        "export": Command(
            _on_database(_export),
            path("--out", "PATH", "a new folder, or a file for jsonl", required=True),
            argument("--format", choices=("parquet", "jsonl"), default="parquet", help="form of files (parquet)"),
            about="write all events as files",
        ),
        "counts": Command(
            _on_database(_counts),
            path("--products", "FILE", "product ids, one a line", required=True),
            argument("--kind", choices=COUNTED_KINDS, default="click", help="what was counted (click)"),
            argument("--top", type=int, default=20, help="how many to show, largest estimate first (20)"),
            argument("--days", type=float, help="of the last days only (all)"),
            about="estimate counts from the noisy reports of level counts",
        ),
        "sweep": Command(
            _on_database(_sweep),
            argument("--days", type=float, help="retention in days (retention_days of the settings)"),
            about="remove what is older than the retention",
        ),
    },
    HOME,
    SETTINGS,
    JSON,
)
