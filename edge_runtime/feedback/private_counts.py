"""Privacy level `counts`: events stay on the device; once a window it sends one noisy row of bits (contract/counts.py).

Which products were clicked, purchased or dismissed in a window is kept in a file of the device. When the window is
over, one of them is picked at random, hashed to a bit, and OpenDP's randomized response adds noise to all bits. The row
is stored before it is sent, and sent again without a change: noise that is drawn twice would average out. A window
without events sends a row as well, so that sending reveals nothing.
"""

import importlib
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import msgspec

from edge_runtime.contract.counts import (
    BITS,
    COUNTED_KINDS,
    HASHES,
    CountReceipt,
    CountReport,
    CountSettings,
    bit_of,
    flip_probability,
)
from edge_runtime.contract.errors import ConfigError, DownloadError, HttpStatusError
from edge_runtime.contract.events import FeedbackEvent, check_event, check_known_kind
from edge_runtime.feedback.event_queue import SendReport
from edge_runtime.feedback.queue_file import QueueFile
from edge_runtime.feedback.server_client import REFUSED, ServerClient, decode_answer

_TOLERANCE = 1e-9  # relative: what rounding alone can make of OpenDP's figure

_TABLES = """
CREATE TABLE IF NOT EXISTS cells (
    window INTEGER NOT NULL, kind TEXT NOT NULL, product_id TEXT NOT NULL, PRIMARY KEY (window, kind, product_id)
);
CREATE TABLE IF NOT EXISTS reports (window INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""

Cell = tuple[str, str]


class Randomizer:
    """Lays the noise of `epsilon` over a row of bits that has at most one true bit.

    Raises:
        ConfigError: OpenDP is not installed, or it gives another privacy loss than `epsilon`.
    """

    def __init__(self, epsilon: float) -> None:
        measurements, domains, metrics = (_opendp(name) for name in ("measurements", "domains", "metrics"))
        _opendp("mod").enable_features("contrib")
        self._measure = measurements.make_randomized_response_bitvec(
            domains.bitvector_domain(max_weight=1), metrics.discrete_distance(), f=2 * flip_probability(epsilon)
        )
        loss = float(self._measure.map(1))
        if abs(loss - epsilon) > _TOLERANCE * max(1.0, epsilon):
            raise ConfigError(f"OpenDP states a privacy loss of {loss}, expected {epsilon}; install another version")

    def __call__(self, bits: bytes) -> bytes:
        """Return `bits` after the noise."""
        return bytes(self._measure(bits))


def _opendp(name: str) -> ModuleType:
    try:
        # By name, so that the other levels neither need nor load it.
        return importlib.import_module(f"opendp.{name}")
    except ImportError as error:
        raise ConfigError(
            "privacy level counts needs the package opendp; install it with: pip install 'pocketrec[counts]', or choose "
            "another level"
        ) from error


def make_report(
    cells: Sequence[Cell], *, device_id: str, window: int, settings: CountSettings, randomize: Callable[[bytes], bytes]
) -> CountReport:
    """Return the report of one window: one of `cells` at random, or none, under noise."""
    hash_number = secrets.randbelow(HASHES)
    bits = bytearray(BITS // 8)
    if cells:
        bit = bit_of(*secrets.choice(cells), hash_number)
        bits[bit // 8] = 1 << (bit % 8)
    return CountReport(
        version=1,
        device_id=device_id,
        window=window,
        window_s=settings.window_s,
        epsilon=settings.epsilon,
        hash_number=hash_number,
        bits=randomize(bytes(bits)),
    )


class CountBook:
    """What is counted on this device, in `path`; nothing in it but reports may leave.

    Args:
        path: the SQLite file; made when missing.
        settings: the privacy loss and the window.
        clock_s: gives seconds since 1970.

    Raises:
        ConfigError: OpenDP is not installed.
        StorageError: the file cannot be made or written.
        FeedbackError: the file is damaged.
    """

    def __init__(self, path: Path, settings: CountSettings, *, clock_s: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock_s = clock_s
        self._randomize = Randomizer(settings.epsilon)
        self._file = QueueFile(path, _TABLES)
        try:
            self._forget_other_windows()
        except BaseException:
            self._file.close()
            raise

    def _forget_other_windows(self) -> None:
        """Remove what was counted in windows of another length: their numbers mean other times."""
        before = self._file.scalar("SELECT value FROM counters WHERE name = 'window_s'")
        if before == self._settings.window_s:
            return
        with self._file.transaction():
            if before:
                self._file.database.execute("DELETE FROM cells")
            values = (self._settings.window_s,)
            self._file.database.execute("INSERT OR REPLACE INTO counters VALUES ('window_s', ?)", values)

    def close(self) -> None:
        """Close the file; what was counted stays."""
        self._file.close()

    @property
    def _window(self) -> int:
        return int(self._clock_s() // self._settings.window_s)

    def record(self, event: FeedbackEvent) -> bool:
        """Count `event` in the running window; False for a kind that is not counted.

        Raises:
            EventRejectedError: the event is malformed, or of an unknown kind.
            StorageError: the disk is full, read-only or not permitted.
        """
        check_event(event)
        check_known_kind(event.kind)
        if event.kind not in COUNTED_KINDS:
            return False
        with self._file.transaction():
            self._file.database.execute(
                "INSERT OR IGNORE INTO cells VALUES (?, ?, ?)", (self._window, event.kind, event.product_id)
            )
        return True

    def close_windows(self, device_id: str) -> None:
        """Make the report of the window that ended last, unless it has one; older windows are forgotten unreported.

        A window gets one report ever: also when the clock is turned back, or this is killed and called again.

        Raises:
            StorageError: the disk is full, read-only or not permitted.
        """
        over, window_s = self._window - 1, self._settings.window_s
        with self._file.transaction():
            cells = self._file.database.execute(
                "SELECT kind, product_id FROM cells WHERE window = ?", (over,)
            ).fetchall()
            self._file.database.execute("DELETE FROM cells WHERE window <= ?", (over,))
            if over * window_s < self._reported_until_s():
                return
            report = make_report(
                cells,
                device_id=device_id,
                window=over,
                settings=self._settings,
                randomize=self._randomize,
            )
            self._file.database.execute("INSERT INTO reports VALUES (?, ?)", (over, msgspec.json.encode(report)))
            ends_s = (over + 1) * window_s
            self._file.database.execute("INSERT OR REPLACE INTO counters VALUES ('reported_until_s', ?)", (ends_s,))

    def _reported_until_s(self) -> int:
        """Return the end of the last window that got a report, in seconds since 1970 by the device's clock."""
        until_s = self._file.scalar("SELECT value FROM counters WHERE name = 'reported_until_s'")
        # Earlier versions counted in windows of the length that they had.
        last_window = self._file.scalar("SELECT value FROM counters WHERE name = 'last_window'")
        return until_s or (last_window + 1) * self._settings.window_s

    def waiting(self) -> list[tuple[int, bytes]]:
        """Return the windows whose reports wait, with the bytes that will be sent."""
        with self._file.errors_named():
            return list(self._file.database.execute("SELECT window, body FROM reports ORDER BY window"))

    def acknowledge(self, window: int) -> None:
        """Remove the report of `window`: the server has it, or never will take it."""
        with self._file.transaction():
            self._file.database.execute("DELETE FROM reports WHERE window = ?", (window,))

    def forget(self) -> int:
        """Remove all that was counted and every unsent report; return how many products and kinds were counted."""
        with self._file.transaction():
            removed = self._file.database.execute("DELETE FROM cells").rowcount
            self._file.database.execute("DELETE FROM reports")
        self._file.overwrite_log()
        return removed


def send_counts(book: CountBook, server: ServerClient) -> SendReport:
    """Close what windows are over and send the reports that wait; a report that the server refuses is not kept.

    Raises:
        DownloadError: the network, or a receipt that cannot be true; the reports wait for the next call.
        StorageError: the disk is full, read-only or not permitted.
    """
    book.close_windows(server.device_id)
    sent, refused = 0, list[str]()
    for window, body in book.waiting():
        try:
            data = server.request("POST", "/v1/counts", what="receipt", body=body)
        except HttpStatusError as error:
            if error.status_code not in REFUSED:
                raise
            book.acknowledge(window)
            refused.append(str(error))
            continue
        receipt = decode_answer(data, CountReceipt, what="receipt", remedy="the report was kept")
        if receipt.window != window:
            raise DownloadError("the server acknowledged another window than the one sent; the report was kept")
        book.acknowledge(window)
        if receipt.refused is None:
            sent += 1
        else:
            refused.append(receipt.refused)
    return SendReport(sent=sent, refused=refused)
