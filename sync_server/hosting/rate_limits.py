"""Limits of requests per minute, counted in a Redis that all workers share or by each worker for itself.

While Redis cannot be reached, each worker counts for itself.
"""

import logging
import time
from collections.abc import Callable

import redis
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter

from sync_server.errors import RequestError
from sync_server.hosting.redis_pool import REDIS_PAUSE_S, key_of, redis_pool

_LOG = logging.getLogger(__name__)


class RateLimits:
    """Counts requests by action and client; above a limit they are refused until the minute is over.

    Args:
        redis_url: the Redis in which workers count together; "" lets each count for itself.

    Raises:
        ConfigError: not the URL of a Redis.
    """

    def __init__(self, redis_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._pool = redis_pool(redis_url) if redis_url else None
        self._shared = None
        if self._pool is not None:
            self._shared = FixedWindowRateLimiter(RedisStorage(redis_url, connection_pool=self._pool))
        self._clock = clock
        self._paused_until = 0.0

    def take(self, action: str, who: str, *, per_minute: int) -> None:
        """Count one request of `who`.

        Raises:
            RequestError: there were more than `per_minute` in this minute (status 429).
        """
        if not self._is_allowed(RateLimitItemPerMinute(per_minute), action, key_of(who)):
            raise RequestError("too many requests; try again in a minute", status_code=429)

    def _is_allowed(self, limit: RateLimitItemPerMinute, action: str, who: str) -> bool:
        if self._shared is not None and self._clock() >= self._paused_until:
            try:
                return self._shared.hit(limit, action, who)
            except redis.RedisError as error:
                self._paused_until = self._clock() + REDIS_PAUSE_S
                _LOG.warning("Redis does not answer (%s); each worker counts for itself", type(error).__name__)
        return self._own.hit(limit, action, who)

    def close(self) -> None:
        """End the connections."""
        if self._pool is not None:
            self._pool.disconnect()
