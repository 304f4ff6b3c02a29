"""Simulated rollouts: how often harmless ones halt, and how much of a fleet a bad release reaches.

    python -m benchmarks.fleet.rollouts [--rollouts 1000] [--harmful 200] [--devices 100000] [--seed 0]

prints one row of JSON for each kind of fleet and release, and writes benchmarks/results/rollouts.json. The decisions, the
groups and the strata are the server's own (`sync_server.rollouts`), looked at every four hours. The devices are simulated:
each has its own click rate (Beta distributed), shows a Poisson number of products, installs at a random hour after a
stage has offered it the release, and reports failures and the time of a golden query. Clicks are drawn by cell of devices:
a sum of Poisson numbers is a Poisson number, so that this is exact.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import insert, text

from benchmarks.result_file import RESULTS, write_result
from sync_server.database.engine import migrate, open_database, read_session
from sync_server.database.tables.rollouts import RolloutDay, RolloutRow
from sync_server.rollouts.comparisons import EXPECTED_CHANGE
from sync_server.rollouts.daily_cap import MOST_CLICKS_A_DAY, MOST_IMPRESSIONS_A_DAY
from sync_server.rollouts.decisions import decide
from sync_server.rollouts.groups import CELLS, SIDES, compared_places
from sync_server.rollouts.guardrails import GUARDRAILS, Measured, judge, measure
from sync_server.rollouts.measurements import NOTHING, Sides, share_sums
from sync_server.rollouts.plan import RolloutPlan, share_of
from sync_server.statistics.confidence_sequences import RatioSums
from sync_server.statistics.stratified import Floats, cell_sums, stratified_sums, visible_loss

CLICK_RATE = 0.08
CLICK_RATE_SPREAD = 20.0
"""Sum of the Beta distribution's parameters: a device's own rate is within about 0.01 and 0.2."""
IMPRESSIONS_A_DAY = 20.0
LATENCY_MS, LATENCY_SPREAD = 3.0, 0.5
"""Median and logarithmic spread between devices."""
BACKGROUND_FAILURES = 0.002
_FAILURES = ("install_failed", "proof_failed", "crashed")
_MAX_HOURS = 24 * 60
_LOOK_HOURS = 4
_WEEK_HOURS = 168


@dataclass(frozen=True)
class Kind:
    """What a fleet is like, with either release.

    Attributes:
        name: in the rows.
        weekend: factor on click rates from the sixth day of a week.
        trend: change of click rates a day, as a share of the first day's.
        heavy: logarithmic spread of impressions between devices.
        late: share of devices that install days later, click less and are slower.
        bots: share of devices that see a hundred times as much and click most of it.
        delayed: share of devices whose events arrive up to two days late, with any time on them.
        crashed: share of devices that crash with either release.
    """

    name: str
    weekend: float = 1.0
    trend: float = 0.0
    heavy: float = 0.0
    late: float = 0.0
    bots: float = 0.0
    delayed: float = 0.0
    crashed: float = BACKGROUND_FAILURES


PLAIN = Kind("plain")
KINDS = (
    PLAIN,
    Kind("weekends with 5% fewer clicks", weekend=0.95),
    Kind("weekends with 10% fewer clicks", weekend=0.90),
    Kind("clicks fall by 2% a day", trend=-0.02),
    Kind("heavy users", heavy=1.5),
    Kind("half of the devices install late", late=0.5),
    Kind("bots", bots=0.002),
    Kind("clock errors", delayed=0.1),
    Kind("5% of devices crash with either release", crashed=0.05),
)


@dataclass(frozen=True)
class Model:
    """What a release does to its devices: factor on clicks and latency, share of devices on which each failure occurs.

    `by_stage` is the stage in which a loss of clicks has to be found (from 0), where that is known.
    """

    name: str
    clicks: float = 1.0
    latency: float = 1.0
    install_failed: float = BACKGROUND_FAILURES
    proof_failed: float = BACKGROUND_FAILURES
    crashed: float = 0.0
    harmful: bool = True
    by_stage: int | None = None


HARMLESS = Model("harmless", harmful=False)
BAD_MODELS = (
    Model("30% fewer clicks", clicks=0.7),
    Model("15% fewer clicks", clicks=0.85),
    Model("fails its proof on 10% of devices", proof_failed=0.10),
    Model("cannot be installed on 10% of devices", install_failed=0.10),
    Model("crashes on 6% of devices", crashed=0.06),
    Model("twice as slow", latency=2.0),
)


def visible(plan: RolloutPlan, stage: int, *, devices: int) -> float:
    """Return the smallest relative loss of clicks that stage number `stage` shows in a plain fleet of `devices`."""
    days = plan.soak_hours / 24
    between = CLICK_RATE * (1 - CLICK_RATE) / (CLICK_RATE_SPREAD + 1)
    within = CLICK_RATE * (1 - CLICK_RATE) / (IMPRESSIONS_A_DAY * days)
    return visible_loss(
        _places(share_of(plan, stage), devices),
        spread=(between + within) / CLICK_RATE**2,
        days=days,
        alpha=plan.alpha / len(GUARDRAILS),
        expected=EXPECTED_CHANGE,
    )


def twice_the_visible(plan: RolloutPlan, *, devices: int) -> list[Model]:
    """Return, for each stage that compares, the release that costs twice the loss which the stage can show."""
    models = []
    for stage, share in enumerate(plan.stages):
        if compared_places(share / 100):
            loss = 2 * visible(plan, stage, devices=devices)
            name = f"{loss:.1%} fewer clicks, twice what {share:g}% can show"
            models.append(Model(name, clicks=max(0.0, 1 - loss), by_stage=stage))
    return models


@dataclass(frozen=True)
class Outcome:
    """How a rollout ended: the action, its stage, the share of the fleet that had received the release, the hours."""

    action: str
    stage: int
    exposed: float
    hours: float


def simulate(model: Model, plan: RolloutPlan, *, devices: int, seed: int, kind: Kind = PLAIN) -> Outcome:
    """Roll `model` out over a simulated fleet until it completes, halts or pauses.

    Args:
        model: what the release does.
        plan: the rollout's plan.
        devices: size of the fleet.
        seed: of every random choice.
        kind: what the fleet is like.
    """
    fleet = _Fleet(model, kind, devices, np.random.default_rng(seed))
    stage, since = 0, 0
    fleet.offer(share_of(plan, 0), 0)
    for hour in range(_LOOK_HOURS, _MAX_HOURS, _LOOK_HOURS):
        fleet.pass_hours(stage, hour)
        measured = fleet.measured(hour)
        decision = decide(
            plan,
            stage=stage,
            hours_in_stage=hour - since,
            measured=measured,
            guardrails=judge(plan, measured, stage=stage),
        )
        if decision.action == "advance":
            stage, since = stage + 1, hour
            fleet.offer(share_of(plan, stage), hour)
        elif decision.action != "wait":
            return Outcome(decision.action, stage, fleet.exposed(hour), hour)
    return Outcome("unfinished", stage, fleet.exposed(_MAX_HOURS), _MAX_HOURS)


def _places(share: float, devices: int) -> int:
    return round(compared_places(share) / 10_000 * devices)


def _by_cell(cell: Any, values: Floats) -> Floats:
    return np.bincount(cell, values, CELLS).astype(np.float64)


class _Fleet:
    """Devices in the order of their places: the first ones are offered the release, the last ones are the old side."""

    def __init__(self, model: Model, kind: Kind, devices: int, chance: np.random.Generator) -> None:
        self._model, self._kind, self._chance, self._size = model, kind, chance, devices
        self._began = int(chance.integers(_WEEK_HOURS))
        self._rate = chance.beta(CLICK_RATE * CLICK_RATE_SPREAD, (1 - CLICK_RATE) * CLICK_RATE_SPREAD, devices)
        self._shown = np.full(devices, IMPRESSIONS_A_DAY)
        self._latency = LATENCY_MS * np.exp(LATENCY_SPREAD * chance.standard_normal(devices))
        self._cell = chance.integers(CELLS, size=devices)
        self._delay = 24 * chance.random(devices)
        self._lag = np.zeros(devices)
        self._distort()
        self._base_latency = cell_sums(self._latency, np.ones(devices))
        # The hour at which a device has installed the release, or would have on the old side.
        self._installs = np.full(devices, np.inf)
        self._offered = self._compared = 0
        shares = {name: getattr(model, name) for name in _FAILURES}
        shares["crashed"] += kind.crashed
        self._fails = {name: chance.random(devices) < share for name, share in shares.items()}
        self._crashes_anyway = chance.random(devices) < kind.crashed
        self._steady: dict[tuple[int, int], tuple[Floats, Floats]] = {}
        self._strata: dict[tuple[int, int], Floats] = {}

    def _distort(self) -> None:
        kind, chance, devices = self._kind, self._chance, self._size
        if kind.heavy:
            self._shown *= np.exp(kind.heavy * chance.standard_normal(devices) - kind.heavy**2 / 2)
        late = chance.random(devices) < kind.late
        self._delay[late] += chance.exponential(72.0, late.sum())
        self._rate[late] *= 0.7
        self._latency[late] *= 1.3
        bots = chance.random(devices) < kind.bots
        self._shown[bots] *= 100
        self._rate[bots] = 0.6
        self._lag = np.where(chance.random(devices) < kind.delayed, 48 * chance.random(devices), 0.0)

    def offer(self, share: float, hour: int) -> None:
        """Begin a stage."""
        offered, compared = round(share * self._size), _places(share, self._size)
        for entering in (
            slice(self._offered, offered),
            slice(self._size - compared, self._size - min(compared, self._compared)),
        ):
            fresh = np.isinf(self._installs[entering])
            self._installs[entering][fresh] = hour + self._delay[entering][fresh]
        self._offered, self._compared = offered, compared

    def pass_hours(self, stage: int, hour: int) -> None:
        """Let the compared devices live until `hour`."""
        if not self._compared:
            return
        counts = self._strata.setdefault((stage, (self._began + hour - 1) // 24), np.zeros((2, 2, CELLS)))
        for side, devices in enumerate((slice(self._compared), slice(self._size - self._compared, self._size))):
            shown, clicks = self._expected(side, devices, stage, hour)
            clicked = self._chance.poisson(clicks)
            counts[:, side] += clicked, clicked + self._chance.poisson(shown - clicks)

    def _expected(self, side: int, devices: slice, stage: int, hour: int) -> tuple[Floats, Floats]:
        """Return the expected impressions and clicks of each cell in the hours before `hour`."""
        if self._kind.delayed or (side == 0 and self._model.clicks != 1.0):
            return self._sums(side, devices, hour - self._lag[devices])
        # Whoever has installed what, the release changes no clicks here: only the season does.
        if (stage, side) not in self._steady:
            self._steady[stage, side] = self._sums(side, devices, None)
        shown, clicks = self._steady[stage, side]
        return shown, clicks * self._season(np.float64(hour))

    def _sums(self, side: int, devices: slice, seen_at: Floats | None) -> tuple[Floats, Floats]:
        rate = self._rate[devices] * (self._season(seen_at) if seen_at is not None else 1.0)
        if side == 0 and seen_at is not None:
            has_it = (self._installs[devices] <= seen_at) & self._works(devices)
            rate = np.where(has_it, rate * self._model.clicks, rate)
        # What the server counts of a day is capped; the chance of the draw comes on top, as if no cap cut it.
        shown, cell = np.minimum(self._shown[devices], MOST_IMPRESSIONS_A_DAY), self._cell[devices]
        clicks = np.minimum(shown * rate, MOST_CLICKS_A_DAY)
        part_of_day = _LOOK_HOURS / 24
        return _by_cell(cell, shown * part_of_day), _by_cell(cell, clicks * part_of_day)

    def _works(self, devices: slice) -> Any:
        return ~(self._fails["install_failed"][devices] | self._fails["proof_failed"][devices])

    def _season(self, hours: Any) -> Any:
        at = self._began + hours
        is_weekend = at % _WEEK_HOURS >= 5 * 24
        return np.where(is_weekend, self._kind.weekend, 1.0) * np.maximum(0.2, 1.0 + self._kind.trend * hours / 24)

    def _reached(self, hour: int) -> Any:
        return self._installs[: self._offered] <= hour

    def exposed(self, hour: int) -> float:
        """Return the share of the fleet that has received the release."""
        return float(self._reached(hour).sum()) / self._size

    def measured(self, hour: int) -> Measured:
        """Return what the server would have counted."""
        reached = self._reached(hour)
        devices, offered = int(reached.sum()), slice(self._offered)
        failed = {name: int((reached & fails[offered]).sum()) for name, fails in self._fails.items()}
        answers = reached & self._works(offered)
        latency = self._latency[offered][answers] * self._model.latency
        return Measured(
            devices,
            {
                **{name: Sides(share_sums(count, devices)) for name, count in failed.items()},
                "crashed": Sides(share_sums(failed["crashed"], devices), self._old_crashes(hour)),
                "click_through": self._clicks(),
                "latency": Sides(cell_sums(latency, np.ones(len(latency))), self._base_latency),
            },
        )

    def _old_crashes(self, hour: int) -> RatioSums:
        # In the last stage the counts of the stages before stay: nobody is left to compare with.
        if self._compared:
            old = slice(self._size - self._compared, self._size)
            among = int((self._installs[: self._compared] <= hour).sum())
            crashed = int(((self._installs[old] <= hour) & self._crashes_anyway[old]).sum())
            self._last_crashes = share_sums(min(crashed, among), among)
        return self._last_crashes

    _last_crashes: RatioSums = NOTHING

    def _clicks(self) -> Sides:
        if not self._strata:
            return Sides(NOTHING)
        counts = np.stack(list(self._strata.values()))
        return Sides(*stratified_sums(counts[:, 0], counts[:, 1]), self._compared)


def _run(job: tuple[Kind, Model, RolloutPlan, int, int]) -> Outcome:
    kind, model, plan, devices, seed = job
    return simulate(model, plan, devices=devices, seed=seed, kind=kind)


def rollout_rows(
    *, rollouts: int = 1_000, harmful: int = 200, devices: int = 100_000, seed: int = 0, workers: int = 2
) -> Iterator[dict[str, Any]]:
    """Give a row for each kind of fleet and each bad release: how its rollouts ended, how much of the fleet they reached.

    Args:
        rollouts: how many of the harmless release, for each kind of fleet.
        harmful: how many of each harmful one.
        devices: size of the fleet.
        seed: of the first rollout; the others count on from it.
        workers: processes.
    """
    plan = RolloutPlan()
    models = [*BAD_MODELS, *twice_the_visible(plan, devices=devices)]
    cases = [*((kind, HARMLESS, rollouts) for kind in KINDS), *((PLAIN, model, harmful) for model in models)]
    with ProcessPoolExecutor(workers) as pool:
        for kind, model, count in cases:
            started = time.monotonic()
            jobs = [(kind, model, plan, devices, seed + number) for number in range(count)]
            outcomes = list(pool.map(_run, jobs, chunksize=5))
            yield {**_row(kind, model, outcomes, devices), "seconds": round(time.monotonic() - started, 1)}


def _row(kind: Kind, model: Model, outcomes: list[Outcome], devices: int) -> dict[str, Any]:
    count, ends = len(outcomes), [outcome.action for outcome in outcomes]
    exposed = sorted(outcome.exposed for outcome in outcomes)
    last = model.by_stage
    return {
        "fleet": dataclasses.asdict(kind),
        "model": dataclasses.asdict(model),
        "rollouts": count,
        "devices": devices,
        "halted": ends.count("halt") / count,
        "halted_in_time": None
        if last is None
        else sum(outcome.action == "halt" and outcome.stage <= last for outcome in outcomes) / count,
        "completed": ends.count("complete") / count,
        "paused": (ends.count("pause") + ends.count("unfinished")) / count,
        "exposed_mean": sum(exposed) / count,
        "exposed_p95": exposed[int(0.95 * (count - 1))],
        "exposed_worst": exposed[-1],
        "hours_median": sorted(outcome.hours for outcome in outcomes)[count // 2],
    }


_JUDGED_DEVICES = 1_000_000
JUDGED_DAYS = 60
"""As many days as a rollout of four stages lasts when each waits for its evidence as long as it may."""


_REPORTS = """
INSERT INTO device_reports (device_id, number, kind, channel, release, bundle_id, reason, latency_ms, timestamp_s,
                            received_at_s)
