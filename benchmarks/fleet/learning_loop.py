"""The learning loop with simulated users whose preferences are known: bias of the estimates, quality, size of deltas.

    python -m benchmarks.fleet.learning_loop [--shop SHOP --bundle BUNDLE] [--out FILE]

sample shop -> build -> devices show randomized pages, people click -> server stores -> export -> retrain -> truth
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.fleet.simulated_users import People, log_of, people_of, seen_lists
from benchmarks.result_file import write_result
from edge_runtime.contract.bundle import open_bundle
from edge_runtime.contract.errors import PocketrecError
from edge_runtime.contract.events import FeedbackBatch, FeedbackEvent, SequencedEvent
from edge_runtime.feedback.exploration import LoggingPolicy
from pocketrec.cli_subprocess import run_command
from pocketrec.pipeline.demo import SETTINGS
from pocketrec.pipeline.retrain import RetrainReport, rankings, retrain_bundle
from pocketrec.pipeline.settings import RetrainSettings
from sync_server.database.engine import migrate, open_database
from sync_server.devices.enrollment import Enrollment
from sync_server.events.export import export_parquet
from sync_server.events.ingest import EventIngest
from train.clicks.off_policy import ESTIMATORS, compare_off_policy
from train.data.reading import read_shop
from train.data.splits import ranked_queries, split_holdout
from train.data.tables import Shop

PLACES = 10
POLICY = LoggingPolicy(swap=0.4, guest=0.4, reserve=10)
_BATCH_EVENTS = 500
_HOLDOUT = 0.3
_START_S = 1_700_000_000.0
_DAY_S = 86_400.0


def _say_nothing(*_: object) -> None:
    """A progress that shows nothing."""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleet.learning_loop", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--work", type=Path, default=Path("work/learning-loop"), help="folder of shop, bundle and server"
    )
    parser.add_argument("--shop", type=Path, help="a shop that is there already (with --bundle)")
    parser.add_argument("--bundle", type=Path, help="its bundle, with BUNDLE.build beside it")
    parser.add_argument("--products", type=int, default=600, help="of the sample shop (600)")
    parser.add_argument("--queries", type=int, default=150, help="that people ask (150)")
    parser.add_argument("--devices", type=int, default=2_000, help="people (2,000)")
    parser.add_argument("--lists", type=int, default=20_000, help="lists that they see (20,000)")
    parser.add_argument("--repeats", type=int, default=100, help="fresh logs, for the coverage of intervals (100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/learning_loop.json"))
    return parser.parse_args(arguments)


def prepare(options: argparse.Namespace) -> tuple[Path, Path]:
    """Return shop and bundle, built when they are not there."""
    if options.shop and options.bundle:
        return options.shop, options.bundle
    shop, bundle = options.work / "shop", options.work / "bundle"
    options.work.mkdir(parents=True, exist_ok=True)
    if not shop.exists():
        run_command(["shop", "sample", str(shop), "--products", str(options.products), "--json"])
    if not bundle.exists():
        config = str(SETTINGS)
        run_command(
            [
                "build",
                str(shop),
                "--out",
                str(bundle),
                "--config",
                config,
                "--holdout",
                str(_HOLDOUT),
                "--resume",
                "--json",
            ]
        )
    return shop, bundle


def asked_queries(shop: Shop, held_out: Mapping[str, Any], count: int) -> list[str]:
    """Return judged queries that no holdout has."""
    return [query for query in ranked_queries(shop) if query not in held_out][:count]


def collect(people: People, ranked: Mapping[str, Sequence[str]], bundle_id: str, options: argparse.Namespace) -> Path:
    """Let people click, store it as a server does, export it as Parquet; return the folder."""
    home = options.work / "server"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    engine = open_database(home / "server.sqlite")
    migrate(engine)
    enrollment, ingest = Enrollment(engine, time.time), EventIngest(engine, time.time)
    waiting: dict[int, list[FeedbackEvent]] = {}
    for number, seen in enumerate(
        seen_lists(
            people,
            ranked,
            bundle_id=bundle_id,
            policy=POLICY,
            devices=options.devices,
            lists=options.lists,
            seed=options.seed,
        )
    ):
        at_s = _START_S + number / options.lists * 7 * _DAY_S
        waiting.setdefault(seen.device, []).extend(seen.events(at_s))
    for device, events in waiting.items():
        device_id = enrollment.enroll(enrollment.new_code(valid_days=1), f"{device:043d}")
        numbered = [SequencedEvent(number, event) for number, event in enumerate(events, 1)]
        for start in range(0, len(numbered), _BATCH_EVENTS):
            ingest.store(FeedbackBatch(version=1, device_id=device_id, events=numbered[start : start + _BATCH_EVENTS]))
    export = home / "export"
    export_parquet(engine, export)
    engine.dispose()
    return export


def coverage(
    people: People,
    base: Mapping[str, Sequence[str]],
    new: Mapping[str, Sequence[str]],
    reserve: Mapping[str, Sequence[str]],
    options: argparse.Namespace,
    settings: RetrainSettings,
) -> dict[str, dict[str, float]]:
    """Return, by what and estimator, how often a 95% interval of a fresh log holds the truth, and the mean error."""
    truth = {"baseline": people.value(base), "candidate": people.value(new)}
    truth["gain"] = truth["candidate"] - truth["baseline"]
    hits: dict[str, list[tuple[bool, float]]] = {}
    # As many as judge in the retraining.
    devices, lists = options.devices // 2, options.lists // 2
    for repeat in range(options.repeats):
        seen = seen_lists(
            people, reserve, bundle_id="", policy=POLICY, devices=devices, lists=lists, seed=10_000 + repeat
        )
        log = log_of(list(seen), people, devices=devices)
        compared = compare_off_policy(log, base, new, settings=settings.clicks, resamples=100, seed=repeat)
        for what, true in truth.items():
            for name, one in getattr(compared, what).items():
                hits.setdefault(f"{what} {name}", []).append((one.low <= true <= one.high, one.value - true))
    return {
        name: {
            "covered": float(np.mean([hit for hit, _ in rows])),
            "bias": float(np.mean([error for _, error in rows])),
        }
        for name, rows in hits.items()
    }


@dataclass(frozen=True)
class Taught:
    """What people taught.

    Attributes:
        people: who they are.
        reserve: query -> what the bundle ranked before, page and reserve.
        folder: of the retrained bundle.
        report: of the retraining.
    """

    people: People
    reserve: Mapping[str, Sequence[str]]
    folder: Path
    report: RetrainReport


def teach(options: argparse.Namespace, settings: RetrainSettings, *, say: Callable[[str], None]) -> Taught:
    """Let people click on what a bundle ranks, and retrain it into `options.work`/retrained.

    Raises:
        PocketrecError: wrong options, or a build that failed.
    """
    shop_folder, base = prepare(options)
    shop, bundle = read_shop(shop_folder), open_bundle(base)
    _, held_out = split_holdout(shop, _HOLDOUT)
    people = people_of(shop, asked_queries(shop, held_out, options.queries), places=PLACES)
    reserve = rankings(bundle, people.queries, k=POLICY.candidates(PLACES), progress=_say_nothing)
    say(f"{options.lists} lists seen by {options.devices} people")
    export = collect(people, reserve, bundle.bundle_id, options)
    folder = options.work / "retrained"
    say("retraining")
    report = retrain_bundle(
        base,
        shop,
        export,
        folder,
        settings,
        work=base.with_name(f"{base.name}.build"),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        progress=_say_nothing,
    )
    return Taught(people, reserve, folder, report)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark and write its result file; return 0 when the bundle passed its gates, else 3.

    Raises:
        PocketrecError: wrong options, or a build that failed.
    """
    messages, began = Console(stderr=True), time.monotonic()
    options.work.mkdir(parents=True, exist_ok=True)
    settings = RetrainSettings(seed=options.seed)
    taught = teach(options, settings, say=messages.print)
    people, report = taught.people, taught.report
    before = {query: ranked[:PLACES] for query, ranked in taught.reserve.items()}
    after = rankings(open_bundle(taught.folder), people.queries, k=PLACES, progress=_say_nothing)
    messages.print(f"coverage of the intervals over {options.repeats} fresh logs")
    covered = coverage(people, before, after, taught.reserve, options, settings)
    content = {
        "people": {"devices": options.devices, "lists": options.lists, "queries": len(people.queries)},
        "policy": {"swap": POLICY.swap, "guest": POLICY.guest, "reserve": POLICY.reserve},
        "true_value": {
            "before": people.value(before),
            "after": people.value(after),
            "best": people.value(_best(people)),
        },
        "true_position_bias": [float(one) for one in people.look],
        "repeats": options.repeats,
        "coverage": covered,
        "retrain": asdict(replace(report, left_out=dict(report.left_out))),
        "seconds": round(time.monotonic() - began, 1),
    }
    write_result(options.out, ("numpy", "onnxruntime", "ai-edge-litert"), content)
    show(content, report, Console(width=120))
    return 3 if report.failed_gates else 0


