"""Reports of devices at privacy level `counts`: each window of a device is stored once."""

from collections.abc import Iterator

from flask import Blueprint, Response
from sqlalchemy import Engine, insert, select
from sqlalchemy.orm import Session

from edge_runtime.contract.counts import CountReceipt, CountReport, check_report
from edge_runtime.contract.errors import EventRejectedError
from sync_server.database.engine import database_errors_named, reading
from sync_server.database.tables.counts import CountRow
from sync_server.errors import RequestError
from sync_server.events.count_estimates import CountSums
from sync_server.events.data_requests import device_data, erase_device
from sync_server.services import decode_body, json_answer, require_device, require_role, services

blueprint = Blueprint("counts", __name__, url_prefix="/v1")

_MAX_REPORT_BYTES = 10_000
_PAGE_ROWS = 10_000


@blueprint.post("/counts")
def receive() -> tuple[bytes, int, dict[str, str]]:
    """Store the report of the device that the credential names."""
    device_id = require_device()
    report = decode_body(CountReport, max_bytes=_MAX_REPORT_BYTES)
    if report.device_id != device_id:
        raise RequestError("the report names another device than the credential; nothing was stored", status_code=403)
    try:
        check_report(report)
    except EventRejectedError as error:
        raise RequestError(f"the report is not as agreed: {error}", status_code=400) from error
    fleet = services().fleet
    # A window that is not over yet, or is of another year, cannot be told from a forged one by its bits.
    if report.window * report.window_s > fleet.clock_s() + report.window_s:
        raise RequestError("the report's window lies in the future; set the device's clock", status_code=400)
    is_new = store_report(fleet.engine, report, now_s=fleet.clock_s())
    return json_answer(CountReceipt(report.window, duplicate=not is_new))


@blueprint.delete("/feedback")
def erase() -> tuple[bytes, int, dict[str, str]]:
    """Erase what is kept of the device that the credential names."""
    device_id = require_device()
    fleet = services().fleet
    return json_answer(erase_device(fleet.engine, device_id, actor=device_id, now_s=fleet.clock_s()))


@blueprint.get("/feedback")
def hand_out() -> Response:
    """Hand out what is kept of the device that the credential names, as lines of JSON."""
    lines: Iterator[bytes] = device_data(services().fleet.engine, require_device())
    return Response(lines, mimetype="application/x-ndjson")


@blueprint.delete("/devices/<device_id>/feedback")
def erase_for(device_id: str) -> tuple[bytes, int, dict[str, str]]:
    """Erase what is kept of a device, on behalf of its owner."""
    principal = require_role("admin")
    fleet = services().fleet
    return json_answer(erase_device(fleet.engine, device_id, actor=principal.name, now_s=fleet.clock_s()))


@blueprint.get("/devices/<device_id>/feedback")
def hand_out_for(device_id: str) -> Response:
    """Hand out what is kept of a device, on behalf of its owner."""
    require_role("admin")
    return Response(device_data(services().fleet.engine, device_id), mimetype="application/x-ndjson")


def store_report(engine: Engine, report: CountReport, *, now_s: float) -> bool:
    """Store a report; False when its window is here already.

    Raises:
        StorageError: the database cannot be written.
    """
    values = {
        "device_id": report.device_id,
        "window_number": report.window,
        "received_at_s": now_s,
        **{name: getattr(report, name) for name in ("window_s", "epsilon", "hash_number", "bits")},
    }
    same = (CountRow.device_id == report.device_id, CountRow.window_number == report.window)
    with database_errors_named(), Session(engine) as session, session.begin():
        # Two requests at once: the unique constraint refuses the later, whose device asks again and finds the first.
        if session.scalar(select(CountRow.id).where(*same, CountRow.window_s == report.window_s)) is not None:
            return False
        session.execute(insert(CountRow).values(values))
    return True


def sum_reports(engine: Engine, *, from_s: float = 0.0, until_s: float = float("inf")) -> CountSums:
    """Add up the reports of windows that began in a span of time.

    Raises:
        StorageError: the database cannot be read.
    """
    sums, last = CountSums(), 0
    while True:
        with database_errors_named(), Session(reading(engine)) as session:
            query = select(CountRow).where(CountRow.id > last, CountRow.epsilon > 0).order_by(CountRow.id)
            page = list(session.scalars(query.limit(_PAGE_ROWS)))
        for row in page:
            if from_s <= row.window_number * row.window_s < until_s:
                sums.add(row.hash_number, row.epsilon, row.bits)
        if len(page) < _PAGE_ROWS:
            return sums
        last = page[-1].id
