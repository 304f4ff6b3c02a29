"""Reports of devices at privacy level `counts`; each window of a device is stored once."""

from flask import Blueprint

from edge_runtime.contract.counts import CountReceipt, CountReport, check_report
from edge_runtime.contract.errors import EventRejectedError
from sync_server.api.answers import JsonAnswer, json_answer
from sync_server.api.auth import require_device
from sync_server.api.request_body import decode_body
from sync_server.errors import RequestError
from sync_server.events.private_counts import refusal_of, store_report
from sync_server.services import services

blueprint = Blueprint("counts", __name__, url_prefix="/v1")

_MAX_REPORT_BYTES = 10_000


@blueprint.post("/counts")
def receive() -> JsonAnswer:
    """Store the report of the device that the credential names."""
    device_id = require_device()
    config = services().config
    services().rates.take("counts", device_id, per_minute=config.counts_per_minute)
    report = decode_body(CountReport, max_bytes=_MAX_REPORT_BYTES)
    if report.device_id != device_id:
        raise RequestError("the report names another device than the credential; nothing was stored", status_code=403)
    try:
        check_report(report)
    except EventRejectedError as error:
        raise RequestError(f"the report is not valid: {error}", status_code=400) from error
    now_s = services().clock_s()
    refusal = refusal_of(report, config.counts, now_s=now_s)
    if refusal is not None:
        # Not an error's status: after one, devices would send the same report again for ever.
        return json_answer(CountReceipt(report.window, duplicate=False, refused=refusal))
    is_new = store_report(services().engine, report, now_s=now_s)
    return json_answer(CountReceipt(report.window, duplicate=not is_new))