def _best(people: People) -> dict[str, list[str]]:
    return {query: sorted(worth, key=lambda one: -worth[one])[:PLACES] for query, worth in people.attraction.items()}


def show(content: Mapping[str, Any], report: RetrainReport, console: Console) -> None:
    """Print the figures."""
    truth = content["true_value"]
    table = Table(
        "clicked or bought products per list", "truth", *(f"{name}: estimate [95%], covered" for name in ESTIMATORS)
    )
    verdict = report.off_policy
    for what, true in (
        ("baseline", truth["before"]),
        ("candidate", truth["after"]),
        ("gain", truth["after"] - truth["before"]),
    ):
        cells = []
        for name in ESTIMATORS:
            one = getattr(verdict, what)[name]
            share = content["coverage"][f"{what} {name}"]["covered"]
            cells.append(f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}], {share:.0%}")
        table.add_row(what, f"{true:.3f}", *cells)
    console.print(table)
    console.print(
        f"true value {truth['before']:.3f} -> {truth['after']:.3f} ({truth['after'] / truth['before'] - 1:+.1%}; the best "
        f"ranking has {truth['best']:.3f}); held-out re-rank nDCG@10 {report.holdout_before:.3f} -> {report.holdout_after:.3f}"
    )
    console.print(
        f"delta {report.delta_bytes:,} bytes, {report.delta_bytes / report.encoder_bytes:.2%} of the encoder's "
        f"{report.encoder_bytes:,}; gates failed: {report.failed_gates or 'none'}"
    )


def main() -> int:
    """Run; return the exit code."""
    options = parse_arguments()
    try:
        return run(options)
    except PocketrecError as error:
        print(f"benchmarks.fleet.learning_loop: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
