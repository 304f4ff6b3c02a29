"""The routes of offers, reports of devices, and rollouts."""

from typing import cast

import msgspec
from flask import Blueprint, Response

from edge_runtime.contract.reports import MAX_REPORTS, ReportBatch
from sync_server.api.answers import JsonAnswer, json_answer
from sync_server.api.auth import require_device, require_role
from sync_server.api.request_body import decode_body, decode_json, unpacked_body
from sync_server.errors import RequestError
from sync_server.rollouts.plan import RolloutPlan
from sync_server.rollouts.service import RolloutAction
from sync_server.services import services

blueprint = Blueprint("rollouts", __name__, url_prefix="/v1")

# Far above the length of `MAX_REPORTS` reports, and of any plan.
_MAX_REPORT_BYTES, _MAX_REQUEST_BYTES = 100_000, 10_000


class RolloutRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The release of a rollout, by default the newest staged one, and its plan."""

    channel: str
    release: int | None = None
    plan: RolloutPlan = RolloutPlan()


class ReasonRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The reason of an operator's action, for the history."""

    reason: str = ""


@blueprint.get("/channels/<channel>/offer")
def offer(channel: str) -> Response:
    """Return the offer for the devices of a channel; it is public and the same for all of them."""
    made = services().offers.encoded(channel)
    if made is None:
        raise RequestError("nothing is published in this channel", status_code=404)
    # freshness.py compares this tag and answers devices that have the offer already.
    return Response(made.data, mimetype="application/json", headers={"Cache-Control": "no-cache", "ETag": made.etag})


@blueprint.post("/reports")
def receive_reports() -> JsonAnswer:
    """Store reports about bundles of the device that the credential names."""
    device_id = require_device()
    services().rates.take("reports", device_id, per_minute=services().config.reports_per_minute)
    data = unpacked_body(_MAX_REPORT_BYTES)
    batch = decode_json(data, ReportBatch)
    if batch.device_id != device_id:
        raise RequestError("the batch names another device than the credential; nothing was stored", status_code=403)
    if len(batch.reports) > MAX_REPORTS:
        raise RequestError(f"{len(batch.reports)} reports, {MAX_REPORTS} are allowed", status_code=413)
    return json_answer(services().reports.store(batch, size_bytes=len(data)))


@blueprint.get("/rollouts")
def list_rollouts() -> JsonAnswer:
    """List rollouts, newest first."""
    require_role("viewer")
    return json_answer({"rollouts": services().rollouts.all()})


@blueprint.get("/rollouts/<rollout_id>")
def show_rollout(rollout_id: str) -> JsonAnswer:
    """Show one rollout with its history."""
    require_role("viewer")
    rollouts = services().rollouts
    return json_answer({"rollout": rollouts.find(rollout_id), "history": rollouts.history(rollout_id)})


@blueprint.post("/rollouts")
def start_rollout() -> JsonAnswer:
    """Start the rollout of a staged release."""
    actor = require_role("publisher").name
    wanted = decode_body(RolloutRequest, max_bytes=_MAX_REQUEST_BYTES)
    started = services().rollouts.start(channel=wanted.channel, release=wanted.release, plan=wanted.plan, actor=actor)
    services().offers.forget()
    return json_answer(started, 201)


@blueprint.post("/rollouts/<rollout_id>/<any(pause, resume, advance, halt):action>")
def act_on_rollout(rollout_id: str, action: str) -> JsonAnswer:
    """Pause, resume, advance or halt a rollout; halting brings its devices back."""
    actor = require_role("publisher").name
    reason = decode_body(ReasonRequest, max_bytes=_MAX_REQUEST_BYTES).reason[:500]
    done = services().rollouts.act(rollout_id, cast("RolloutAction", action), actor=actor, reason=reason)
    services().offers.forget()
    return json_answer(done)


@blueprint.get("/fleet/releases")
def fleet_releases() -> JsonAnswer:
    """Return how many devices have which release."""
    require_role("viewer")
    return json_answer({"releases": services().reports.releases()})