WITH RECURSIVE one(device) AS (SELECT 1 UNION ALL SELECT device + 1 FROM one WHERE device < :devices)
SELECT 'device-' || device, release, 'installed', 'stable', release, 'b' || release, reason, 3.0, 0.0, 0.0
FROM one, (SELECT 1 AS release, NULL AS reason UNION ALL SELECT 2, 'r')
"""
_COUNTS = """
INSERT INTO rollout_report_counts
SELECT 'r', side, 'reached', :devices FROM (SELECT 'offered' AS side UNION ALL SELECT 'new')
"""
_LATENCIES = """
INSERT INTO release_latencies
SELECT channel, release, count(*), sum(latency_ms), sum(latency_ms * latency_ms) FROM device_reports
GROUP BY channel, release
"""


def judging_time(folder: Path, *, devices: int, looks: int = 5) -> dict[str, Any]:
    """Return how long the server judges a rollout of two months that all devices have reported on, in milliseconds.

    The number of events is none of the measurement's: what they add is in the counts by day. What reports add is in counts
    too; the reports themselves are there to show that no look reads them.

    Args:
        folder: for the database (SQLite).
        devices: that have installed both releases.
        looks: the median of so many is returned.
    """
    engine = open_database(folder / "judging.sqlite")
    migrate(engine)
    plan, chance = RolloutPlan(), np.random.default_rng(0)
    with engine.begin() as connection:
        connection.execute(insert(RolloutRow), [_rollout_row(plan)])
        days = [
            {"rollout_id": "r", "stage": day % 3, "day": day, "side": side, "cell": cell, "devices": 90}
            | {"impressions": int(chance.poisson(2_000)), "clicks": int(chance.poisson(160))}
            for day in range(JUDGED_DAYS)
            for side in SIDES
            for cell in range(CELLS)
        ]
        connection.execute(insert(RolloutDay), days)
        for statement in _REPORTS, _COUNTS, _LATENCIES:
            connection.execute(text(statement), {"devices": devices})
    times, busy = [], []
    for _ in range(looks):
        began, busy_before = time.perf_counter(), time.process_time()
        with read_session(engine) as session:
            row = session.get_one(RolloutRow, "r")
            judge(plan, measure(session, row), stage=3)
        times.append(1_000 * (time.perf_counter() - began))
        busy.append(1_000 * (time.process_time() - busy_before))
    engine.dispose()
    return {
        "days": JUDGED_DAYS,
        "rows": len(days),
        "devices": devices,
        "median_ms": round(sorted(times)[looks // 2], 1),
        "median_cpu_ms": round(sorted(busy)[looks // 2], 1),
    }


def _rollout_row(plan: RolloutPlan) -> dict[str, Any]:
    return {
        "rollout_id": "r",
        "channel": "stable",
        "release": 2,
        "bundle_id": "b2",
        "seed": "r",
        "state": "running",
        "base_release": 1,
        "base_bundle_id": "b1",
        "plan": msgspec.json.encode(plan).decode(),
        "stage": 3,
        **dict.fromkeys(("stage_started_at_s", "created_at_s", "judged_at_s"), 0.0),
        "reason": "",
        "guardrails": "[]",
    }


def main() -> int:
    """Print the rows as lines of JSON and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--rollouts", type=int, default=1_000, help="harmless ones of each kind of fleet (1000)")
    parser.add_argument("--harmful", type=int, default=200, help="of each harmful release (200)")
    parser.add_argument("--devices", type=int, default=100_000, help="size of the fleet (100000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "rollouts.json")
    args = parser.parse_args()
    rows = []
    for row in rollout_rows(rollouts=args.rollouts, harmful=args.harmful, devices=args.devices, seed=args.seed):
        rows.append(row)
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder:
        judging = judging_time(Path(folder), devices=_JUDGED_DEVICES)
        sys.stdout.write(json.dumps(judging) + "\n")
    write_result(args.out, ("numpy", "sqlalchemy"), {"judging": judging, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
