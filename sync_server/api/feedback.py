"""Feedback of devices: each event is stored once, however often it is sent; its owner can get a copy or erase it."""

from collections.abc import Iterator

from flask import Blueprint, Response, request

from edge_runtime.contract.events import EVENT_KINDS, FeedbackBatch
from sync_server.api.answers import JsonAnswer, json_answer
from sync_server.api.auth import require_device, require_role, require_sender
from sync_server.api.request_body import decode_json, unpacked_body
from sync_server.errors import RequestError
from sync_server.events.data_requests import device_data, erase_device
from sync_server.events.ingest import MAX_SEQUENCE
from sync_server.services import services

blueprint = Blueprint("feedback", __name__, url_prefix="/v1")


@blueprint.post("/feedback")
def receive() -> JsonAnswer:
    """Store a batch of the device that the credential names."""
    device_id = require_sender()
    config = services().config
    services().rates.take("feedback", device_id, per_minute=config.feedback_per_minute)
    data = unpacked_body(config.max_feedback_bytes)
    batch = decode_json(data, FeedbackBatch)
    if batch.device_id != device_id:
        raise RequestError("the batch names another device than the credential; nothing was stored", status_code=403)
    if len(batch.events) > config.max_feedback_events:
        raise RequestError(
            f"{len(batch.events)} events in one batch, {config.max_feedback_events} are allowed; nothing was stored",
            status_code=413,
        )
    receipt = services().ingest.store(batch, size_bytes=len(data))
    services().metrics.count_events(
        stored=receipt.stored,
        duplicates=receipt.duplicates,
        refused=len(receipt.refused),
        of_unknown_kind=sum(item.event.kind not in EVENT_KINDS for item in batch.events),
    )
    services().retention.sweep_if_due(services().clock_s())
    services().history.record_if_due()
    return json_answer(receipt)


@blueprint.delete("/feedback")
def erase() -> JsonAnswer:
    """Erase the stored data of the device that the credential names, and its events up to `through` that are on their way."""
    device_id = _require_owner()
    through = request.args.get("through", 0, type=int)
    if not 0 <= through <= MAX_SEQUENCE:
        raise RequestError(f"through: expected the number of an event, got {through}", status_code=400)
    here = services()
    done = erase_device(here.engine, device_id, actor=device_id, now_s=here.clock_s(), through=through)
    return json_answer(done)


@blueprint.get("/feedback")
def hand_out() -> Response:
    """Return the stored data of the device that the credential names, as lines of JSON."""
    lines: Iterator[bytes] = device_data(services().engine, _require_owner())
    return Response(lines, mimetype="application/x-ndjson")


def _require_owner() -> str:
    device_id = require_device()
    services().rates.take("data", device_id, per_minute=services().config.data_requests_per_minute)
    return device_id


@blueprint.delete("/devices/<device_id>/feedback")
def erase_for(device_id: str) -> JsonAnswer:
    """Erase the stored data of a device, on behalf of its owner."""
    principal = require_role("admin")
    return json_answer(erase_device(services().engine, device_id, actor=principal.name, now_s=services().clock_s()))


@blueprint.get("/devices/<device_id>/feedback")
def hand_out_for(device_id: str) -> Response:
    """Return the stored data of a device, on behalf of its owner."""
    require_role("admin")
    return Response(device_data(services().engine, device_id), mimetype="application/x-ndjson")
