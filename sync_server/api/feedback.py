"""What comes back from devices: each event is stored once, however often it is sent."""

from flask import Blueprint

from edge_runtime.contract.events import FeedbackBatch
from sync_server.errors import RequestError
from sync_server.services import decode_body, json_answer, require_sender, services

blueprint = Blueprint("feedback", __name__, url_prefix="/v1")


@blueprint.post("/feedback")
def receive() -> tuple[bytes, int, dict[str, str]]:
    """Store a batch of the device that the credential names."""
    device_id = require_sender()
    config = services().config
    services().rates.take("feedback", device_id, per_minute=config.feedback_per_minute)
    batch = decode_body(FeedbackBatch, max_bytes=config.max_feedback_bytes)
    if batch.device_id != device_id:
        raise RequestError("the batch names another device than the credential; nothing was stored", status_code=403)
    if len(batch.events) > config.max_feedback_events:
        raise RequestError(
            f"{len(batch.events)} events in one batch, {config.max_feedback_events} are allowed; nothing was stored",
            status_code=413,
        )
    receipt = services().fleet.store(batch)
    services().metrics.count_events(stored=receipt.stored, duplicates=receipt.duplicates, refused=len(receipt.refused))
    services().retention.sweep_if_due(services().fleet.clock_s())
    services().history.record_if_due()
    return json_answer(receipt)
