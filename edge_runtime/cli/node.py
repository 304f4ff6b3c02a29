"""The commands of a device: `pocketrec node enroll | sync | run | status | record`."""

import argparse
import dataclasses
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.events import EVENT_KINDS, FeedbackEvent
from edge_runtime.feedback.exploration import LoggingPolicy
from edge_runtime.feedback.privacy import PRIVACY_LEVELS, check_privacy_level
from edge_runtime.node import EdgeNode, SyncReport, enroll, is_enrolled
from edge_runtime.node_loop import run_loop
from edge_runtime.node_settings import NodeSettings, choose_privacy

_PROGRESS_EVERY_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `pocketrec node`."""
    actions = parser.add_subparsers(dest="action", required=True)
    enrolling = actions.add_parser("enroll", help="make a home folder the home of a device that the server knows")
    _add_enrollment(enrolling, required=True)
    syncing = actions.add_parser("sync", help="send feedback and install the newest release, once")
    _add_enrollment(syncing, required=False)
    running = actions.add_parser("run", help="sync again and again until stopped")
    running.add_argument("--interval", type=float, default=300.0, metavar="SECONDS", help="between syncs (300)")
    status = actions.add_parser("status", help="what is installed and what waits, without the network")
    recording = actions.add_parser("record", help="put one event into the feedback queue")
    recording.add_argument("--kind", required=True, choices=tuple(EVENT_KINDS))
    recording.add_argument("--product", required=True, metavar="ID")
    recording.add_argument("--position", type=int, help="place in the list, from 1")
    recording.add_argument("--propensity", type=float, help="probability with which it was shown there")
    recording.add_argument("--query", help="stored and sent at privacy level full only")
    recording.add_argument("--rank", type=int, help="place that the ranking gave it, from 1")
    recording.add_argument("--page-propensity", type=float, help="probability with which it was on the page at all")
    recording.add_argument("--list", dest="list_id", help="the shown list, as pocketrec node search names it")
    searching = actions.add_parser("search", help="rank the catalogue and record what was shown")
    searching.add_argument("query", metavar="QUERY")
    searching.add_argument("-k", type=int, default=10, help="how many products (10)")
    searching.add_argument("--swap", type=float, default=0.0, help="probability of swapping neighbors (0)")
    searching.add_argument("--guest", type=float, default=0.0, help="probability of a product from below the page (0)")
    choosing = actions.add_parser("privacy", help="choose what may leave the device, and note when")
    choosing.add_argument("--level", required=True, choices=PRIVACY_LEVELS)
    forgetting = actions.add_parser("forget", help="remove the feedback here and have the server erase what it holds")
    exporting = actions.add_parser("export", help="fetch all that the server holds of this device")
    exporting.add_argument("--out", required=True, type=Path, metavar="FILE", help="lines of JSON")
    others = (searching, choosing, forgetting, exporting)
    for action in (enrolling, syncing, running, status, recording, *others):
        action.add_argument("--home", required=True, type=Path, metavar="DIR", help="folder of the device")
        action.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def _add_enrollment(parser: argparse.ArgumentParser, *, required: bool) -> None:
    when = "" if required else " (for the first sync of a new device)"
    parser.add_argument("--server", required=required, metavar="URL", help=f"address of the server{when}")
    parser.add_argument("--root", required=required, type=Path, metavar="FILE", help=f"the keys' root.json{when}")
    parser.add_argument("--code-file", required=required, type=Path, metavar="FILE", help=f"one-time code{when}")
    parser.add_argument("--channel", default="stable", help="whose releases to follow (stable)")
    parser.add_argument("--privacy", default="events", choices=PRIVACY_LEVELS, help="what may leave (events)")
    parser.add_argument("--allow-plain-http", action="store_true", help="accept an unprotected connection")


def run(args: argparse.Namespace) -> int:
    """Run one action; return the exit code."""
    actions = {
        "enroll": _enroll,
        "sync": _sync,
        "run": _run,
        "status": _status,
        "record": _record,
        "search": _search,
        "privacy": _privacy,
        "forget": _forget,
        "export": _export,
    }
    return actions[args.action](args)


def _enroll(args: argparse.Namespace) -> int:
    settings = _enroll_from(args)
    _show(args, settings, f"enrolled as {settings.device_id}; next: pocketrec node sync --home {args.home}")
    return 0


def _enroll_from(args: argparse.Namespace) -> NodeSettings:
    return enroll(
        args.home,
        server_url=args.server,
        trusted_root=_read(args.root),
        code=_read(args.code_file).decode("utf-8", errors="replace"),
        channel=args.channel,
        privacy=check_privacy_level(args.privacy),
        allow_plain_http=args.allow_plain_http,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def _sync(args: argparse.Namespace) -> int:
    if not is_enrolled(args.home) and args.server and args.root and args.code_file:
        _enroll_from(args)
    with EdgeNode.open(args.home, on_bytes=_progress()) as node:
        if args.server and args.server.rstrip("/") != node.settings.server_url:
            raise ConfigError(f"{args.home} is enrolled with {node.settings.server_url}, not with {args.server}")
        report = node.sync()
    _show(args, report, _sync_line(report))
    return 0


def _run(args: argparse.Namespace) -> int:
    if not args.interval > 0:
        raise ConfigError(f"--interval: expected seconds above 0, got {args.interval:g}")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with EdgeNode.open(args.home, on_bytes=_progress()) as node:
        run_loop(
            node.sync,
            interval_s=args.interval,
            stop=stop,
            report=lambda report: _show(args, report, _sync_line(report)),
            chance=random.Random(),  # noqa: S311  (spreads load, guards nothing)
        )
    return 0


def _status(args: argparse.Namespace) -> int:
    with EdgeNode.open(args.home) as node:
        status = node.status()
    installed = status.installed
    what = f"release {installed.release}, bundle {installed.bundle_id[:12]}" if installed else "no bundle yet"
    _show(
        args,
        status,
        f"{status.settings.device_id}: {what}; channel {status.settings.channel}, privacy {status.settings.privacy}, "
        f"{status.queue.waiting} events wait, {status.queue.dropped} were dropped, {status.queue.set_aside} wait for a newer runtime",
    )
    return 0


def _record(args: argparse.Namespace) -> int:
    with EdgeNode.open(args.home) as node:
        installed = node.status().installed
        event = FeedbackEvent(
            kind=args.kind,
            product_id=args.product,
            timestamp_s=time.time(),
            bundle_id=installed.bundle_id if installed else "",
            position=args.position,
            rank=args.rank,
            page_propensity=args.page_propensity,
            list_id=args.list_id,
            propensity=args.propensity,
            query=args.query,
        )
        sequence = node.record(event)
    text = f"recorded as event {sequence}" if sequence else "not recorded: the privacy level or a full queue forbids it"
    _show(args, {"sequence": sequence}, text)
    return 0


def _search(args: argparse.Namespace) -> int:
    with EdgeNode.open(args.home) as node:
        shown = node.search(args.query, k=args.k, policy=LoggingPolicy(swap=args.swap, guest=args.guest))
    lines = [
        f"{one.position:>3} {one.product_id:<24} {one.score:.3f}  rank {one.rank}, propensity {one.propensity:.3f}, "
        f"on the page {one.page_propensity:.3f}"
        for one in shown.products
    ]
    _show(args, shown, "\n".join([*lines, f"list {shown.list_id}"]))
    return 0


def _privacy(args: argparse.Namespace) -> int:
    settings = choose_privacy(args.home, check_privacy_level(args.level))
    _show(args, settings, f"{settings.device_id}: privacy level {settings.privacy} from now on")
    return 0


def _forget(args: argparse.Namespace) -> int:
    with EdgeNode.open(args.home) as node:
        gone = node.forget()
    text = f"nothing waits here any longer; the server erased {gone.events} events and {gone.count_reports} reports"
    _show(args, gone, text)
    return 0


def _export(args: argparse.Namespace) -> int:
    with EdgeNode.open(args.home) as node:
        data = node.export_data()
    write_bytes_atomically(args.out, data)
    count = data.count(b"\n")
    _show(args, {"lines": count, "out": str(args.out)}, f"wrote {count} lines to {args.out}")
    return 0


def _sync_line(report: SyncReport) -> str:
    update, feedback = report.update, report.feedback
    if update.switched:
        text = (
            f"installed release {update.release}, bundle {update.to_bundle_id[:12]}: {update.bytes_downloaded} bytes in "
            f"{update.files_downloaded} files downloaded ({update.deltas_applied} as deltas), "
            f"{update.files_reused} files reused"
        )
    else:
        text = f"up to date with release {update.release}, bundle {update.to_bundle_id[:12]}"
    refused = "".join(f"\n  refused: {reason}" for reason in feedback.refused)
    return f"{text}; {feedback.sent} events sent{refused}"


def _show(args: argparse.Namespace, result: object, text: str) -> None:
    print(msgspec.json.encode(result).decode() if args.json else text, flush=True)


def _progress() -> Callable[[int], None]:
    progress = _Progress(started_s=time.monotonic())
    return progress.add


@dataclasses.dataclass
class _Progress:
    started_s: float
    received: int = 0
    shown_s: float = 0.0

    def add(self, count: int) -> None:
        self.received += count
        now = time.monotonic()
        if now - max(self.started_s, self.shown_s) >= _PROGRESS_EVERY_S:
            self.shown_s = now
            print(f"downloaded {self.received / 1e6:.1f} MB", file=sys.stderr, flush=True)
