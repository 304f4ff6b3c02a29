"""How far one device can fill the server's disk by bodies that pack well, until its daily quota answers 429."""

from collections.abc import Iterator

import msgspec
import urllib3
import zstandard
from sqlalchemy import text

from benchmarks.fleet.faults.table import Row
from benchmarks.fleet.server_process import Credentials, ServerProcess
from edge_runtime.contract.errors import PocketrecError
from edge_runtime.contract.events import COMPRESSED_ENCODING, FeedbackBatch, FeedbackEvent, SequencedEvent
from sync_server.database.engine import open_database, reading

_QUERY = "a" * 1_900
_EVENTS = 450
"""With such a query each, a body is somewhat shorter than the 1 MB that the server takes."""
_GROWTH_OF_QUOTA = 1.5


class QuotaError(PocketrecError):
    """The server gave another answer than 200 and 429."""


def measure_packed_bodies(*, quota_bytes: int) -> list[Row]:
    """Return how the database grows, in all and for each byte received, while one device sends equal texts."""
    server = ServerProcess(settings=[f"feedback_bytes_per_day = {quota_bytes}", "feedback_events_per_day = 20_000"])
    try:
        device = server.enroll(1)[0]
        before = _database_bytes(server)
        received = unpacked = 0
        for plain in _bodies(device):
            body = zstandard.ZstdCompressor(level=19).compress(plain)
            if not _is_taken(server, device, body):
                break
            received += len(body)
            unpacked += len(plain)
        grown = _database_bytes(server) - before
    finally:
        server.stop()
    bound = _GROWTH_OF_QUOTA * quota_bytes
    return [
        Row(
            f"database growth by equal texts of one device in a day (quota {quota_bytes / 1e6:g} MB unpacked)",
            f"≤ {bound / 1e6:g} MB",
            f"{grown / 1e6:.1f} MB, {grown / max(received, 1):,.0f} bytes for each of {received:,} received",
            met=0 < unpacked <= quota_bytes and grown <= bound,
        )
    ]


def _bodies(device: Credentials) -> Iterator[bytes]:
    first = 1
    while True:
        event = FeedbackEvent(kind="impression", product_id="p", timestamp_s=1.79e9, bundle_id="b", query=_QUERY)
        items = [SequencedEvent(number, event) for number in range(first, first + _EVENTS)]
        yield msgspec.json.encode(FeedbackBatch(version=1, device_id=device.device_id, events=items))
        first += _EVENTS


def _is_taken(server: ServerProcess, device: Credentials, body: bytes) -> bool:
    headers = {
        "Authorization": f"Bearer {device.credential}",
        "Content-Type": "application/json",
        "Content-Encoding": COMPRESSED_ENCODING,
    }
    answer = urllib3.request("POST", f"{server.url}/v1/feedback", headers=headers, body=body, retries=False)
    if answer.status not in (200, 429):
        raise QuotaError(f"expected status 200 or 429, got {answer.status}: {answer.data[:200]!r}")
    return answer.status == 200


def _database_bytes(server: ServerProcess) -> int:
    engine = open_database(server.config.database)
    with reading(engine).connect() as connection:
        pages, size = (connection.scalar(text(f"PRAGMA {name}")) or 0 for name in ("page_count", "page_size"))
    engine.dispose()
    return int(pages) * int(size)
