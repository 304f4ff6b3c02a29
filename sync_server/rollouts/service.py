"""Rollouts: operators start, pause and halt them; their guardrails advance and halt them."""

import json
import logging
import secrets
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec
from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from edge_runtime.contract.release import ReleaseNote, check_channel
from sync_server.database.engine import DatabaseService, read_session, require_row, struct_of, take_turn, write_session
from sync_server.database.tables.rollouts import ExperimentRow, RolloutRow, RolloutStep
from sync_server.errors import RequestError
from sync_server.operators.audit_log import Details, append
from sync_server.repository.tuf_repository import Repository
from sync_server.rollouts.comparisons import Guardrail
from sync_server.rollouts.decisions import Decision, decide
from sync_server.rollouts.guardrail_history import remember
from sync_server.rollouts.guardrails import judge, measure
from sync_server.rollouts.plan import RolloutPlan, decode_plan, share_of
from sync_server.rollouts.sizing import StageSight, sights, traffic_of

_LOG = logging.getLogger(__name__)
# Guardrails need many devices, so they hardly change within a minute.
JUDGED_EVERY_S = 60.0
SERVER = "server"
"""The actor of what guardrails decide."""

RolloutState = Literal["running", "paused", "halted", "completed", "superseded"]
RolloutAction = Literal["pause", "resume", "advance", "halt"]
_ALLOWED: dict[str, tuple[str, ...]] = {
    "pause": ("running",),
    "resume": ("paused",),
    "advance": ("running", "paused"),
    "halt": ("running", "paused", "completed"),
}
_STATE_AFTER = {"pause": "paused", "halt": "halted", "complete": "completed", "superseded": "superseded"}
_Row = TypeVar("_Row", RolloutRow, ExperimentRow)


class StepStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a rollout's history."""

    at_s: float
    action: str
    actor: str
    reason: str
    stage: int
    devices: int
    guardrails: list[Guardrail]


class RolloutStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a rollout stands; `share` is the part of the fleet (0 … 1) that its current stage reaches."""

    id: str
    channel: str
    release: int
    bundle_id: str
    base_release: int
    state: str
    stage: int
    share: float
    reason: str
    created_at_s: float
    stage_started_at_s: float
    ended_at_s: float | None
    judged_at_s: float
    plan: RolloutPlan
    guardrails: list[Guardrail]


@dataclass(frozen=True)
class Rollouts(DatabaseService):
    """The rollouts of a server.

    Args:
        repository: knows which releases are signed.
    """

    repository: Repository

    def start(self, *, channel: str, release: int | None, plan: RolloutPlan, actor: str) -> RolloutStatus:
        """Start the rollout of a staged release.

        Args:
            channel: the channel of the release.
            release: the number of the staged release; None for the newest.
            plan: its stages and limits.
            actor: who starts it, for the history.

        Raises:
            ConfigError: the plan cannot work, or no channel may have that name.
            RequestError: the release is not signed, not staged, or another rollout of the channel is under way.
            StorageError: the database cannot be written.
        """
        plan.checked()
        notes = self.signed(check_channel(channel))
        staged = [note for note in notes.values() if note.staged]
        number = max((note.release for note in staged), default=0) if release is None else release
        if number not in notes or not notes[number].staged:
            raise RequestError(
                f"channel {channel} has no staged release{f' {number}' if number else ''}; publish one with --staged",
                status_code=404,
            )
        with write_session(self.engine) as session:
            take_turn(session, f"channel {channel}")
            newest = newest_rollout(session, channel)
            if newest is not None and newest.state in ("running", "paused"):
                raise RequestError(
                    f"rollout {newest.rollout_id} of release {newest.release} is running or paused; halt it first",
                    status_code=409,
                )
            base = notes[base_release(notes, newest)]
            if base.release == number:
                raise RequestError(f"every device of {channel} is offered release {number} already", status_code=409)
            now, rollout_id = self.clock_s(), f"rollout-{secrets.token_hex(6)}"
            row = RolloutRow(
                rollout_id=rollout_id,
                channel=channel,
                release=number,
                bundle_id=notes[number].bundle_id,
                base_release=base.release,
                base_bundle_id=base.bundle_id,
                seed=rollout_id,
                plan=msgspec.json.encode(plan).decode(),
                state="running",
                stage=0,
                stage_started_at_s=now,
                created_at_s=now,
                judged_at_s=0.0,
                reason="started",
                guardrails="[]",
            )
            session.add(row)
            session.flush()
            self._note(session, row, "start", actor, devices=0)
            return status_of(row)

    def act(self, rollout_id: str, action: RolloutAction, *, actor: str, reason: str = "") -> RolloutStatus:
        """Pause, resume, advance or halt a rollout; halting brings its devices back to the release before.

        Raises:
            RequestError: no such rollout, or its state does not allow it.
            StorageError: the database cannot be written.
        """
        with write_session(self.engine) as session:
            row = self._row(session, rollout_id, to_change=True)
            if row.state not in _ALLOWED[action]:
                raise RequestError(f"rollout {rollout_id} is {row.state}: it cannot {action}", status_code=409)
            self._apply(session, row, Decision(action, reason or f"{action} by {actor}"), actor=actor)
            return status_of(row)

    def tick(self) -> list[RolloutStatus]:
        """Judge every running rollout that was not judged within a minute, and act on the result; return those rollouts.

        Any number of workers may call it at any time. One of them judges a rollout. A rollout that cannot be judged is logged
        and stays due.

        Raises:
            StorageError: the database cannot be used.
        """
        now = self.clock_s()
        with write_session(self.engine) as session:
            due = (RolloutRow.state == "running") & (RolloutRow.judged_at_s <= now - JUDGED_EVERY_S)
            query = select(RolloutRow.rollout_id, RolloutRow.judged_at_s).where(due).with_for_update()
            claimed = {row.rollout_id: row.judged_at_s for row in session.execute(query)}
            session.execute(update(RolloutRow).where(RolloutRow.rollout_id.in_(claimed)).values(judged_at_s=now))
        judged = [self._judge_claimed(rollout_id, judged_at_s=before_s) for rollout_id, before_s in claimed.items()]
        return [status for status in judged if status is not None]

    def _judge_claimed(self, rollout_id: str, *, judged_at_s: float) -> RolloutStatus | None:
        try:
            return self.judge(rollout_id)
        except Exception:  # noqa: BLE001  (logged with its stack)
            # One that cannot be judged must not keep the others from it; the age of its last judgement goes on growing.
            _LOG.exception("rollout %s was not judged", rollout_id)
            with write_session(self.engine) as session:
                same = update(RolloutRow).where(RolloutRow.rollout_id == rollout_id)
                session.execute(same.values(judged_at_s=judged_at_s))
            return None

    def judge(self, rollout_id: str) -> RolloutStatus:
        """Judge one rollout by the present counts, and act on the result.

        Raises:
            RequestError: no such rollout.
            StorageError: the database cannot be used.
        """
        with read_session(self.engine) as session:
            row = self._row(session, rollout_id)
            plan, stage = plan_of(row), row.stage
            counts = measure(session, row)
            newest_open = newest_open_release(self.signed(row.channel))
        guardrails = judge(plan, counts, stage=stage)
        with write_session(self.engine) as session:
            row = self._row(session, rollout_id, to_change=True)
            row.judged_at_s, row.guardrails = self.clock_s(), msgspec.json.encode(guardrails).decode()
            if row.state != "running" or row.stage != stage:
                return status_of(row)
            hours = (self.clock_s() - row.stage_started_at_s) / 3_600
            decision = decide(plan, stage=stage, hours_in_stage=hours, measured=counts, guardrails=guardrails)
            if newest_open > row.release:
                decision = Decision("superseded", f"release {newest_open} was published for every device")
            changes = decision.action != "wait"
            remember(session, rollout_id, guardrails, at_s=self.clock_s(), at_once=changes)
            if not changes:
                row.reason = decision.reason
            else:
                self._apply(session, row, decision, actor=SERVER, devices=counts.devices)
            return status_of(row)

    def _apply(self, session: Session, row: RolloutRow, decision: Decision, *, actor: str, devices: int = 0) -> None:
        now, last = self.clock_s(), len(plan_of(row).stages) - 1
        match decision.action:
            case "advance":
                row.state, row.stage = ("running", row.stage + 1) if row.stage < last else ("completed", row.stage)
                row.stage_started_at_s = now
            case "resume":
                row.state, row.stage_started_at_s = "running", now
            case action:
                row.state = _STATE_AFTER[action]
        row.reason = decision.reason
        row.ended_at_s = None if row.state in ("running", "paused") else now
        self._note(session, row, decision.action, actor, devices=devices)
        _LOG.warning("%s of release %d: %s (%s)", row.rollout_id, row.release, decision.action, decision.reason)

    def _note(self, session: Session, row: RolloutRow, action: str, actor: str, *, devices: int) -> None:
        now = self.clock_s()
        same = {name: getattr(row, name) for name in ("rollout_id", "reason", "stage", "guardrails")}
        session.add(RolloutStep(at_s=now, action=action, actor=actor, devices=devices, **same))
        details: Details = {"channel": row.channel, "release": row.release, "reason": row.reason}
        append(session, now, actor, f"rollout {action}", row.rollout_id, details)

    def all(self, *, channel: str | None = None) -> list[RolloutStatus]:
        """Return the rollouts, newest first."""
        with read_session(self.engine) as session:
            return [status_of(row) for row in session.scalars(newest_first(RolloutRow, channel))]

    def find(self, rollout_id: str) -> RolloutStatus:
        """Return one rollout.

        Raises:
            RequestError: there is none of that id.
        """
        with read_session(self.engine) as session:
            return status_of(self._row(session, rollout_id))

    def history(self, rollout_id: str) -> list[StepStatus]:
        """Return the history of a rollout, oldest first."""
        query = select(RolloutStep).where(RolloutStep.rollout_id == rollout_id).order_by(RolloutStep.id)
        with read_session(self.engine) as session:
            steps = session.scalars(query)
            return [struct_of(step, StepStatus, guardrails=_guardrails(step.guardrails)) for step in steps]

    def waiting_channels(self) -> list[str]:
        """Return the channels with a staged release that a rollout can be started for."""
        newest = self.repository.releases()
        with read_session(self.engine) as session:
            last = {channel: newest_rollout(session, channel) for channel in sorted(newest)}
        return [
            channel
            for channel, row in last.items()
            if newest[channel].staged
            and (row is None or row.state not in ("running", "paused"))
            and base_release(self.signed(channel), row) != newest[channel].release
        ]

    def sights(self, channel: str, plan: RolloutPlan) -> list[StageSight]:
        """Return what each stage of `plan` could show in a channel; nothing when its devices click nothing.

        Raises:
            StorageError: the database cannot be read.
        """
        with read_session(self.engine) as session:
            traffic = traffic_of(session, channel, now_s=self.clock_s())
        return sights(plan, traffic) if traffic is not None else []

    def signed(self, channel: str) -> dict[int, ReleaseNote]:
        """Return the releases of a channel that are signed, by number.

        Raises:
            RequestError: there is none.
        """
        notes = self.repository.channel_releases(channel)
        if not notes:
            raise RequestError(f"nothing is published in channel {channel}", status_code=404)
        return notes

    @staticmethod
    def _row(session: Session, rollout_id: str, *, to_change: bool = False) -> RolloutRow:
        missing = RequestError("there is no such rollout", status_code=404)
        return require_row(session, RolloutRow, rollout_id, missing, to_change=to_change)


def newest_first(table: type[_Row], channel: str | None) -> Select[_Row]:
    """Return the query for the rollouts or experiments of a channel, the newest first; None asks for every channel."""
    query = select(table).order_by(table.created_at_s.desc())
    return query if channel is None else query.where(table.channel == channel)


def newest_rollout(session: Session, channel: str) -> RolloutRow | None:
    """Return the rollout of a channel that was started last."""
    return session.scalar(newest_first(RolloutRow, channel).limit(1))


def newest_open_release(notes: dict[int, ReleaseNote]) -> int:
    """Return the number of the newest release that is not staged; 0 when there is none."""
    return max((note.release for note in notes.values() if not note.staged), default=0)


def base_release(notes: dict[int, ReleaseNote], newest: RolloutRow | None) -> int:
    """Return the release for devices outside of a rollout, given the channel's newest rollout."""
    newest_open = newest_open_release(notes)
    if newest is None or newest.release < newest_open:
        return newest_open
    wanted = newest.release if newest.state == "completed" else newest.base_release
    return wanted if wanted in notes else newest_open


def plan_of(row: RolloutRow) -> RolloutPlan:
    """Return the plan that a rollout was started with."""
    return decode_plan(row.plan)


def _guardrails(text: str) -> list[Guardrail]:
    # JSON has no infinity: a missing bound is null.
    rows = json.loads(text)
    for row in rows:
        for name, unbounded in (("lower", float("-inf")), ("upper", float("inf")), ("estimate", 0.0)):
            row[name] = unbounded if row[name] is None else row[name]
    return msgspec.convert(rows, list[Guardrail])


def status_of(row: RolloutRow) -> RolloutStatus:
    """Return the status of a rollout from its row."""
    plan = plan_of(row)
    share, guardrails = share_of(plan, row.stage), _guardrails(row.guardrails)
    return struct_of(row, RolloutStatus, id=row.rollout_id, share=share, plan=plan, guardrails=guardrails)
