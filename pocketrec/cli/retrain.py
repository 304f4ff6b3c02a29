"""The command `pocketrec retrain`."""

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_runtime.cli.commands import JSON, Command, argument, one_of, path
from edge_runtime.contract.errors import ConfigError
from edge_runtime.settings import load_toml
from pocketrec.cli.output import print_plainly, progress_bars

if TYPE_CHECKING:
    from pocketrec.pipeline.retrain import RetrainReport

GATE_FAILED = 3


def _retrain(args: argparse.Namespace) -> int:
    from pocketrec.pipeline.retrain import retrain_bundle
    from pocketrec.pipeline.settings import RetrainSettings
    from train.data.reading import read_shop

    _check_publishing(args)
    settings = load_toml(args.config, into=RetrainSettings) if args.config else RetrainSettings()
    if args.seed is not None:
        settings = replace(settings, seed=args.seed)
    work: Path = args.work or args.bundle.with_name(f"{args.bundle.name}.build")
    with progress_bars() as progress:
        report = retrain_bundle(
            args.bundle,
            read_shop(args.shop),
            args.events,
            args.out,
            settings,
            work=work,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            progress=progress,
        )
    published = _publish(args) if args.publish_to and not report.failed_gates else None
    if args.json:
        text = msgspec.json.encode({**msgspec.to_builtins(report), "published": published}).decode()
    else:
        text = "\n".join(summary(report, args.out, published))
    print_plainly(text)
    return GATE_FAILED if report.failed_gates else 0


def _check_publishing(args: argparse.Namespace) -> None:
    if not args.publish_to:
        return
    if args.keys is None or not (args.server or args.store or args.server_config):
        raise ConfigError("--publish-to needs --keys and one of --server, --store and --server-config")


def _publish(args: argparse.Namespace) -> dict[str, object]:
    from pocketrec.cli_subprocess import run_command

    places = {"--server": args.server, "--store": args.store, "--config": args.server_config}
    place = next([flag, str(value)] for flag, value in places.items() if value)
    token = ["--token-file", str(args.token_file)] if args.token_file else []
    keys = ["--keys", str(args.keys)]
    return run_command(["publish", str(args.out), "--channel", args.publish_to, *keys, *place, *token, "--json"])


def summary(report: "RetrainReport", out: Path, published: dict[str, object] | None) -> list[str]:
    """Return the report as lines for people."""
    verdict = report.off_policy
    lines = [
        f"{report.lists[0]:,} lists of {report.queries:,} queries taught, {report.lists[1]:,} of other devices judged",
        *(f"  left out: {count:,} events: {reason}" for reason, count in report.left_out.items()),
        "a place is looked at: " + " ".join(f"{one:.2f}" for one in report.position_bias)
        + ("" if report.position_bias_is_estimated else "  (assumed: no swapped neighbors were logged)"),
        "clicked or bought products per list, with 95% intervals (docs/feedback.md):",
    ]  # fmt: skip
    for name in ("ips", "snips", "dr"):
        cells = [
            f"{what} {one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
            for what, one in (
                ("before", verdict.baseline[name]),
                ("after", verdict.candidate[name]),
                ("gain", verdict.gain[name]),
            )
        ]
        lines.append(f"  {name:<6} " + "  ".join(cells))
    if report.holdout_before is not None and report.holdout_after is not None:
        lines.append(
            f"re-rank nDCG@10 on held-out queries: {report.holdout_before:.4f} before, {report.holdout_after:.4f} after"
        )
    lines.append(
        f"{report.trained_weights:,} numbers were free; the encoder's delta is {report.delta_bytes:,} bytes, "
        f"{report.delta_bytes / report.encoder_bytes:.1%} of {report.encoder_bytes:,}"
    )
    lines += [f"gate failed: {reason}" for reason in report.failed_gates]
    if published is not None:
        lines.append(f"published as release {published['release']} of channel {published['channel']}")
    elif not report.failed_gates:
        lines.append(f"every gate is passed; next: pocketrec publish {out} --channel canary")
    return lines


retrain = Command(
    _retrain,
    path("bundle", "BUNDLE", "the bundle that the fleet has"),
    path("--shop", "SHOP", "the shop that it was built from", required=True),
    path("--events", "PATH", "what pocketrec feedback export wrote", required=True),
    path("--out", "BUNDLE", "folder of the new bundle", required=True),
    path("--work", "DIR", "stages of the bundle's own build (BUNDLE.build)"),
    path("--config", "FILE", "settings as TOML (docs/feedback.md)"),
    argument("--seed", type=int, metavar="N", help="of every random choice (0)"),
    argument("--publish-to", metavar="CHANNEL", help="publish there when every gate is passed, as a canary"),
    path("--keys", "KEYS", "folder of pocketrec keys init, for --publish-to"),
    one_of(
        argument("--server", metavar="URL", help="the server's address, for --publish-to"),
        path("--store", "DIR", "the server's home, when it is on this machine"),
        path("--server-config", "FILE", "the server's settings as TOML, when it is on this machine"),
    ),
    path("--token-file", "FILE", "the publisher's token, with --server"),
    JSON,
)
