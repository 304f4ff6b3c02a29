"""The parts of one worker of the server, and the function by which a request gets them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from flask import current_app
from sqlalchemy import Engine

from sync_server.config import ServerConfig
from sync_server.devices.bundle_reports import DeviceReports
from sync_server.devices.enrollment import Enrollment
from sync_server.devices.fleet_history import FleetHistory
from sync_server.devices.registry import DeviceRegistry
from sync_server.events.ingest import EventIngest
from sync_server.events.retention import Retention
from sync_server.experiments.service import Experiments
from sync_server.hosting.answer_cache import Cache
from sync_server.hosting.rate_limits import RateLimits
from sync_server.metrics import Metrics
from sync_server.operators.accounts import Operators
from sync_server.operators.api_keys import ApiKeys
from sync_server.operators.audit_log import AuditLog
from sync_server.ranking.ranker import Ranker
from sync_server.repository.tuf_repository import Repository
from sync_server.rollouts.offers import Offers
from sync_server.rollouts.service import Rollouts

EXTENSION = "pocketrec"


@dataclass(frozen=True)
class Services:
    """The parts of one worker of the server.

    `clock_s` gives seconds since 1970; `ranker` is None where the server does not rank.
    """

    config: ServerConfig
    engine: Engine
    clock_s: Callable[[], float]
    repository: Repository
    enrollment: Enrollment
    ingest: EventIngest
    devices: DeviceRegistry
    operators: Operators
    api_keys: ApiKeys
    audit: AuditLog
    metrics: Metrics
    rates: RateLimits
    answers: Cache
    ranker: Ranker | None
    retention: Retention
    history: FleetHistory
    reports: DeviceReports
    rollouts: Rollouts
    experiments: Experiments
    offers: Offers

    def close(self) -> None:
        """End all connections and close all files."""
        self.engine.dispose()
        self.rates.close()
        self.answers.close()
        if self.ranker is not None:
            self.ranker.close()


def services() -> Services:
    """Return the services of the application that answers this request."""
    return cast("Services", current_app.extensions[EXTENSION])
