"""A cache of answers to frequent requests, in a Redis that all workers share or in the memory of each worker.

The cache may be emptied at any time without harm. While Redis cannot be reached, it finds nothing and stores nothing.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import cast

import redis

from sync_server.hosting.redis_pool import REDIS_PAUSE_S, redis_pool

_LOG = logging.getLogger(__name__)


class MemoryCache:
    """A cache in this process: the last `max_items` used, each for `keep_s` seconds; several threads may use it."""

    def __init__(self, *, max_items: int, keep_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_items = max_items
        self._keep_s = keep_s
        self._clock = clock
        self._items: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """Return what is kept under `key`, or None."""
        with self._lock:
            found = self._items.get(key)
            if found is None:
                return None
            if found[0] < self._clock():
                del self._items[key]
                return None
            self._items.move_to_end(key)
            return found[1]

    def put(self, key: str, value: bytes) -> None:
        """Keep `value` under `key`."""
        with self._lock:
            self._items[key] = (self._clock() + self._keep_s, value)
            self._items.move_to_end(key)
            while len(self._items) > self._max_items:
                self._items.popitem(last=False)

    def close(self) -> None:
        """Forget everything."""
        self._items.clear()


class RedisCache:
    """A cache that all workers share."""

    def __init__(self, client: "redis.Redis", *, keep_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._keep_ms = int(keep_s * 1_000)
        self._clock = clock
        self._paused_until = 0.0

    def get(self, key: str) -> bytes | None:
        """Return what is kept under `key`, or None."""
        if self._clock() < self._paused_until:
            return None
        try:
            return cast("bytes | None", self._client.get(f"pocketrec:answer:{key}"))
        except redis.RedisError as error:
            self._pause(error)
            return None

    def put(self, key: str, value: bytes) -> None:
        """Keep `value` under `key`."""
        if self._clock() < self._paused_until:
            return
        try:
            self._client.set(f"pocketrec:answer:{key}", value, px=self._keep_ms)
        except redis.RedisError as error:
            self._pause(error)

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def _pause(self, error: redis.RedisError) -> None:
        self._paused_until = self._clock() + REDIS_PAUSE_S
        _LOG.warning("Redis does not answer (%s); answers are not shared for a while", type(error).__name__)


Cache = MemoryCache | RedisCache


def open_cache(redis_url: str, *, max_items: int, keep_s: float) -> Cache:
    """Return the cache of answers.

    Args:
        redis_url: the Redis that workers share; "" for the memory of this process.
        max_items: how many answers a process stores; Redis has a limit of its own.
        keep_s: how long an answer is stored.

    Raises:
        ConfigError: not the URL of a Redis.
    """
    if not redis_url:
        return MemoryCache(max_items=max_items, keep_s=keep_s)
    return RedisCache(redis.Redis.from_pool(redis_pool(redis_url)), keep_s=keep_s)
