"""The OpenAPI description of the server, at /v1/openapi.json. It is made from the routes and the contract's types."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from flask import Blueprint, Flask, current_app
from werkzeug.routing import Rule

from edge_runtime.contract.events import FeedbackBatch, FeedbackReceipt
from edge_runtime.contract.release import EnrollmentAnswer, EnrollmentRequest
from sync_server.api.answers import JsonAnswer, json_answer
from sync_server.api.publishing import FileList
from sync_server.api.rank import RankRequest
from sync_server.ranking.ranker import RankedProducts

blueprint = Blueprint("openapi", __name__)

_JSON, _BYTES, _TEXT, _LINES = "application/json", "application/octet-stream", "text/plain", "application/x-ndjson"
_ANY = "*/*"
_DESCRIBED = ("/v1/", "/healthz", "/readyz", "/metrics")
_PARAMETER = re.compile(r"<(?:(?:any\((?P<choices>[^)]*)\)|\w+):)?(?P<name>\w+)>")
_SECURITY: list[dict[str, list[str]]] = [{"credential": []}]


@dataclass(frozen=True)
class Operation:
    """What the description of a route needs beyond its function.

    `body` and `answer` are contract types. `sends` and `gives` are the media types of body and answer. An `is_open` route
    needs no credential.
    """

    body: type | None = None
    answer: type | None = None
    sends: str = _JSON
    gives: str = _ANY
    status: int = 200
    is_open: bool = False


# Other routes take JSON without a contract type and need a credential.
_OPERATIONS: Mapping[str, Operation] = {
    "POST /v1/feedback": Operation(body=FeedbackBatch, answer=FeedbackReceipt, gives=_JSON),
    "POST /v1/devices/enroll": Operation(
        body=EnrollmentRequest, answer=EnrollmentAnswer, gives=_JSON, status=201, is_open=True
    ),
    "POST /v1/rank": Operation(body=RankRequest, answer=RankedProducts, gives=_JSON),
    "POST /v1/publish/missing": Operation(body=FileList, gives=_JSON),
    "PUT /v1/publish/files/<sha256>": Operation(sends=_BYTES, gives=_JSON, status=201),
    "GET /v1/feedback": Operation(gives=_LINES),
    "GET /v1/tuf/<name>": Operation(gives=_JSON, is_open=True),
    "GET /v1/tuf/targets/<path:folder>/<name>": Operation(gives=_BYTES, is_open=True),
    "GET /v1/channels/<channel>/offer": Operation(gives=_JSON, is_open=True),
    "GET /v1/channels/<channel>/manifest.json": Operation(gives=_JSON, is_open=True),
    "GET /v1/channels/<channel>/<name>": Operation(gives=_BYTES, is_open=True),
    "GET /v1/openapi.json": Operation(gives=_JSON, is_open=True),
    "GET /healthz": Operation(gives=_JSON, is_open=True),
    "GET /readyz": Operation(gives=_JSON, is_open=True),
    "GET /metrics": Operation(gives=_TEXT),
}


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The answer to a request that failed: one sentence."""

    error: str


@blueprint.get("/v1/openapi.json")
def openapi() -> JsonAnswer:
    """Describe every route for machines."""
    return json_answer(describe(current_app))


def describe(app: Flask) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of `app`; the console's pages are left out."""
    types = [kind for operation in _OPERATIONS.values() for kind in (operation.body, operation.answer) if kind]
    _, components = msgspec.json.schema_components([*types, ErrorAnswer], ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda found: found.rule):
        if not rule.rule.startswith(_DESCRIBED):
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            path = _PARAMETER.sub(r"{\g<name>}", rule.rule)
            paths.setdefault(path, {})[method.lower()] = _operation(app, rule, method)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pocketrec sync server", "version": "1", "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"credential": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(app: Flask, rule: Rule, method: str) -> dict[str, Any]:
    known = _OPERATIONS.get(f"{method} {rule.rule}", Operation())
    words = (app.view_functions[rule.endpoint].__doc__ or "").strip()
    described: dict[str, Any] = {
        "operationId": f"{method.lower()}_{rule.endpoint.replace('.', '_').lstrip('_')}",
        "summary": words.split("\n", 1)[0],
        "responses": {
            str(known.status): {"description": "done", "content": {known.gives: {"schema": _schema(known.answer)}}},
            "default": {"description": "an error", "content": {_JSON: {"schema": _schema(ErrorAnswer)}}},
        },
        "security": [] if known.is_open else _SECURITY,
    }
    if parameters := [_parameter(found) for found in _PARAMETER.finditer(rule.rule)]:
        described["parameters"] = parameters
    if method in {"POST", "PUT"}:
        described["requestBody"] = {"required": True, "content": {known.sends: {"schema": _schema(known.body)}}}
    return described


def _parameter(found: re.Match[str]) -> dict[str, Any]:
    choices = found["choices"]
    values = {"enum": [one.strip() for one in choices.split(",")]} if choices else {}
    return {"name": found["name"], "in": "path", "required": True, "schema": {"type": "string", **values}}


def _schema(kind: type | None) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"} if kind else {}
