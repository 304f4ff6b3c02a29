"""Connections to Redis: the time limit of a request, and the pause after a failure."""

import hashlib

import redis

from edge_runtime.contract.errors import ConfigError

# A request waits for Redis at most this long: each worker can go on by its own memory.
_TIMEOUT_S = 0.5
REDIS_PAUSE_S = 5.0
"""A worker leaves Redis alone for this long after a failure, so that not every request waits for the timeout."""


def key_of(*parts: str) -> str:
    """Return a key for `parts` that does not show them: queries and addresses stay out of Redis."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def redis_pool(url: str) -> redis.ConnectionPool:
    """Return connections to the Redis at `url` that give up soon.

    Raises:
        ConfigError: not the URL of a Redis.
    """
    try:
        return redis.ConnectionPool.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)
    except ValueError as error:
        raise ConfigError("redis_url: expected redis://host:port/0") from error
