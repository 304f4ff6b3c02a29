"""The Flask application: blueprints, error responses, security headers, one log line for each request."""

import hmac
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from flask import Flask, Response, g, request
from gunicorn.http.errors import ChunkMissingTerminator, InvalidChunkSize, NoMoreData, ParseException
from werkzeug.exceptions import HTTPException

from edge_runtime.contract.errors import BundleError, InferenceError, PocketrecError, SignatureError, StorageError
from sync_server.api import (
    counts,
    devices,
    experiments,
    feedback,
    openapi,
    publishing,
    rank,
    rollouts,
    storefront,
    updates,
)
from sync_server.api.answers import JsonAnswer, json_answer
from sync_server.api.auth import bearer
from sync_server.api.freshness import FreshAnswers
from sync_server.config import ServerConfig
from sync_server.console.setup import add_console
from sync_server.errors import PublicationConflictError, PublicationError, RequestError
from sync_server.hosting.readiness import check_ready
from sync_server.metrics import CONTENT_TYPE
from sync_server.services import EXTENSION, Services, open_services, services

_LOG = logging.getLogger(__name__)
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# A disk that cannot be used needs an operator, so clients wait a while.
_RETRY_AFTER_S = "30"


def create_app(config: ServerConfig, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Flask:
    """Make the application of one worker for a prepared home (hosting/home.py).

    Args:
        config: the settings.
        clock: gives the time (UTC).

    Raises:
        ConfigError: the home was not prepared.
        StorageError: the disk is full, read-only or not permitted.
    """
    app = Flask(__name__, static_folder=None)
    app.extensions[EXTENSION] = open_services(config, clock)
    # The limit of routes that set none of their own: no body of theirs is as long.
    app.config["MAX_CONTENT_LENGTH"] = 4_096
    for routes in (updates, publishing, devices, feedback, counts, storefront, rollouts, experiments, rank, openapi):
        app.register_blueprint(routes.blueprint)
    add_console(app, config)
    app.add_url_rule("/healthz", view_func=_healthz)
    app.add_url_rule("/metrics", view_func=_metrics)
    app.add_url_rule("/readyz", view_func=_readyz)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(PocketrecError, _our_error)
    for kind in (ParseException, InvalidChunkSize, ChunkMissingTerminator, NoMoreData):
        app.register_error_handler(kind, _malformed_body)
    app.register_error_handler(Exception, _unforeseen_error)
    app.before_request(_start_watch)
    app.after_request(_finish)
    opened: Services = app.extensions[EXTENSION]
    fresh = FreshAnswers(
        app.wsgi_app,
        repository=opened.repository,
        offers=opened.offers,
        clock=clock,
        on_unchanged=opened.metrics.count_unchanged,
    )
    app.wsgi_app = fresh  # type: ignore[method-assign]
    return app


def _metrics() -> JsonAnswer:
    """Show the metrics to Prometheus."""
    wanted = services().config.metrics_token
    if wanted and not hmac.compare_digest(bearer().encode(), wanted.encode()):
        raise RequestError("this is not the token of the metrics", status_code=403)
    return services().metrics.render(), 200, {"Content-Type": CONTENT_TYPE}


def _healthz() -> JsonAnswer:
    """Say that the process runs."""
    return json_answer({"status": "up"})


def _readyz() -> JsonAnswer:
    """Say whether database, repository, online keys and disk can be used."""
    here = services()
    version = check_ready(here.config.home, here.enrollment, here.repository)
    return json_answer({"status": "ready", "targets_version": version})


def _http_error(error: HTTPException) -> JsonAnswer:
    return json_answer({"error": error.description or error.name}, error.code or 500)


def _our_error(error: PocketrecError) -> JsonAnswer:
    match error:
        case RequestError():
            body, status, headers = json_answer({"error": str(error)}, error.status_code)
            return body, status, {**headers, "Retry-After": str(error.retry_after_s)} if status == 429 else headers
        case PublicationConflictError():
            return json_answer({"error": str(error)}, 409)
        case PublicationError() | SignatureError():
            return json_answer({"error": str(error)}, 422)
        case StorageError():
            # The message names paths of this machine: it goes to the log, not to the client.
            _LOG.error("%s", error)
            body, status, headers = json_answer({"error": "the server cannot use its disk; try again later"}, 503)
            return body, status, {**headers, "Retry-After": _RETRY_AFTER_S}
        case InferenceError() | BundleError():
            _LOG.error("%s", error)
            return json_answer({"error": "the server cannot rank now; try again later"}, 503)
    return json_answer({"error": str(error)}, 400)


def _malformed_body(_: Exception) -> JsonAnswer:
    # gunicorn reads chunks while a route reads the body, so a malformed one is found only then.
    return json_answer({"error": "the body is malformed or ended early; nothing was stored"}, 400)


def _unforeseen_error(error: Exception) -> JsonAnswer:
    _LOG.error("unexpected error", exc_info=error)
    return json_answer({"error": "the server met an unexpected error; its log says more"}, 500)


def _start_watch() -> None:
    g.started_s = time.perf_counter()


def _finish(answer: Response) -> Response:
    for name, value in _SECURITY_HEADERS.items():
        answer.headers.setdefault(name, value)
    if "Cache-Control" not in answer.headers:
        answer.headers["Cache-Control"] = "no-store"
    seconds = time.perf_counter() - g.started_s
    route = request.url_rule.rule if request.url_rule else None
    services().metrics.count_request(request.method, route, answer.status_code, seconds)
    # The pattern of the route without its parameters: the log must not hold more about a person than the database does.
    principal = g.get("principal")
    line = {
        "method": request.method,
        "route": route,
        "status": answer.status_code,
        "milliseconds": round(seconds * 1_000, 1),
        "device": g.get("device_id"),
        "operator": principal.name if principal else None,
    }
    _LOG.info("request", extra={"fields": line})
    return answer
