"""How far one device can shift an estimate of private counts by reports that it forges."""

import time
from collections.abc import Iterator

import msgspec
import urllib3

from benchmarks.fleet.faults.table import Row
from benchmarks.fleet.server_process import Credentials, ServerProcess
from edge_runtime.contract.counts import BITS, CountReceipt, CountReport, CountSettings, bit_of, flip_probability
from sync_server.database.engine import open_database
from sync_server.events.private_counts import CountSums, sum_reports

_PRODUCT, _KIND = "forged", "click"


def measure_forged_counts(*, windows: int) -> list[Row]:
    """Return the shift by reports of the last and next `windows` windows, under several policies, twice."""
    server = ServerProcess(settings=["counts_per_minute = 1_000_000"])
    try:
        device = server.enroll(1)[0]
        sent = [report for _ in range(2) for report in _forged(device, windows)]
        taken = sum(_is_taken(server, device, report) for report in sent)
        sums = _sums(server)
    finally:
        server.stop()
    # An honest report's bit is changed by the noise by so much, from one report to the next.
    noise = BITS / (BITS - 1) / (1 - 2 * flip_probability(CountSettings().epsilon))
    shift = sums.estimate([_PRODUCT], _KIND)[0].count / noise
    return [
        Row(
            "forged count reports of one device: shift of an estimate, in units of one report's noise, a window",
            "≤ 1",
            f"{shift / max(taken, 1):.2f} ({taken} windows taken of {len(sent)} reports)",
            met=0 < taken == sums.reports and shift <= taken,
        )
    ]


def _forged(device: Credentials, windows: int) -> Iterator[CountReport]:
    """Give reports whose one true bit, without noise, is that of the product."""
    bits = bytearray(BITS // 8)
    bit = bit_of(_KIND, _PRODUCT, 0)
    bits[bit // 8] = 1 << (bit % 8)
    usual = CountSettings()
    for policy in (
        usual,
        CountSettings(1e-3, usual.window_s),
        CountSettings(1e-17, usual.window_s),
        CountSettings(2.0, 60),
    ):
        running = int(time.time() // policy.window_s)
        for window in range(running - windows, running + windows):
            yield CountReport(
                version=1,
                device_id=device.device_id,
                window=window,
                window_s=policy.window_s,
                epsilon=policy.epsilon,
                hash_number=0,
                bits=bytes(bits),
            )


def _is_taken(server: ServerProcess, device: Credentials, report: CountReport) -> bool:
    answer = urllib3.request(
        "POST",
        f"{server.url}/v1/counts",
        headers={"Authorization": f"Bearer {device.credential}", "Content-Type": "application/json"},
        body=msgspec.json.encode(report),
        retries=False,
    )
    if answer.status != 200:
        return False
    receipt = msgspec.json.decode(answer.data, type=CountReceipt)
    return receipt.refused is None and not receipt.duplicate


def _sums(server: ServerProcess) -> CountSums:
    engine = open_database(server.config.database)
    sums = sum_reports(engine, server.config.counts)
    engine.dispose()
    return sums
