"""Experiments: variants of a channel's bundle, their devices, and their results with intervals."""

import secrets
from dataclasses import dataclass

import msgspec
from sqlalchemy.orm import Session

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.events import is_name
from edge_runtime.contract.offer import VariantOffer
from edge_runtime.contract.release import check_channel
from sync_server.database.engine import DatabaseService, read_session, require_row, struct_of, take_turn, write_session
from sync_server.database.tables.events import Event
from sync_server.database.tables.rollouts import ExperimentRow
from sync_server.errors import RequestError
from sync_server.operators.audit_log import append
from sync_server.rollouts.measurements import NOTHING, assigned, click_sums, team_wins
from sync_server.rollouts.service import Rollouts, newest_first, newest_rollout
from sync_server.statistics.confidence_sequences import (
    ANY_SHARES,
    RatioSums,
    ratio_difference,
    share_interval,
)
from sync_server.statistics.sample_ratio import sample_ratio_p_value

ALPHA = 0.05
"""Intervals of 95%, the usual level."""
SAMPLE_RATIO_ALPHA = 0.001
"""Below this p-value the devices were not assigned as planned, and the results are not valid."""


class VariantResult(msgspec.Struct, frozen=True, kw_only=True):
    """One variant: its devices, its click-through, and the difference from the first variant with its interval."""

    name: str
    release: int
    weight: float
    assigned: int
    devices: int
    impressions: int
    clicks: int
    click_through: float
    difference: float | None
    lower: float | None
    upper: float | None


class TeamResult(msgspec.Struct, frozen=True, kw_only=True):
    """Interleaved lists: on how many devices each team got more clicks, and team b's share of them with its interval."""

    a_wins: int
    b_wins: int
    ties: int
    b_share: float
    lower: float
    upper: float


class ExperimentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of an experiment.

    `sample_ratio_p` is the p-value of the hypothesis that the devices which have shown lists were assigned by the weights.
    Below `SAMPLE_RATIO_ALPHA`, `sample_ratio_mismatch` is true and the differences are not valid. The intervals are valid
    for all variants together; they and the p-value stay valid however often one looks.
    """

    id: str
    channel: str
    name: str
    state: str
    created_at_s: float
    ended_at_s: float | None
    sample_ratio_p: float
    sample_ratio_mismatch: bool
    arms: list[VariantResult]
    teams: TeamResult | None


@dataclass(frozen=True)
class Experiments(DatabaseService):
    """The experiments of a server.

    Args:
        rollouts: knows which releases are signed, and what is under way.
    """

    rollouts: Rollouts

    def start(self, *, channel: str, name: str, variants: list[VariantOffer], actor: str) -> ExperimentStatus:
        """Start to give devices of a channel one of several releases.

        Args:
            channel: the channel of the devices.
            name: a name for the operators.
            variants: variants with their releases and shares of the fleet; the others are compared with the first. An
                experiment without variants compares interleaved lists, which devices make themselves.
            actor: who starts it.

        Raises:
            ConfigError: one variant, equal names, or shares outside 0 to 1 or above 1 together.
            RequestError: a release is not signed, or another rollout or experiment of the channel has not ended.
            StorageError: the database cannot be written.
        """
        _check_variants(variants)
        notes = self.rollouts.signed(check_channel(channel))
        unsigned = sorted({variant.release for variant in variants} - notes.keys())
        if unsigned:
            raise RequestError(f"channel {channel} has no signed release {unsigned[0]}", status_code=404)
        with write_session(self.engine) as session:
            take_turn(session, f"channel {channel}")
            rollout = newest_rollout(session, channel)
            if variants and (
                active_experiment(session, channel) or (rollout and rollout.state in ("running", "paused"))
            ):
                raise RequestError(
                    f"channel {channel} has a rollout or an experiment that has not ended; end it first",
                    status_code=409,
                )
            row = ExperimentRow(
                experiment_id=f"experiment-{secrets.token_hex(6)}",
                channel=channel,
                name=name,
                seed=secrets.token_hex(8),
                arms=msgspec.json.encode(variants).decode(),
                state="running",
                created_at_s=self.clock_s(),
            )
            session.add(row)
            details = {"channel": channel, "name": name}
            append(session, self.clock_s(), actor, "experiment start", row.experiment_id, details)
            experiment_id = row.experiment_id
        # Results read every event of the experiment: not while all others wait to write.
        return self.find(experiment_id)

    def stop(self, experiment_id: str, *, actor: str) -> ExperimentStatus:
        """End an experiment: its devices return to the channel's release.

        Raises:
            RequestError: no such experiment, or it has ended.
        """
        with write_session(self.engine) as session:
            row = self._row(session, experiment_id)
            if row.state != "running":
                raise RequestError(f"{experiment_id} has ended already", status_code=409)
            row.state, row.ended_at_s = "ended", self.clock_s()
            append(session, self.clock_s(), actor, "experiment stop", experiment_id)
        return self.find(experiment_id)

    def find(self, experiment_id: str) -> ExperimentStatus:
        """Return one experiment with its results.

        Raises:
            RequestError: there is none of that id.
        """
        with read_session(self.engine) as session:
            return self._status(session, self._row(session, experiment_id))

    def all(self, *, channel: str | None = None) -> list[ExperimentStatus]:
        """Return the experiments with their results, newest first."""
        with read_session(self.engine) as session:
            rows = session.scalars(newest_first(ExperimentRow, channel)).all()
            return [self._status(session, row) for row in rows]

    @staticmethod
    def _row(session: Session, experiment_id: str) -> ExperimentRow:
        missing = RequestError("there is no such experiment", status_code=404)
        return require_row(session, ExperimentRow, experiment_id, missing)

    def _status(self, session: Session, row: ExperimentRow) -> ExperimentStatus:
        variants = variants_of(row)
        counts = assigned(session, row.experiment_id, [variant.name for variant in variants])
        total = sum(variant.weight for variant in variants)
        clicks = click_sums(session, Event.variant, Event.experiment == row.experiment_id, Event.variant.is_not(None))
        # Devices that have shown a list: one whose release was there before reports at once, another after its download.
        exposed = [clicks.get(variant.name, NOTHING).devices for variant in variants]
        p_value = sample_ratio_p_value(exposed, [variant.weight / total for variant in variants])
        wins = team_wins(session, row.experiment_id)
        return struct_of(
            row,
            ExperimentStatus,
            id=row.experiment_id,
            sample_ratio_p=p_value,
            sample_ratio_mismatch=p_value < SAMPLE_RATIO_ALPHA,
            arms=_results(variants, counts, clicks),
            teams=_team_result(wins) if any(wins) else None,
        )


def _check_variants(variants: list[VariantOffer]) -> None:
    names = {variant.name for variant in variants}
    sound = all(is_name(name) and len(name) <= 40 for name in names)
    if variants and (len(variants) < 2 or len(names) < len(variants) or not sound):
        raise ConfigError("expected at least two variants of different names (up to 40 printable characters)")
    if (
        any(not 0 < variant.weight <= 1 for variant in variants)
        or sum(variant.weight for variant in variants) > 1 + 1e-9
    ):
        raise ConfigError("expected shares above 0 whose sum is at most 1")


def _results(variants: list[VariantOffer], counts: list[int], clicks: dict[str, RatioSums]) -> list[VariantResult]:
    results = []
    for place, (variant, count) in enumerate(zip(variants, counts, strict=True)):
        sums = clicks.get(variant.name, NOTHING)
        difference = lower = upper = None
        if place:
            first = clicks.get(variants[0].name, NOTHING)
            found = ratio_difference(sums, first, alpha=ALPHA / (len(variants) - 1))
            difference, lower, upper = found.estimate, found.lower, found.upper
        results.append(
            struct_of(
                variant,
                VariantResult,
                assigned=count,
                devices=sums.devices,
                impressions=int(sums.d),
                clicks=int(sums.n),
                click_through=sums.ratio,
                difference=difference,
                lower=lower,
                upper=upper,
            )
        )
    return results


def _team_result(wins: tuple[int, int, int]) -> TeamResult:
    a_wins, b_wins, ties = wins
    share = share_interval(b_wins, a_wins + b_wins, alpha=ALPHA, prior=ANY_SHARES)
    return TeamResult(
        a_wins=a_wins, b_wins=b_wins, ties=ties, b_share=share.estimate, lower=share.lower, upper=share.upper
    )


def active_experiment(session: Session, channel: str) -> ExperimentRow | None:
    """Return the running experiment of a channel that has variants, if any."""
    running = (ExperimentRow.state == "running", ExperimentRow.arms != "[]")
    return session.scalar(newest_first(ExperimentRow, channel).where(*running).limit(1))


def variants_of(row: ExperimentRow) -> list[VariantOffer]:
    """Return an experiment's variants."""
    return msgspec.json.decode(row.arms, type=list[VariantOffer])
