"""What workers remember together: rates of requests and answers to hot queries; in Redis, or each worker by itself.

Both may be forgotten at any time without harm. When Redis is away, each worker goes on by its own memory.
"""

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol, cast

import redis
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter

from edge_runtime.contract.errors import ConfigError
from sync_server.errors import RequestError

_LOG = logging.getLogger(__name__)
_REDIS_TIMEOUT_S = 0.5
# So long is Redis left alone after it failed: a request must not wait for it each time.
_REDIS_PAUSE_S = 5.0


def key_of(*parts: str) -> str:
    """Return a key for `parts` that does not show them: queries and addresses stay out of Redis."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


class Cache(Protocol):
    """Keeps bytes for some time."""

    def get(self, key: str) -> bytes | None:
        """Return what is kept under `key`, or None."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Keep `value` under `key`."""
        ...

    def close(self) -> None:
        """End the connections; the cache is not used any more."""
        ...


class MemoryCache:
    """A cache in this process: the `max_items` that were used last, each for `keep_s` seconds; safe between threads."""

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
    """A cache that all workers share; while Redis is away, nothing is found and nothing kept."""

    def __init__(self, client: "redis.Redis", *, keep_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._keep_ms = int(keep_s * 1_000)
        self._clock = clock
        self._asleep_until = 0.0

    def get(self, key: str) -> bytes | None:
        """Return what is kept under `key`, or None."""
        if self._clock() < self._asleep_until:
            return None
        try:
            return cast("bytes | None", self._client.get(f"pocketrec:answer:{key}"))
        except redis.RedisError as error:
            self._rest(error)
            return None

    def put(self, key: str, value: bytes) -> None:
        """Keep `value` under `key`."""
        if self._clock() < self._asleep_until:
            return
        try:
            self._client.set(f"pocketrec:answer:{key}", value, px=self._keep_ms)
        except redis.RedisError as error:
            self._rest(error)

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def _rest(self, error: redis.RedisError) -> None:
        self._asleep_until = self._clock() + _REDIS_PAUSE_S
        _LOG.warning("Redis does not answer (%s); answers are not shared for a while", type(error).__name__)


def open_cache(redis_url: str, *, max_items: int, keep_s: float) -> Cache:
    """Return the cache of hot answers.

    Args:
        redis_url: where workers meet; "" for the memory of this process.
        max_items: how many answers a process keeps; Redis has a limit of its own.
        keep_s: for how long.

    Raises:
        ConfigError: not the URL of a Redis.
    """
    if not redis_url:
        return MemoryCache(max_items=max_items, keep_s=keep_s)
    return RedisCache(redis.Redis.from_pool(_pool(redis_url)), keep_s=keep_s)


class RateLimits:
    """Counts requests by what they do and who asks; over a limit they are refused until the minute is over.

    Args:
        redis_url: where workers count together; "" lets each count for itself.

    Raises:
        ConfigError: not the URL of a Redis.
    """

    def __init__(self, redis_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._pool = _pool(redis_url) if redis_url else None
        self._shared = None
        if self._pool is not None:
            self._shared = FixedWindowRateLimiter(RedisStorage(redis_url, connection_pool=self._pool))
        self._clock = clock
        self._asleep_until = 0.0

    def take(self, action: str, who: str, *, per_minute: int) -> None:
        """Count one request of `who`.

        Raises:
            RequestError: there were more than `per_minute` in this minute; with status 429.
        """
        if not self._is_allowed(RateLimitItemPerMinute(per_minute), action, key_of(who)):
            raise RequestError("too many requests; try again in a minute", status_code=429)

    def _is_allowed(self, limit: RateLimitItemPerMinute, action: str, who: str) -> bool:
        if self._shared is not None and self._clock() >= self._asleep_until:
            try:
                return self._shared.hit(limit, action, who)
            except redis.RedisError as error:
                self._asleep_until = self._clock() + _REDIS_PAUSE_S
                _LOG.warning("Redis does not answer (%s); each worker counts for itself", type(error).__name__)
        return self._own.hit(limit, action, who)

    def close(self) -> None:
        """End the connections."""
        if self._pool is not None:
            self._pool.disconnect()


def _pool(url: str) -> redis.ConnectionPool:
    try:
        return redis.ConnectionPool.from_url(
            url, socket_timeout=_REDIS_TIMEOUT_S, socket_connect_timeout=_REDIS_TIMEOUT_S
        )
    except ValueError as error:
        raise ConfigError("redis_url: expected redis://host:port/0") from error
