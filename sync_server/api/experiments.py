"""The routes of experiments."""

import msgspec
from flask import Blueprint

from edge_runtime.contract.offer import VariantOffer
from sync_server.api.answers import JsonAnswer, json_answer
from sync_server.api.auth import require_role
from sync_server.api.request_body import decode_body
from sync_server.services import services

blueprint = Blueprint("experiments", __name__, url_prefix="/v1")

# Room for some 100 variants.
_MAX_REQUEST_BYTES = 10_000


class ExperimentRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An experiment; without variants (`arms`) it compares interleaved lists."""

    channel: str
    name: str
    arms: list[VariantOffer] = []


@blueprint.get("/experiments")
def list_experiments() -> JsonAnswer:
    """List experiments with their results, newest first."""
    require_role("viewer")
    return json_answer({"experiments": services().experiments.all()})


@blueprint.get("/experiments/<experiment_id>")
def show_experiment(experiment_id: str) -> JsonAnswer:
    """Show one experiment with its results."""
    require_role("viewer")
    return json_answer(services().experiments.find(experiment_id))


@blueprint.post("/experiments")
def start_experiment() -> JsonAnswer:
    """Start an experiment."""
    actor = require_role("publisher").name
    wanted = decode_body(ExperimentRequest, max_bytes=_MAX_REQUEST_BYTES)
    started = services().experiments.start(
        channel=wanted.channel, name=wanted.name[:200], variants=wanted.arms, actor=actor
    )
    services().offers.forget()
    return json_answer(started, 201)


@blueprint.post("/experiments/<experiment_id>/stop")
def stop_experiment(experiment_id: str) -> JsonAnswer:
    """End an experiment."""
    actor = require_role("publisher").name
    done = services().experiments.stop(experiment_id, actor=actor)
    services().offers.forget()
    return json_answer(done)
