"""Simulated rollouts: the share of a fleet that a bad model reaches before its rollout halts, and false halts.

    python -m benchmarks.fleet.sync_rollouts [--rollouts 1000] [--devices 20000] [--seed 0]

prints one row of JSON for each kind of model. The decisions are the server's own (`sync_server.rollouts.plan`), made
every hour; the devices are simulated: each has its own click rate (Beta distributed), shows a Poisson number of
products a day, syncs at a random hour of its day, and reports installations, failures and the time of a golden query.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from sync_server.rollouts.decisions import decide
from sync_server.rollouts.guardrails import Measured, judge
from sync_server.rollouts.measurements import Sides, share_sums
from sync_server.rollouts.plan import RolloutPlan, share_of
from sync_server.statistics.confidence_sequences import RatioSums

CLICK_RATE = 0.08
CLICK_RATE_SPREAD = 20.0
"""Sum of the Beta distribution's parameters: a device's own rate is within about 0.01 and 0.2."""
IMPRESSIONS_A_DAY = 20.0
LATENCY_MS, LATENCY_SPREAD = 3.0, 0.5
"""Median and logarithmic spread between devices."""
BACKGROUND_FAILURES = 0.002
_FAILURES = ("install_failed", "proof_failed", "crashed")
_MAX_HOURS = 24 * 60
_LOOK_HOURS = 2


@dataclass(frozen=True)
class Model:
    """What a release does to its devices: factor on clicks and latency, share of devices on which each failure occurs."""

    name: str
    clicks: float = 1.0
    latency: float = 1.0
    install_failed: float = BACKGROUND_FAILURES
    proof_failed: float = BACKGROUND_FAILURES
    crashed: float = BACKGROUND_FAILURES
    harmful: bool = True


MODELS = (
    Model("harmless", harmful=False),
    Model("30% fewer clicks", clicks=0.7),
    Model("15% fewer clicks", clicks=0.85),
    Model("fails its proof on 10% of devices", proof_failed=0.10),
    Model("cannot be installed on 10% of devices", install_failed=0.10),
    Model("crashes on 6% of devices", crashed=0.06),
    Model("twice as slow", latency=2.0),
)


@dataclass(frozen=True)
class Outcome:
    """How one rollout ended: the action, the share of the fleet that had received the release, the hours it took."""

    action: str
    exposed: float
    hours: float


def simulate(model: Model, plan: RolloutPlan, *, devices: int, seed: int) -> Outcome:
    """Roll `model` out over a simulated fleet until it completes, halts or pauses.

    Args:
        model: what the release does.
        plan: the rollout's plan.
        devices: size of the fleet.
        seed: of every random choice.
    """
    fleet = _Fleet(model, devices, np.random.default_rng(seed))
    stage, since = 0, 0
    for hour in range(_LOOK_HOURS, _MAX_HOURS, _LOOK_HOURS):
        fleet.pass_hours(share_of(plan, stage), _LOOK_HOURS)
        measured = fleet.measured()
        decision = decide(
            plan,
            stage=stage,
            hours_in_stage=hour - since,
            measured=measured,
            guardrails=judge(plan, measured, stage=stage),
        )
        if decision.action == "advance":
            stage, since = stage + 1, hour
        elif decision.action != "wait":
            return Outcome(decision.action, fleet.exposed(), hour)
    return Outcome("unfinished", fleet.exposed(), _MAX_HOURS)


class _Fleet:
    def __init__(self, model: Model, devices: int, chance: np.random.Generator) -> None:
        self._model, self._chance = model, chance
        self._place = chance.permutation(devices) / devices
        mean = CLICK_RATE
        self._rate = chance.beta(mean * CLICK_RATE_SPREAD, (1 - mean) * CLICK_RATE_SPREAD, devices)
        self._latency = LATENCY_MS * np.exp(LATENCY_SPREAD * chance.standard_normal(devices))
        self._reached = np.zeros(devices, bool)
        self._has_new = np.zeros(devices, bool)
        self._will_fail = {name: chance.random(devices) < getattr(model, name) for name in _FAILURES}
        self._shown = np.zeros((2, devices))
        self._clicked = np.zeros((2, devices))

    def pass_hours(self, share: float, hours: int) -> None:
        chosen = (self._place < share) & ~self._reached
        arrives = chosen & (self._chance.random(len(chosen)) < hours / 24)
        self._reached |= arrives
        self._has_new |= arrives & ~self._will_fail["install_failed"] & ~self._will_fail["proof_failed"]
        rate = np.where(self._has_new, np.minimum(1.0, self._rate * self._model.clicks), self._rate)
        # Clicks of a Poisson number of impressions are Poisson numbers of their own, independent of the rest: exact, and
        # several times as fast to draw as binomial ones.
        products = IMPRESSIONS_A_DAY * hours / 24
        clicked = self._chance.poisson(products * rate)
        shown = clicked + self._chance.poisson(products * (1.0 - rate))
        for side, mask in enumerate((self._has_new, ~self._reached)):
            self._shown[side] += shown * mask
            self._clicked[side] += clicked * mask

    def exposed(self) -> float:
        return float(self._reached.mean())

    def measured(self) -> Measured:
        new, old = self._has_new.astype(float), (~self._reached).astype(float)
        devices = int(self._reached.sum())
        failed = {name: int((self._reached & will).sum()) for name, will in self._will_fail.items()}
        clicks = [_sums(clicked, shown) for clicked, shown in zip(self._clicked, self._shown, strict=True)]
        latency = [_sums(self._latency * self._model.latency * new, new), _sums(self._latency * old, old)]
        return Measured(
            devices,
            {
                **{name: Sides(share_sums(count, devices)) for name, count in failed.items()},
                "click_through": Sides(*clicks),
                "latency": Sides(*latency),
            },
        )


def _sums(n: Any, d: Any) -> RatioSums:
    # Devices that showed nothing are zeros, which add nothing to the sums.
    return RatioSums(int(np.count_nonzero(d)), *(float(value.sum()) for value in (n, d, n * n, n * d, d * d)))


def _run(job: tuple[Model, RolloutPlan, int, int]) -> Outcome:
    model, plan, devices, seed = job
    return simulate(model, plan, devices=devices, seed=seed)


def rollout_rows(
    *, rollouts: int = 1_000, harmful: int = 100, devices: int = 20_000, seed: int = 0, workers: int = 2
) -> Iterator[dict[str, Any]]:
    """Give a row for each model: how its rollouts ended and how much of the fleet it had reached by then.

    Args:
        rollouts: how many of the harmless model.
        harmful: how many of each harmful one.
        devices: size of the fleet.
        seed: of the first rollout; the others count on from it.
        workers: processes.
    """
    plan = RolloutPlan()
    with ProcessPoolExecutor(workers) as pool:
        for model in MODELS:
            count = harmful if model.harmful else rollouts
            jobs = [(model, plan, devices, seed + number) for number in range(count)]
            started = time.monotonic()
            outcomes = list(pool.map(_run, jobs, chunksize=5))
            ends = [outcome.action for outcome in outcomes]
            exposed = sorted(outcome.exposed for outcome in outcomes)
            yield {
                "model": dataclasses.asdict(model),
                "rollouts": count,
                "devices": devices,
                "halted": ends.count("halt") / count,
                "completed": ends.count("complete") / count,
                "paused": (ends.count("pause") + ends.count("unfinished")) / count,
                "exposed_mean": sum(exposed) / count,
                "exposed_p95": exposed[int(0.95 * (count - 1))],
                "exposed_worst": exposed[-1],
                "hours_median": sorted(outcome.hours for outcome in outcomes)[count // 2],
                "seconds": round(time.monotonic() - started, 1),
            }


def main() -> int:
    """Print the rows as lines of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--rollouts", type=int, default=1_000, help="of the harmless model (1000)")
    parser.add_argument("--harmful", type=int, default=100, help="of each harmful model (100)")
    parser.add_argument("--devices", type=int, default=20_000, help="size of the fleet (20000)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for row in rollout_rows(rollouts=args.rollouts, harmful=args.harmful, devices=args.devices, seed=args.seed):
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
