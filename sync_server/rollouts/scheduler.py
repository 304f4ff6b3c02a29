"""The rollout scheduler: a thread of each worker that judges the rollouts that are due."""

import logging
import threading

from sync_server.rollouts.offers import Offers
from sync_server.rollouts.service import Rollouts

_LOG = logging.getLogger(__name__)
# Rollouts are due once a minute, so a rollout is judged at most 15 s late.
LOOKS_EVERY_S = 15.0


def run_scheduler(stop: threading.Event, rollouts: Rollouts, offers: Offers, *, every_s: float = LOOKS_EVERY_S) -> None:
    """Judge the rollouts that are due, again and again until `stop` is set; failures are logged and tried again.

    Args:
        stop: ends the loop.
        rollouts: of this worker; those of other workers and machines may look at the same time.
        offers: dropped from the cache when a rollout was judged.
        every_s: seconds between two looks.
    """
    while not stop.wait(every_s):
        try:
            if rollouts.tick():
                offers.forget()
        except Exception:  # noqa: BLE001  (logged with its stack)
            # Without this thread no rollout halts by itself any more, so nothing may end it.
            _LOG.exception("the rollouts were not judged; they are looked at again in %g s", every_s)


def start_scheduler(rollouts: Rollouts, offers: Offers) -> threading.Event:
    """Start the thread; it ends with the process, or when the event that is returned is set."""
    stop = threading.Event()
    threading.Thread(target=run_scheduler, args=(stop, rollouts, offers), name="rollout-scheduler", daemon=True).start()
    return stop
