"""Reports of a device about its bundles, kept in a file until the server has confirmed them."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_runtime.contract.atomic_files import write_json_atomically
from edge_runtime.contract.errors import DownloadError, EventRejectedError, HttpStatusError
from edge_runtime.contract.reports import MAX_REPORTS, DeviceReport, ReportBatch, ReportReceipt, check_report
from edge_runtime.feedback.queue_file import given_before
from edge_runtime.feedback.server_client import REFUSED, ServerClient, decode_answer

_LOG = logging.getLogger(__name__)


class _Waiting(msgspec.Struct, frozen=True):
    last_number: int = 0
    reports: list[DeviceReport] = []


class ReportLog:
    """The reports that wait in the file at `path`: at most `MAX_REPORTS`, the oldest make room.

    A file that is missing or damaged is begun anew, above every number that a lost one gave.
    """

    def __init__(self, path: Path, *, clock_s: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock_s = clock_s

    def add(self, report: DeviceReport) -> DeviceReport:
        """Keep `report` under the next number; return it with that number.

        Raises:
            StorageError: the disk is full, read-only or not permitted.
        """
        waiting = self._read()
        numbered = msgspec.structs.replace(report, number=waiting.last_number + 1)
        write_json_atomically(self._path, _Waiting(numbered.number, [*waiting.reports, numbered][-MAX_REPORTS:]))
        return numbered

    def waiting(self) -> list[DeviceReport]:
        """Return what waits, oldest first."""
        return self._read().reports

    def send(self, server: ServerClient) -> int:
        """Send what waits in one request, if anything does; return how many reports the server has stored.

        When the server refuses the request, each report is sent by itself, and only those that it refuses again are
        given up. Stopped halfway, some are sent again; the server counts each once.

        Raises:
            DownloadError: the network, or a receipt that cannot be true; the reports are kept.
            StorageError: the disk is full, read-only or not permitted.
        """
        reports = self.waiting()
        if not reports:
            return 0
        try:
            return self._send_batch(reports, server)
        except HttpStatusError as error:
            if error.status_code not in REFUSED:
                raise
        return sum(self._send_alone(report, server) for report in reports)

    def _send_alone(self, report: DeviceReport, server: ServerClient) -> int:
        try:
            return self._send_batch([report], server)
        except HttpStatusError as error:
            if error.status_code not in REFUSED:
                raise
            _LOG.warning("report %d (%s) is given up, the server refuses it: %s", report.number, report.kind, error)
            self._remove([report])
        return 0

    def _send_batch(self, reports: list[DeviceReport], server: ServerClient) -> int:
        body = msgspec.json.encode(ReportBatch(version=1, device_id=server.device_id, reports=reports))
        data = server.request("POST", "/v1/reports", what="receipt", body=body)
        receipt = decode_answer(data, ReportReceipt, what="receipt", remedy="the reports were kept")
        if receipt.acknowledged != reports[-1].number:
            raise DownloadError("the server acknowledged other reports than were sent; they were kept")
        self._remove(reports)
        return len(reports)

    def _remove(self, reports: list[DeviceReport]) -> None:
        """Remove `reports`, and none that was added meanwhile."""
        now, gone = self._read(), {report.number for report in reports}
        rest = [report for report in now.reports if report.number not in gone]
        write_json_atomically(self._path, _Waiting(now.last_number, rest))

    def _read(self) -> _Waiting:
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=_Waiting)
        except FileNotFoundError:
            return _Waiting(given_before(self._clock_s()))
        except (OSError, msgspec.MsgspecError) as error:
            _LOG.warning("the reports in %s cannot be read and are given up: %s", self._path, error)
            return _Waiting(given_before(self._clock_s()))
        return _Waiting(found.last_number, [report for report in found.reports if _is_sound(report)])


def _is_sound(report: DeviceReport) -> bool:
    """Tell whether a server may take `report`: an older version kept names of any length in them."""
    try:
        check_report(report)
    except EventRejectedError as error:
        _LOG.warning("report %d (%s) is given up: %s", report.number, report.kind, error)
        return False
    return True
