"""The routes of devices: enrollment, the list, and revoking one."""

import msgspec
from flask import Blueprint, request

from edge_runtime.contract.release import EnrollmentAnswer, EnrollmentRequest
from sync_server.api.answers import JsonAnswer, json_answer
from sync_server.api.auth import require_role
from sync_server.api.request_body import decode_body
from sync_server.errors import RequestError
from sync_server.services import services

blueprint = Blueprint("devices", __name__, url_prefix="/v1/devices")

_MAX_REQUEST_BYTES = 4_096
# Tokens of Play Integrity and App Attest have some 3 to 8 KB.
_MAX_ATTESTED_BYTES = 32_768


class EnrollmentKeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key that is wanted: for how many devices, how many a minute, for how long."""

    label: str
    devices: int
    per_minute: int
    valid_days: int


@blueprint.post("/enroll")
def enroll() -> JsonAnswer:
    """Exchange a one-time code or an enrollment key for a device id; some servers want neither."""
    here = services()
    here.rates.take("enroll", request.remote_addr or "", per_minute=here.config.enrollments_per_minute)
    limit = _MAX_ATTESTED_BYTES if here.config.attestation else _MAX_REQUEST_BYTES
    wanted = decode_body(EnrollmentRequest, max_bytes=limit)
    code = wanted.code.strip()
    if not code:
        _take_anonymous_turn()
    device_id = here.enrollment.enroll(code, wanted.credential, attestation=wanted.attestation)
    return json_answer(EnrollmentAnswer(device_id), 201)


def _take_anonymous_turn() -> None:
    per_minute = services().config.anonymous_enrollments_per_minute
    if not per_minute:
        raise RequestError("this server enrolls devices by a code only; ask for one", status_code=403)
    services().rates.take("enroll without a code", "everyone", per_minute=per_minute)


@blueprint.post("/enrollment-keys")
def make_key() -> JsonAnswer:
    """Make a key with which many devices enroll; its secret is in this answer only."""
    principal = require_role("admin")
    wanted = decode_body(EnrollmentKeyRequest, max_bytes=_MAX_REQUEST_BYTES)
    new = services().enrollment_keys.create(
        wanted.label,
        devices=wanted.devices,
        per_minute=wanted.per_minute,
        valid_days=wanted.valid_days,
        actor=principal.name,
    )
    return json_answer(new, 201)


@blueprint.get("/enrollment-keys")
def list_keys() -> JsonAnswer:
    """List the enrollment keys, without their secrets."""
    require_role("viewer")
    return json_answer(services().enrollment_keys.every_key())


@blueprint.post("/enrollment-keys/<key_id>/revoke")
def revoke_key(key_id: str) -> JsonAnswer:
    """Let no more devices enroll with a key."""
    principal = require_role("admin")
    services().enrollment_keys.revoke(key_id, actor=principal.name)
    return json_answer({"key_id": key_id, "revoked": True})


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
