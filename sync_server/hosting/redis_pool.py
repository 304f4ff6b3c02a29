"""Connections to Redis, in which workers share data that they may lose, and how long they wait for it."""

import hashlib

import redis

from edge_runtime.contract.errors import ConfigError

# A request waits for Redis at most this long; after that the worker uses its own memory.
_TIMEOUT_S = 0.5
REDIS_PAUSE_S = 5.0
"""After a failure a worker does not use Redis for this time, so that not every request waits for the timeout."""


def key_of(*parts: str) -> str:
    """Return a digest of `parts` as key, so that queries and addresses are not in Redis."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def redis_pool(url: str) -> redis.ConnectionPool:
    """Return a pool of connections to the Redis at `url`, with short timeouts.

    Raises:
        ConfigError: not the URL of a Redis.
    """
    try:
        return redis.ConnectionPool.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)
    except ValueError as error:
        raise ConfigError("redis_url: expected redis://host:port/0") from error
