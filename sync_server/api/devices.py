"""The routes of devices: enrollment, the list, and revoking one."""

from flask import Blueprint, request

from edge_runtime.contract.release import EnrollmentAnswer, EnrollmentRequest
from sync_server.api.answers import JsonAnswer, json_answer
from sync_server.api.auth import require_role
from sync_server.api.request_body import decode_body
from sync_server.errors import RequestError
from sync_server.services import services

blueprint = Blueprint("devices", __name__, url_prefix="/v1/devices")

_MAX_REQUEST_BYTES = 4_096


@blueprint.post("/enroll")
def enroll() -> JsonAnswer:
    """Exchange a one-time code for a device id."""
    here = services()
    here.rates.take("enroll", request.remote_addr or "", per_minute=here.config.enrollments_per_minute)
    wanted = decode_body(EnrollmentRequest, max_bytes=_MAX_REQUEST_BYTES)
    return json_answer(EnrollmentAnswer(here.enrollment.enroll(wanted.code, wanted.credential)), 201)


@blueprint.get("")
def list_devices() -> JsonAnswer:
    """List devices by name; `search` and `after` narrow the list."""
    require_role("viewer")
    return json_answer(
        services().devices.page(search=request.args.get("search", ""), after=request.args.get("after", ""), count=500)
    )


@blueprint.post("/<device_id>/revoke")
def revoke(device_id: str) -> JsonAnswer:
    """Make a device's credential void."""
    principal = require_role("admin")
    if services().devices.find(device_id) is None:
        raise RequestError("there is no such device", status_code=404)
    services().devices.revoke(device_id, actor=principal.name)
    return json_answer({"device_id": device_id, "revoked": True})
