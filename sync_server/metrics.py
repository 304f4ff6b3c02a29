"""Metrics for Prometheus at /metrics: requests, feedback, ranking, and the state of the fleet.

Each worker is a process. The workers add up their counts in files of one folder: see `share_between_workers`.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import Engine, func, select

from edge_runtime.contract.errors import StorageError
from sync_server.database.engine import database_errors_named, reading
from sync_server.database.tables.devices import Device
from sync_server.database.tables.rollouts import RolloutRow
from sync_server.repository.tuf_repository import Repository

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# From an answer out of memory (1 ms) to a slow publication (10 s).
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_DAY_S = 86_400.0
# Clients choose methods and URLs: whatever no route of ours has is counted together, or the metrics would grow without end.
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE"})
_OTHER = "other"


def share_between_workers(folder: Path) -> None:
    """Let all processes that are forked from this one share their metrics in the empty folder `folder`."""
    os.environ[_FOLDER_VARIABLE] = str(folder)
    # The library reads the variable at its import, which happened before the settings were read.
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]


class Metrics:
    """One worker's counters; `render` gives those of all workers.

    Args:
        engine: the database, read at each scrape for the state of the fleet.
        repository: whose timestamp's expiry is shown.
        clock_s: gives seconds since 1970.
    """

    def __init__(self, engine: Engine, repository: Repository, clock_s: Callable[[], float]) -> None:
        self._folder = os.environ.get(_FOLDER_VARIABLE)
        self._own = CollectorRegistry()
        self._state = CollectorRegistry()
        self._state.register(_StateOfTheFleet(engine, repository, clock_s))
        registry = None if self._folder else self._own
        self._requests = Counter(
            "pocketrec_requests", "Answers by route and status", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "pocketrec_request_seconds", "Time to answer", ("route",), buckets=_SECONDS, registry=registry
        )
        self._events = Counter(
            "pocketrec_feedback_events", "Events in answered batches", ("result",), registry=registry
        )
        self._unknown_kinds = Counter(
            "pocketrec_feedback_unknown_kinds",
            "Events in answered batches of a kind that only newer clients know",
            registry=registry,
        )
        self._answers = Counter(
            "pocketrec_rank_answers", "Rankings by where they came from", ("source",), registry=registry
        )
        self._unchanged = self._requests.labels("GET", "/v1/tuf/timestamp.json", "304")

    def count_request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count an answer; `route` is the pattern of the URL, never the URL itself, and None when no route has it."""
        route = route or _OTHER
        self._requests.labels(method if method in _METHODS else _OTHER, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_unchanged(self) -> None:
        """Count an answer that nothing is new."""
        self._unchanged.inc()

    def count_events(self, *, stored: int, duplicates: int, refused: int, of_unknown_kind: int) -> None:
        """Count the events of one answered batch; those of an unknown kind are among the others."""
        if of_unknown_kind:
            self._unknown_kinds.inc(of_unknown_kind)
        for result, count in (("stored", stored), ("duplicate", duplicates), ("refused", refused)):
            if count:
                self._events.labels(result).inc(count)

    def count_ranking(self, *, from_cache: bool) -> None:
        """Count a ranking."""
        self._answers.labels("cache" if from_cache else "model").inc()

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        counts = self._own
        if self._folder:
            counts = CollectorRegistry()
            MultiProcessCollector(counts, path=self._folder)  # type: ignore[no-untyped-call]
        return generate_latest(counts) + generate_latest(self._state)


class _StateOfTheFleet(Collector):
    def __init__(self, engine: Engine, repository: Repository, clock_s: Callable[[], float]) -> None:
        self._engine = engine
        self._repository = repository
        self._clock_s = clock_s

    def collect(self) -> Iterator[Metric]:
        now_s = self._clock_s()
        try:
            with database_errors_named(), reading(self._engine).connect() as connection:
                enrolled = connection.scalar(select(func.count()).select_from(Device))
                recent = select(func.count()).where(Device.last_feedback_at_s > now_s - _DAY_S)
                heard = connection.scalar(recent)
                running = select(RolloutRow.judged_at_s, RolloutRow.created_at_s).where(RolloutRow.state == "running")
                ages_s = [now_s - max(row.judged_at_s, row.created_at_s) for row in connection.execute(running)]
        except StorageError:
            # The other metrics are needed most when the database is down.
            yield GaugeMetricFamily("pocketrec_database_up", "Whether the database answers", value=0)
        else:
            yield GaugeMetricFamily("pocketrec_database_up", "Whether the database answers", value=1)
            yield GaugeMetricFamily("pocketrec_devices_enrolled", "Devices that hold a credential", value=enrolled)
            yield GaugeMetricFamily(
                "pocketrec_devices_heard_in_a_day", "Devices whose feedback came in the last 24 hours", value=heard
            )
            yield GaugeMetricFamily(
                "pocketrec_rollout_judgement_age_seconds",
                "Time since the last judgement of the running rollout that waits longest, 0 when none is running",
                value=max(ages_s, default=0.0),
            )
        expires = self._repository.timestamp_expires()
        if expires is not None:
            yield GaugeMetricFamily(
                "pocketrec_timestamp_expires_in_seconds",
                "Life left of the signed timestamp; renewed at half",
                value=expires.timestamp() - now_s,
            )
