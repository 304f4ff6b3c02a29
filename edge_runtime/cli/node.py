"""The command `pocketrec node`: a device that follows a server."""

import argparse
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edge_runtime.cli.commands import JSON, Actions, AddArguments, Command, argument, path, show, show_line
from edge_runtime.contract.atomic_files import PRIVATE_MODE, write_bytes_atomically
from edge_runtime.contract.bundle import device_artifacts
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.events import EVENT_KINDS, FeedbackEvent
from edge_runtime.contract.text import visible
from edge_runtime.feedback.exploration import LoggingPolicy
from edge_runtime.feedback.privacy import PRIVACY_LEVELS, check_privacy_level
from edge_runtime.node import EdgeNode, SyncReport, enroll, is_enrolled
from edge_runtime.node_loop import run_loop
from edge_runtime.node_settings import NodeSettings, choose_privacy

_PROGRESS_EVERY_S = 1.0


def _enroll(args: argparse.Namespace) -> int:
    settings = _enroll_from(args)
    return show(args, settings, f"enrolled as {settings.device_id}; next: pocketrec node sync --home {args.home}")


def _enroll_from(args: argparse.Namespace) -> NodeSettings:
    return enroll(
        args.home,
        server_url=args.server,
        trusted_root=_read(args.root),
        code=_read(args.code_file).decode("utf-8", errors="replace") if args.code_file else "",
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
    if not is_enrolled(args.home) and args.server and args.root:
        _enroll_from(args)
    with EdgeNode.open(args.home, on_bytes=_progress()) as node:
        if args.server and args.server.rstrip("/") != node.settings.server_url:
            raise ConfigError(f"{args.home} is enrolled with {node.settings.server_url}, not with {args.server}")
        report = node.sync(retry_refused=args.retry_refused)
    return show(args, report, _sync_line(report))


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
            report=lambda report: show_line(args, report, _sync_line(report)),
            chance=random.Random(),  # noqa: S311  (spreads load, guards nothing)
        )
    return 0


def _status(args: argparse.Namespace) -> int:
    with EdgeNode.open(args.home) as node:
        status = node.status()
    installed = status.installed
    queue = status.queue
    waits = (
        f"{queue.waiting} events wait, {queue.dropped} were dropped, {queue.set_aside} wait for a newer runtime"
        if queue is not None
        else "the feedback queue cannot be opened"
    )
    what = f"release {installed.release}, bundle {installed.bundle_id[:12]}" if installed else "no bundle yet"
    return show(
        args,
        status,
        f"{status.settings.device_id}: {what}; channel {status.settings.channel}, privacy {status.settings.privacy}, "
        f"{waits}",
    )


def _verify(args: argparse.Namespace) -> int:
    with EdgeNode.open(args.home) as node:
        bundle = node.verify()
    files = device_artifacts(bundle.manifest)
    result = {"bundle_id": bundle.bundle_id, "files": len(files), "bytes": sum(one.length_bytes for one in files)}
    text = f"bundle {bundle.bundle_id[:12]} is whole: {result['files']} files, {result['bytes']} bytes"
    return show(args, result, text)


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
    return show(args, {"sequence": sequence}, text)


def _search(args: argparse.Namespace) -> int:
    with EdgeNode.open(args.home) as node:
        shown = node.search(args.query, k=args.k, policy=LoggingPolicy(swap=args.swap, guest=args.guest))
    lines = [
        f"{one.position:>3} {one.product_id:<24} {one.score:.3f}  rank {one.rank}, propensity {one.propensity:.3f}, "
        f"on the page {one.page_propensity:.3f}"
        for one in shown.products
    ]
    return show(args, shown, "\n".join([*lines, f"list {shown.list_id}"]))


def _privacy(args: argparse.Namespace) -> int:
    settings = choose_privacy(args.home, check_privacy_level(args.level))
    return show(args, settings, f"{settings.device_id}: privacy level {settings.privacy} from now on")


