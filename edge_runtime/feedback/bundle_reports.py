"""Reports of a device about its bundles, kept in a file until the server has confirmed them."""

import logging
from pathlib import Path

import msgspec

from edge_runtime.contract.atomic_files import write_json_atomically
from edge_runtime.contract.errors import DownloadError
from edge_runtime.contract.reports import MAX_REPORTS, DeviceReport, ReportBatch, ReportReceipt
from edge_runtime.feedback.server_client import ServerClient, decode_answer

_LOG = logging.getLogger(__name__)


class _Waiting(msgspec.Struct, frozen=True):
    last_number: int = 0
    reports: list[DeviceReport] = []


class ReportLog:
    """The reports that wait in the file at `path`: at most `MAX_REPORTS`, the oldest make room."""

    def __init__(self, path: Path) -> None:
        self._path = path

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
        """Send what waits in one request, if anything does; return how many reports.

        Stopped halfway, they are sent again; the server counts each once.

        Raises:
            DownloadError: the network, or a receipt that cannot be true; the reports are kept.
            StorageError: the disk is full, read-only or not permitted.
        """
        reports = self.waiting()
        if not reports:
            return 0
        body = msgspec.json.encode(ReportBatch(version=1, device_id=server.device_id, reports=reports))
        data = server.request("POST", "/v1/reports", what="receipt", body=body)
        receipt = decode_answer(data, ReportReceipt, what="receipt", remedy="the reports were kept")
        if receipt.acknowledged != reports[-1].number:
            raise DownloadError("the server acknowledged other reports than were sent; they were kept")
        write_json_atomically(self._path, _Waiting(self._read().last_number, []))
        return len(reports)

    def _read(self) -> _Waiting:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Waiting)
        except FileNotFoundError:
            return _Waiting()
        except (OSError, msgspec.MsgspecError) as error:
            _LOG.warning("the reports in %s cannot be read and are given up: %s", self._path, error)
            return _Waiting()
