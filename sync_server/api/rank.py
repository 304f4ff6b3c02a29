"""Ranking for thin clients, which have no bundle; frequent requests are answered from the cache."""

import msgspec
from flask import Blueprint, Response

from edge_runtime.contract.events import MAX_ID_CHARS, MAX_QUERY_CHARS
from sync_server.api.auth import require_device
from sync_server.api.request_body import decode_body
from sync_server.errors import RequestError
from sync_server.hosting.redis_pool import key_of
from sync_server.services import services

blueprint = Blueprint("rank", __name__, url_prefix="/v1")

# More than a page shows, and more history than the models use.
MAX_PRODUCTS, MAX_HISTORY = 100, 100
_MAX_REQUEST_BYTES = 65_536


class RankRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query, or a history of products (newest last) when there is no query."""

    query: str | None = None
    history: list[str] = []
    k: int = 10


@blueprint.post("/rank")
def rank() -> Response:
    """Rank the catalogue for a device that has no bundle."""
    here = services()
    device_id = require_device()
    here.rates.take("rank", device_id, per_minute=here.config.rank_per_minute)
    if here.ranker is None:
        raise RequestError("this server does not rank; its setting rank_backend is empty", status_code=404)
    wanted = decode_body(RankRequest, max_bytes=_MAX_REQUEST_BYTES)
    _check(wanted)
    key = key_of(here.ranker.name, str(wanted.k), wanted.query or "", *wanted.history)
    body = here.answers.get(key)
    here.metrics.count_ranking(from_cache=body is not None)
    if body is None:
        by_query = here.ranker.search(wanted.query, wanted.k) if wanted.query else None
        body = msgspec.json.encode(by_query or here.ranker.recommend(wanted.history, wanted.k))
        here.answers.put(key, body)
    return Response(body, content_type="application/json")


def _check(wanted: RankRequest) -> None:
    if not 1 <= wanted.k <= MAX_PRODUCTS:
        raise RequestError(f"k: expected 1 to {MAX_PRODUCTS}, got {wanted.k}", status_code=400)
    if wanted.query is not None and len(wanted.query) > MAX_QUERY_CHARS:
        raise RequestError(f"query: expected at most {MAX_QUERY_CHARS} characters", status_code=400)
    if len(wanted.history) > MAX_HISTORY or any(len(name) > MAX_ID_CHARS for name in wanted.history):
        raise RequestError(
            f"history: expected at most {MAX_HISTORY} products of at most {MAX_ID_CHARS} characters", status_code=400
        )
    if wanted.query and wanted.history:
        raise RequestError("expected a query or a history, got both", status_code=400)
