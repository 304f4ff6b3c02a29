"""Answers under a deadline: which levels a search has, and which of them it has time for.

Each level is better and slower than the one before: the most popular products, the vector index's candidates for the
query, the same in exact order, and that order combined with full-text search. A level starts only when its recent cost
fits into the time that is left.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from edge_runtime.contract.errors import ConfigError

STATIC, ENCODER, RESCORED, HYBRID, LEXICAL = "static", "encoder", "rescored", "hybrid", "lexical"
LEVELS = (STATIC, ENCODER, RESCORED, HYBRID)
"""From the fastest. A lexical search has the levels `static` and `lexical`, a dense one all but `hybrid`."""

_FORGETTING = 0.9
"""A level's expected cost falls by this factor when a smaller cost is measured, and when the level is skipped."""


class Deadline:
    """The moment by which one answer has to be there."""

    def __init__(self, milliseconds: float | None, clock: Callable[[], float]) -> None:
        """Start the clock; None sets no limit.

        Raises:
            ConfigError: not a number of at least 0.
        """
        if milliseconds is not None and (
            isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float) or not milliseconds >= 0
        ):
            raise ConfigError(f"deadline_ms must be a number of at least 0, found {milliseconds!r}")
        self._clock = clock
        self._end = None if milliseconds is None else clock() + milliseconds / 1e3

    def leaves(self, seconds: float) -> bool:
        """Return whether so much time is left."""
        return self._end is None or self._clock() + seconds <= self._end


class LevelCosts:
    """What each level cost lately on this device; may be used from any thread."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """`clock`: seconds that only grow."""
        self.clock = clock
        self._lock = threading.Lock()
        self._expected_s: dict[str, float] = {}

    def fits(self, level: str, deadline: Deadline) -> bool:
        """Return whether the level can be expected to end in time; a level that was never run is tried."""
        if deadline.leaves(self._expected_s.get(level, 0.0)):
            return True
        with self._lock:
            self._expected_s[level] = self._expected_s.get(level, 0.0) * _FORGETTING
        return False

    @contextlib.contextmanager
    def measured(self, level: str) -> Iterator[None]:
        """Remember what the block costs as the cost of `level`."""
        started = self.clock()
        yield
        elapsed = self.clock() - started
        with self._lock:
            self._expected_s[level] = max(elapsed, self._expected_s.get(level, 0.0) * _FORGETTING)
