"""A fleet with some history, for the console: devices, hours, events, an operator of each role."""

import hashlib
import math
import random
from pathlib import Path

import msgspec
from sqlalchemy import insert
from sqlalchemy.orm import Session

from sync_server.database.tables.devices import Device, FleetHour
from sync_server.database.tables.events import Event
from sync_server.database.tables.rollouts import RolloutRow
from sync_server.rollouts.comparisons import Guardrail
from sync_server.rollouts.guardrail_history import remember
from sync_server.rollouts.plan import RolloutPlan
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import ServerSimulator

PASSWORD = "correct horse battery"
KINDS = ("impression", "click", "purchase", "dismissal")


def fleet_with_a_past(folder: Path, *, devices: int = 240) -> ServerSimulator:
    """Return a server whose fleet has moved through three bundles within ten days."""
    simulator = ServerSimulator(folder)
    for role in ("viewer", "publisher", "admin"):
        simulator.services.operators.add(role, role=role, password=PASSWORD, actor="command line")
    bundles = [write_bundle(folder / words, words=words) for words in ("first", "second", "third")]
    for bundle in bundles:
        simulator.publish(bundle)
    simulator.publish(write_bundle(folder / "fourth", words="fourth"), staged=True)
    _roll_out(simulator)
    _experiment(simulator)
    simulator.services.api_keys.create("publisher", role="publisher", label="nightly build", actor="publisher")
    ids = [bundle.bundle_id for bundle in bundles]
    chance, now = random.Random(7), simulator.now.timestamp()
    names = [f"device-{hashlib.sha256(str(number).encode()).hexdigest()[:16]}" for number in range(devices)]
    with simulator.engine.begin() as connection:
        connection.execute(insert(Device), [_device(name, ids, chance, now) for name in names])
        connection.execute(insert(FleetHour), _hours(ids, devices, now))
        connection.execute(insert(Event), _events(names, ids, chance, now))
    return simulator


def _device(name: str, ids: list[str], chance: random.Random, now: float) -> dict[str, object]:
    return {
        "device_id": name,
        "credential_sha256": hashlib.sha256(name.encode()).hexdigest(),
        "enrolled_at_s": now - chance.uniform(10, 40) * 86_400,
        "last_feedback_at_s": now - chance.expovariate(1 / 20_000),
        "bundle_id": chance.choices(ids, weights=(1, 5, 94))[0],
    }


def _hours(ids: list[str], devices: int, now: float) -> list[dict[str, object]]:
    rows = []
    for hour in range(240, 0, -1):
        days = 10 - hour / 24
        third = 1 / (1 + math.exp(-(days - 7.5) * 2.2))
        second = (1 - third) / (1 + math.exp(-(days - 3) * 2.5))
        shares = (1 - second - third, second, third)
        at = int(now - hour * 3_600) // 3_600 * 3_600
        rows += [
            {"hour_s": at, "bundle_id": bundle_id, "devices": round(share * devices)}
            for bundle_id, share in zip(ids, shares, strict=True)
        ]
    return rows


def _events(names: list[str], ids: list[str], chance: random.Random, now: float) -> list[dict[str, object]]:
    rows = []
    for number in range(4_000):
        received = now - chance.uniform(0, 24) * 3_600
        rows.append(
            {
                "device_id": chance.choice(names),
                "sequence": number + 1,
                "kind": chance.choices(KINDS, weights=(70, 20, 6, 4))[0],
                "product_id": f"p{chance.randrange(500)}",
                "bundle_id": chance.choice(ids),
                "timestamp_s": received - chance.expovariate(1 / 90),
                "position": chance.randrange(1, 11),
                "propensity": 0.5,
                "received_at_s": received,
            }
        )
    return rows


def _roll_out(simulator: ServerSimulator) -> None:
    """A rollout in its second stage, whose guardrails narrow while devices report."""
    plan = RolloutPlan(stages=(1.0, 10.0, 50.0, 100.0), soak_hours=12)
    rollouts = simulator.services.rollouts
    started = rollouts.start(channel="stable", release=None, plan=plan, actor="publisher")
    rollouts.act(started.id, "advance", actor="publisher", reason="the first stage looked well")
    now, final = simulator.now.timestamp(), []
    with Session(simulator.engine) as session, session.begin():
        for look in range(1, 41):
            width = 1 / math.sqrt(look)
            wiggle = math.sin(look / 3) / 3
            final = [
                _guardrail("install_failed", 0.004, 0.05 * width, 0.02, look, low=0.0),
                _guardrail("crashed", 0.002, 0.04 * width, 0.02, look, low=0.0),
                _guardrail("click_through", 0.012 + 0.05 * width * wiggle, 0.5 * width, -0.15, look),
                _guardrail("latency", -0.18, 0.2 * width, 0.0, look),
            ]
            remember(session, started.id, final, at_s=now - (41 - look) * 900, at_once=True)
        row = session.get(RolloutRow, started.id)
        row.guardrails, row.judged_at_s = msgspec.json.encode(final).decode(), now
        row.stage_started_at_s, row.created_at_s = now - 9 * 3_600, now - 30 * 3_600
        row.reason = "stage 2 soaks: 9.0 of 12 hours"


def _guardrail(name: str, middle: float, width: float, limit: float, look: int, low: float | None = None) -> Guardrail:
    lower = middle - width if low is None else max(low, middle - width)
    fine = limit > lower if limit > 0 else middle - width > limit
    return Guardrail(
        name=name,
        verdict="fine" if fine or name == "latency" else "undecided",
        estimate=middle,
        lower=lower,
        upper=middle + width,
        limit=limit,
        devices=look * 11,
    )


def _experiment(simulator: ServerSimulator) -> None:
    simulator.services.experiments.start(channel="stable", name="interleaved ranking", variants=[], actor="publisher")
