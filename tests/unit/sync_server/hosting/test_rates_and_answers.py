"""Rates and hot answers: in one process, in a real Redis, and while Redis is away."""

import contextlib

import pytest
import redis

from benchmarks.fleet.local_servers import LocalRedis
from edge_runtime.contract.errors import ConfigError
from sync_server.errors import RequestError
from sync_server.hosting.answer_cache import MemoryCache, RedisCache, open_cache
from sync_server.hosting.rate_limits import RateLimits


@pytest.fixture(scope="module")
def redis_server():
    server = LocalRedis()
    yield server
    server.stop()


def flush(server):
    with redis.Redis.from_url(server.url) as client:
        client.flushall()


@pytest.fixture
def opened():
    """Closes at the end whatever was made through it."""
    with contextlib.ExitStack() as stack:
        yield lambda thing: stack.enter_context(contextlib.closing(thing))


@pytest.fixture(params=["memory", "redis"])
def redis_url(request):
    if request.param == "memory":
        return ""
    server = request.getfixturevalue("redis_server")
    flush(server)
    return server.url


def test_answer_is_found_again(redis_url, opened):
    cache = opened(open_cache(redis_url, max_items=10, keep_s=60))
    assert cache.get("key") is None
    cache.put("key", b"answer")
    assert cache.get("key") == b"answer"


def test_answers_in_redis_are_shared_and_end(redis_server, opened):
    redis_client = opened(redis.Redis.from_url(redis_server.url))
    redis_client.flushall()
    opened(open_cache(redis_server.url, max_items=10, keep_s=60)).put("key", b"answer")
    assert opened(open_cache(redis_server.url, max_items=10, keep_s=60)).get("key") == b"answer"
    assert 0 < redis_client.pttl("pocketrec:answer:key") <= 60_000


def test_memory_keeps_what_was_used_last_and_for_its_time():
    now = [0.0]
    cache = MemoryCache(max_items=2, keep_s=10, clock=lambda: now[0])
    cache.put("a", b"1")
    cache.put("b", b"2")
    assert cache.get("a") == b"1"
    cache.put("c", b"3")
    assert [cache.get(key) for key in "abc"] == [b"1", None, b"3"]
    now[0] = 11
    assert cache.get("a") is None


def test_request_over_the_limit_is_refused_with_429_and_others_are_not(redis_url, opened):
    limits = opened(RateLimits(redis_url))
    for _ in range(3):
        limits.take("enroll", "10.0.0.1", per_minute=3)
    with pytest.raises(RequestError) as refused:
        limits.take("enroll", "10.0.0.1", per_minute=3)
    assert refused.value.status_code == 429
    limits.take("enroll", "10.0.0.2", per_minute=3)
    limits.take("login", "10.0.0.1", per_minute=3)


def test_workers_count_together_in_redis_and_it_knows_no_address(redis_server, opened):
    client = opened(redis.Redis.from_url(redis_server.url))
    client.flushall()
    opened(RateLimits(redis_server.url)).take("enroll", "10.0.0.1", per_minute=1)
    with pytest.raises(RequestError):
        opened(RateLimits(redis_server.url)).take("enroll", "10.0.0.1", per_minute=1)
    assert client.dbsize() and b"10.0.0.1" not in b" ".join(client.scan_iter())


def test_redis_that_is_away_costs_sharing_only(caplog, opened):
    server = LocalRedis()
    now = [0.0]
    cache = opened(RedisCache(redis.Redis.from_url(server.url, socket_timeout=0.5), keep_s=60, clock=lambda: now[0]))
    limits = opened(RateLimits(server.url, clock=lambda: now[0]))
    server.kill()
    cache.put("key", b"answer")
    assert cache.get("key") is None
    limits.take("enroll", "a", per_minute=1)
    with pytest.raises(RequestError):
        limits.take("enroll", "a", per_minute=1)
    assert "does not answer" in caplog.text
    server.start()
    cache.put("key", b"answer")
    assert cache.get("key") is None
    now[0] = 10.0
    cache.put("key", b"answer")
    assert cache.get("key") == b"answer"
    server.stop()


def test_url_that_is_no_redis_is_named():
    for make in (RateLimits, lambda url: open_cache(url, max_items=1, keep_s=1)):
        with pytest.raises(ConfigError, match="redis_url"):
            make("http://somewhere")
