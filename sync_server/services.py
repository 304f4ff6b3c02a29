"""The parts of one worker of the server, and the function by which a request gets them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from flask import current_app
from sqlalchemy import Engine

from sync_server.config import ServerConfig
from sync_server.database.engine import open_database
from sync_server.devices.attestation import load_attestation
from sync_server.devices.bundle_reports import DeviceReports
from sync_server.devices.enrollment import Enrollment
from sync_server.devices.enrollment_keys import EnrollmentKeys
from sync_server.devices.fleet_history import FleetHistory
from sync_server.devices.registry import DeviceRegistry
from sync_server.events.ingest import EventIngest
from sync_server.events.retention import Retention
from sync_server.experiments.service import Experiments
from sync_server.hosting.answer_cache import Cache, open_cache
from sync_server.hosting.home import open_repository
from sync_server.hosting.rate_limits import RateLimits
from sync_server.metrics import Metrics
from sync_server.operators.accounts import Operators
from sync_server.operators.api_keys import ApiKeys
from sync_server.operators.audit_log import AuditLog
from sync_server.ranking.ranker import Ranker, open_ranker
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
    enrollment_keys: EnrollmentKeys
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


def open_services(config: ServerConfig, clock: Callable[[], datetime]) -> Services:
    """Open the parts of one worker for a prepared home.

    Args:
        config: the settings.
        clock: gives the time (UTC).

    Raises:
        ConfigError: the home was not prepared.
        StorageError: the disk is full, read-only or not permitted.
    """
    repository = open_repository(config, clock=clock)
    engine = open_database(config.database, connections=config.threads)

    def clock_s() -> float:
        return clock().timestamp()

    rollouts = Rollouts(engine, clock_s, repository)
    return Services(
        config=config,
        repository=repository,
        engine=engine,
        clock_s=clock_s,
        enrollment=Enrollment(engine, clock_s, load_attestation(config.attestation)),
        enrollment_keys=EnrollmentKeys(engine, clock_s),
        ingest=EventIngest(engine, clock_s, config.quota),
        devices=DeviceRegistry(engine, clock_s),
        operators=Operators(engine, clock_s, session_s=config.session_hours * 3_600.0),
        api_keys=ApiKeys(engine, clock_s),
        audit=AuditLog(engine, clock_s),
        reports=DeviceReports(engine, clock_s, config.quota),
        rollouts=rollouts,
        experiments=Experiments(engine, clock_s, rollouts),
        offers=Offers(engine, clock_s, repository),
        metrics=Metrics(engine, repository, clock_s),
        rates=RateLimits(config.redis_url),
        answers=open_cache(config.redis_url, max_items=config.rank_cache_items, keep_s=config.rank_cache_s),
        ranker=open_ranker(config),
        retention=Retention(engine, config.retention_days),
        history=FleetHistory(engine, clock_s),
    )


def services() -> Services:
    """Return the services of the application that answers this request."""
    return cast("Services", current_app.extensions[EXTENSION])
