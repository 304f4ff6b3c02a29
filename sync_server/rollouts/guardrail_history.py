"""The history of a rollout's guardrails: one row for each guardrail, every five minutes."""

from collections.abc import Sequence

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from sync_server.database.engine import read_session
from sync_server.database.tables.rollouts import GuardrailPoint
from sync_server.rollouts.comparisons import Guardrail
from sync_server.statistics.confidence_sequences import EstimateAt

# Guardrails need many devices, so they change slowly.
_EVERY_S = 300.0
# 400 points for each of five guardrails: a chart is 720 pixels wide.
_MOST_POINTS = 2_000


def remember(session: Session, rollout_id: str, guardrails: Sequence[Guardrail], *, at_s: float, at_once: bool) -> None:
    """Store the guardrails in the transaction that judges them.

    Args:
        session: an open transaction that may write.
        rollout_id: the rollout.
        guardrails: the present results.
        at_s: seconds since 1970.
        at_once: store them even within five minutes of the last time, because the rollout changes now.
    """
    last = session.scalar(select(func.max(GuardrailPoint.at_s)).where(GuardrailPoint.rollout_id == rollout_id))
    if last is not None and at_s <= last + (0.0 if at_once else _EVERY_S):
        return
    for guardrail in guardrails:
        session.add(
            GuardrailPoint(
                rollout_id=rollout_id,
                name=guardrail.name,
                at_s=at_s,
                estimate=guardrail.estimate,
                # A missing bound is null: databases treat infinity differently.
                lower=_finite(guardrail.lower),
                upper=_finite(guardrail.upper),
            )
        )


def _finite(value: float) -> float | None:
    return value if abs(value) < 1e300 else None


def history_of(engine: Engine, rollout_id: str) -> dict[str, list[EstimateAt]]:
    """Return each guardrail's estimates over time, oldest first.

    Raises:
        StorageError: the database cannot be read.
    """
    query = (
        select(GuardrailPoint)
        .where(GuardrailPoint.rollout_id == rollout_id)
        .order_by(GuardrailPoint.at_s.desc())
        .limit(_MOST_POINTS)
    )
    found: dict[str, list[EstimateAt]] = {}
    with read_session(engine) as session:
        for row in session.scalars(query):
            low = row.lower if row.lower is not None else float("-inf")
            high = row.upper if row.upper is not None else float("inf")
            found.setdefault(row.name, []).insert(0, EstimateAt(row.at_s, low, row.estimate, high))
    return found
