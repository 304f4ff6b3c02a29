"""The sync loop of a device: requests are spread evenly over the fleet, and back off when the server has a problem."""

import logging
import random
import threading
from collections.abc import Callable

from edge_runtime.contract.errors import HttpStatusError, PocketrecError
from edge_runtime.node import SyncReport

_LOG = logging.getLogger(__name__)
# "Equal jitter" of Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015): half of the wait is random.
_LEAST_OF_RETRY = 0.5
_JITTER = 0.1  # a fleet that was started together is spread over a whole interval after some ten of them
_FIRST_RETRY_S = 5.0  # a server that restarts is back by then
_LONGEST_RETRY_S = 3_600.0  # a server that was down for days is found again within the hour


def next_delay_s(interval_s: float, failures: int, chance: random.Random, *, retry_after_s: float = 0.0) -> float:
    """Return how long to wait before the next sync.

    After a success: the interval, up to 10% more or less, so that a fleet started together drifts apart. After
    `failures` failures in a row: between half and all of a time that doubles from 5 s up to the interval (an hour
    at most). Never before the server's Retry-After of `retry_after_s` seconds has passed, and up to 10% later, so that the
    fleet does not come back as one.
    """
    if failures == 0:
        return interval_s * chance.uniform(1 - _JITTER, 1 + _JITTER)
    longest = min(interval_s, _LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(failures - 1, 20))
    return max(longest * chance.uniform(_LEAST_OF_RETRY, 1.0), retry_after_s * chance.uniform(1.0, 1 + _JITTER))


def _wish_of_server_s(error: BaseException) -> float:
    """Return the Retry-After of a refusal, which may be the cause of another error."""
    cause = error if isinstance(error, HttpStatusError) else error.__cause__
    return cause.retry_after_s if isinstance(cause, HttpStatusError) else 0.0


def run_loop(
    sync: Callable[[], SyncReport],
    *,
    interval_s: float,
    stop: threading.Event,
    report: Callable[[SyncReport], None],
    chance: random.Random,
) -> None:
    """Call `sync` again and again until `stop` is set; its failures are logged and retried, never raised.

    Args:
        sync: one sync, such as `EdgeNode.sync`.
        interval_s: seconds between two successful syncs.
        stop: ends the loop, at once while it waits, else after the running sync.
        report: called with the result of every successful sync.
        chance: the source of the jitter.
    """
    failures = 0
    retry_after_s = 0.0
    while not stop.is_set():
        try:
            report(sync())
            failures, retry_after_s = 0, 0.0
        except PocketrecError as error:
            failures += 1
            retry_after_s = _wish_of_server_s(error)
            _LOG.warning("sync failed (%d in a row): %s", failures, error)
        stop.wait(next_delay_s(interval_s, failures, chance, retry_after_s=retry_after_s))
