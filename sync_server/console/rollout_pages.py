"""The pages of rollouts and experiments."""

from dataclasses import dataclass
from typing import cast

from flask import Blueprint, flash, redirect, render_template, request, url_for

from sync_server.console.access import needs, operator
from sync_server.console.charts import Chart, with_intervals
from sync_server.console.pages import Page, add_page_rules
from sync_server.rollouts.comparisons import Guardrail
from sync_server.rollouts.guardrail_history import history_of
from sync_server.rollouts.guardrails import open_question, title_of
from sync_server.rollouts.plan import RolloutPlan
from sync_server.rollouts.service import RolloutAction
from sync_server.services import services
from sync_server.statistics.confidence_sequences import open_difference

blueprint = Blueprint("rollout_pages", __name__, url_prefix="/console")

DEFAULT_PLAN = RolloutPlan()

_DONE = {"pause": "is paused", "resume": "continues", "advance": "is in its next stage", "halt": "is halted"}


@dataclass(frozen=True)
class GuardrailView:
    """One guardrail with its chart."""

    title: str
    now: Guardrail
    chart: Chart | None
    question: str


@blueprint.get("/rollouts")
def rollouts() -> Page:
    """List rollouts, newest first, and what a rollout of each waiting release could show."""
    found = services().rollouts
    waiting = {channel: found.sights(channel, DEFAULT_PLAN) for channel in found.waiting_channels()}
    return render_template("console/rollouts.html", rollouts=found.all(), waiting=waiting, plan=DEFAULT_PLAN)


@blueprint.get("/rollouts/<rollout_id>")
def rollout(rollout_id: str) -> Page:
    """Show one rollout: stages, guardrails with their intervals, history."""
    found = services().rollouts.find(rollout_id)
    over_time = history_of(services().engine, rollout_id)
    views = [
        GuardrailView(
            title_of(guardrail.name),
            guardrail,
            with_intervals(
                title_of(guardrail.name),
                [("estimate, in its interval", over_time[guardrail.name])] if guardrail.name in over_time else [],
                limit=guardrail.limit,
                percent=True,
            ),
            open_question(guardrail),
        )
        for guardrail in found.guardrails
    ]
    return render_template(
        "console/rollout.html",
        rollout=found,
        guardrails=views,
        history=services().rollouts.history(rollout_id)[::-1],
        now_s=services().clock_s(),
    )


@blueprint.post("/rollouts/<rollout_id>/<any(pause, resume, advance, halt):action>")
@needs("publisher")
def act(rollout_id: str, action: str) -> Page:
    """Pause, resume, advance or halt a rollout."""
    reason = request.form.get("reason", "").strip()[:500]
    services().rollouts.act(rollout_id, cast("RolloutAction", action), actor=operator().name, reason=reason)
    services().offers.forget()
    flash(f"{rollout_id} {_DONE[action]}.")
    return redirect(url_for("rollout_pages.rollout", rollout_id=rollout_id))


@blueprint.get("/experiments")
def experiments() -> Page:
    """List experiments with their results."""
    found = services().experiments.all()
    return render_template("console/experiments.html", experiments=found, open_difference=open_difference)


@blueprint.post("/experiments/<experiment_id>/stop")
@needs("publisher")
def stop(experiment_id: str) -> Page:
    """End an experiment."""
    services().experiments.stop(experiment_id, actor=operator().name)
    services().offers.forget()
    flash(f"{experiment_id} has ended: its devices return to the channel's release.")
    return redirect(url_for("rollout_pages.experiments"))


add_page_rules(blueprint)
