"""Decides what a rollout does next from its guardrails and its plan, without database or clock."""

from dataclasses import dataclass
from typing import Literal

from sync_server.rollouts.comparisons import Guardrail
from sync_server.rollouts.guardrails import Measured, harm_sentence
from sync_server.rollouts.plan import RolloutPlan

Action = Literal["wait", "advance", "complete", "halt", "pause", "resume", "superseded"]


@dataclass(frozen=True)
class Decision:
    """What a rollout does next, and the reason in one sentence."""

    action: Action
    reason: str


def decide(
    plan: RolloutPlan, *, stage: int, hours_in_stage: float, measured: Measured, guardrails: list[Guardrail]
) -> Decision:
    """Return what a running rollout does next.

    Args:
        plan: the rollout's plan.
        stage: which of the plan's stages runs, from 0.
        hours_in_stage: how long the stage has lasted.
        measured: the counts behind `guardrails`.
        guardrails: from `judge`.
    """
    harmful = next((guardrail for guardrail in guardrails if guardrail.verdict == "harm"), None)
    if harmful is not None:
        return Decision("halt", harm_sentence(harmful))
    if hours_in_stage < plan.soak_hours:
        return Decision("wait", f"stage {stage + 1} soaks: {hours_in_stage:.1f} of {plan.soak_hours:g} hours")
    waiting = [guardrail.name for guardrail in guardrails if guardrail.verdict == "undecided"]
    if measured.devices < plan.min_devices:
        waiting.append(f"{plan.min_devices} devices")
    if waiting and hours_in_stage >= plan.hold_hours:
        return Decision("pause", f"no evidence after {plan.hold_hours:g} hours: {', '.join(waiting)}; look and decide")
    if waiting:
        return Decision("wait", f"stage {stage + 1} waits for evidence: {', '.join(waiting)}")
    if stage + 1 < len(plan.stages):
        return Decision("advance", f"stage {stage + 1} passed, {plan.stages[stage + 1]:g}% are next")
    return Decision("complete", "every stage passed")