def _forget(args: argparse.Namespace) -> int:
    with EdgeNode.open(args.home) as node:
        gone = node.forget()
    text = f"nothing waits here any longer; the server erased {gone.events} events and {gone.count_reports} reports"
    return show(args, gone, text)


def _export(args: argparse.Namespace) -> int:
    with EdgeNode.open(args.home) as node:
        data = node.export_data()
    write_bytes_atomically(args.out, data, mode=PRIVATE_MODE)
    count = data.count(b"\n")
    return show(args, {"lines": count, "out": str(args.out)}, f"wrote {count} lines to {args.out}")


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
    refused = "".join(f"\n  refused: {visible(reason)}" for reason in feedback.refused)
    return f"{text}; {feedback.sent} events sent{refused}"


def _progress() -> Callable[[int], None]:
    received, shown_s = 0, time.monotonic()

    def add(count: int) -> None:
        nonlocal received, shown_s
        received += count
        if time.monotonic() - shown_s >= _PROGRESS_EVERY_S:
            shown_s = time.monotonic()
            print(f"downloaded {received / 1e6:.1f} MB", file=sys.stderr, flush=True)

    return add


def _enrollment(*, required: bool) -> tuple[AddArguments, ...]:
    when = "" if required else " (for the first sync of a new device)"
    return (
        argument("--server", required=required, metavar="URL", help=f"address of the server{when}"),
        path("--root", "FILE", f"the keys' root.json{when}", required=required),
        path("--code-file", "FILE", f"one-time code or enrollment key{when}; left out where the server needs none"),
        argument("--channel", default="stable", help="whose releases to follow (stable)"),
        argument("--privacy", default="events", choices=PRIVACY_LEVELS, help="what may leave (events)"),
        argument("--allow-plain-http", action="store_true", help="accept an unprotected connection"),
    )


node = Actions(
    {
        "enroll": Command(
            _enroll, *_enrollment(required=True), about="make a home folder the home of a device that the server knows"
        ),
        "sync": Command(
            _sync,
            *_enrollment(required=False),
            argument("--retry-refused", action="store_true", help="try a bundle again that did not work here before"),
            about="send feedback and install the newest release, once",
        ),
        "run": Command(
            _run,
            argument("--interval", type=float, default=300.0, metavar="SECONDS", help="between syncs (300)"),
            about="sync again and again until stopped",
        ),
        "status": Command(_status, about="what is installed and what waits, without the network"),
        "verify": Command(
            _verify, about="compare every file of the installed bundle with its digest, without the network"
        ),
        "record": Command(
            _record,
            argument("--kind", required=True, choices=tuple(EVENT_KINDS), help="what happened"),
            argument("--product", required=True, metavar="ID", help="to which product"),
            argument("--position", type=int, help="place in the list, from 1"),
            argument("--propensity", type=float, help="probability with which it was shown there"),
            argument("--query", help="stored and sent at privacy level full only"),
            argument("--rank", type=int, help="place that the ranking gave it, from 1"),
            argument("--page-propensity", type=float, help="probability with which it was on the page at all"),
            argument("--list", dest="list_id", help="the shown list, as pocketrec node search names it"),
            about="put one event into the feedback queue",
        ),
        "search": Command(
            _search,
            argument("query", metavar="QUERY", help="what a person typed"),
            argument("-k", type=int, default=10, help="how many products (10)"),
            argument("--swap", type=float, default=0.0, help="probability of swapping neighbors (0)"),
            argument("--guest", type=float, default=0.0, help="probability of a product from below the page (0)"),
            about="rank the catalogue and record what was shown",
        ),
        "privacy": Command(
            _privacy,
            argument("--level", required=True, choices=PRIVACY_LEVELS, help="the new level"),
            about="choose what may leave the device, and note when",
        ),
        "forget": Command(_forget, about="remove the feedback here and have the server erase what it holds"),
        "export": Command(
            _export,
            path("--out", "FILE", "lines of JSON", required=True),
            about="fetch all that the server holds of this device",
        ),
    },
    path("--home", "DIR", "folder of the device", required=True),
    JSON,
)
