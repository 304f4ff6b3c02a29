"""The guardrails of a rollout: what each counts, how that is tested, and its heading in the console."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from sync_server.database.tables.rollouts import RolloutRow
from sync_server.rollouts.comparisons import Comparison, Guardrail, Loss, Rise, Share
from sync_server.rollouts.groups import compared_places
from sync_server.rollouts.measurements import Sides, clicks_by_impressions, devices_reached, latency, report_share
from sync_server.rollouts.plan import RolloutPlan, share_of

Count = Callable[[Session, RolloutRow], Sides]


@dataclass(frozen=True)
class GuardrailRule:
    """A guardrail.

    Attributes:
        name: as the API, the command line and the history in the database write it.
        title: its heading in the console.
        count: returns the sums of the new release and of the release before it.
        comparison: how they are judged.
        setting: the field of `RolloutPlan` that holds its limit: a number, or one for each stage.
    """

    name: str
    title: str
    count: Count
    comparison: Comparison
    setting: str


GUARDRAILS = (
    GuardrailRule(
        "install_failed", "Installations that failed", report_share("install_failed"), Share(), "max_failures"
    ),
    GuardrailRule(
        "proof_failed", "Bundles that failed their proof", report_share("proof_failed"), Share(), "max_failures"
    ),
    GuardrailRule("crashed", "Crashes", report_share("crashed"), Share(), "max_failures"),
    GuardrailRule("click_through", "Click-through, relative change", clicks_by_impressions, Loss(), "max_click_drop"),
    GuardrailRule("latency", "Latency beyond what is allowed, relative", latency, Rise(), "max_latency_ratio"),
)


@dataclass(frozen=True)
class Measured:
    """The counts of a rollout's release and of the release before it, over the same time.

    Attributes:
        devices: devices that the rollout reached (installed or failed).
        sides: what each guardrail counted, by its name.
    """

    devices: int
    sides: dict[str, Sides]


def measure(session: Session, rollout: RolloutRow) -> Measured:
    """Return the counts of a rollout's release and of the release before it, since the rollout began."""
    sides = {rule.name: rule.count(session, rollout) for rule in GUARDRAILS}
    return Measured(devices_reached(session, rollout), sides)


def judge(plan: RolloutPlan, measured: Measured, *, stage: int) -> list[Guardrail]:
    """Return the result of each guardrail in stage number `stage` (from 0). It may be called any number of times.

    A stage that leaves no devices to compare with has the limits of the last one that did.
    """
    alpha = plan.alpha / len(GUARDRAILS)
    stage = max((one for one in range(stage + 1) if compared_places(share_of(plan, one))), default=stage)
    return [
        rule.comparison.judge(rule.name, measured.sides[rule.name], plan.limit(rule.setting, stage=stage), alpha=alpha)
        for rule in GUARDRAILS
    ]


def open_question(guardrail: Guardrail) -> str:
    """Return what a guardrail cannot show with the present devices; "" when nothing is open or it is unknown here.

    The command line also asks servers of other versions, which may have other guardrails.
    """
    rule = _rule(guardrail.name)
    return rule.comparison.open_question(guardrail) if rule else ""


def harm_sentence(guardrail: Guardrail) -> str:
    """Return what a guardrail with the verdict `harm` found, in one sentence."""
    rule = _rule(guardrail.name)
    return rule.comparison.harm(guardrail) if rule else guardrail.name


def title_of(name: str) -> str:
    """Return the console's heading of a guardrail; its name when it is no longer declared."""
    rule = _rule(name)
    return rule.title if rule else name


def _rule(name: str) -> GuardrailRule | None:
    return next((rule for rule in GUARDRAILS if rule.name == name), None)
