"""How a device becomes known."""

from flask import Blueprint

from edge_runtime.contract.release import EnrolmentAnswer, EnrolmentRequest
from sync_server.services import decode_body, json_answer, services

blueprint = Blueprint("devices", __name__, url_prefix="/v1/devices")

_MAX_REQUEST_BYTES = 4_096


@blueprint.post("/enroll")
def enroll() -> tuple[bytes, int, dict[str, str]]:
    """Exchange a one-time code for a device id."""
    wanted = decode_body(EnrolmentRequest, max_bytes=_MAX_REQUEST_BYTES)
    return json_answer(EnrolmentAnswer(services().fleet.enroll(wanted.code, wanted.credential)), 201)
