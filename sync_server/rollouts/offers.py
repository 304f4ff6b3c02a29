"""Offers for the devices of a channel: the signed timestamp, the release for all, a rollout or an experiment."""

from dataclasses import dataclass, field

import msgspec
from sqlalchemy.orm import Session

from edge_runtime.contract.offer import ExperimentOffer, Offer, RolloutOffer, offer_etag
from edge_runtime.contract.release import ReleaseNote
from sync_server.database.engine import DatabaseService, read_session
from sync_server.database.tables.rollouts import RolloutRow
from sync_server.experiments.service import active_experiment, variants_of
from sync_server.repository.tuf_repository import Repository
from sync_server.rollouts.plan import share_of
from sync_server.rollouts.service import base_release, newest_open_release, newest_rollout, plan_of

KEPT_S = 1.0
"""An offer is the same for every device, so a worker makes it at most once a second."""


@dataclass(frozen=True)
class EncodedOffer:
    """An offer as JSON, and its entity tag, by which a device asks whether its own offer is still current."""

    data: bytes
    etag: str


@dataclass(frozen=True)
class _Kept:
    made_at_s: float
    mark: tuple[int, int]
    offer: EncodedOffer


@dataclass(frozen=True)
class Offers(DatabaseService):
    """Makes the offers of one worker.

    Args:
        repository: what is signed.
    """

    repository: Repository
    _kept: dict[str, _Kept] = field(default_factory=dict)

    def encoded(self, channel: str) -> EncodedOffer | None:
        """Return the offer for `channel`; None when nothing is published in it.

        Raises:
            StorageError: database or repository cannot be read.
        """
        kept, now, mark = self._kept.get(channel), self.clock_s(), self._mark()
        if kept is not None and kept.mark == mark and abs(now - kept.made_at_s) < KEPT_S:
            return kept.offer
        offer = self._make(channel)
        if offer is None:
            # Unknown channels are not cached: anyone may ask for any number of names.
            return None
        data = msgspec.json.encode(offer)
        encoded = EncodedOffer(data, offer_etag(data))
        self._kept[channel] = _Kept(now, mark, encoded)
        return encoded

    def _mark(self) -> tuple[int, int]:
        """Return what distinguishes one timestamp.json from the next, so that a new release is offered at once."""
        path = self.repository.metadata_path("timestamp.json")
        try:
            status = path.stat() if path is not None else None
        except FileNotFoundError:
            status = None
        return (status.st_ino, status.st_mtime_ns) if status is not None else (0, 0)

    def forget(self) -> None:
        """Drop the cached offers, after a rollout or an experiment has changed."""
        self._kept.clear()

    def _make(self, channel: str) -> Offer | None:
        self.repository.renew_if_possible()
        timestamp = self.repository.metadata_path("timestamp.json")
        notes = self.repository.channel_releases(channel)
        if timestamp is None or not notes:
            return None
        with read_session(self.engine) as session:
            newest = newest_rollout(session, channel)
            rollout = _rollout_offer(newest, notes) if newest is not None else None
            experiment = None if rollout is not None else self._experiment(session, channel, notes)
            base = base_release(notes, newest)
        return Offer(
            root_version=self.repository.root().signed.version,
            timestamp=timestamp.read_text(encoding="utf-8"),
            release=base or None,
            rollout=rollout,
            experiment=experiment,
        )

    def _experiment(self, session: Session, channel: str, notes: dict[int, ReleaseNote]) -> ExperimentOffer | None:
        row = active_experiment(session, channel)
        if row is None:
            return None
        variants = variants_of(row)
        if any(variant.release not in notes for variant in variants):
            return None
        return ExperimentOffer(row.experiment_id, row.seed, variants)


def _rollout_offer(row: RolloutRow, notes: dict[int, ReleaseNote]) -> RolloutOffer | None:
    is_current = row.release in notes and row.release > newest_open_release(notes)
    if row.state not in ("running", "paused") or not is_current:
        return None
    return RolloutOffer(
        id=row.rollout_id,
        seed=row.seed,
        release=row.release,
        share=share_of(plan_of(row), row.stage),
        accepting=row.state == "running",
    )
