"""What a publisher sends: files first, then the signed targets that name them."""

from typing import cast

import msgspec
from flask import Blueprint, g, request
from tuf.api.metadata import Targets

from sync_server.api.answers import JsonAnswer, json_answer
from sync_server.api.auth import require_publisher
from sync_server.api.request_body import decode_body, read_body
from sync_server.errors import RequestError
from sync_server.operators.accounts import Principal
from sync_server.repository.delegations import channel_of
from sync_server.repository.file_store import Readable
from sync_server.repository.releases import releases
from sync_server.services import services

blueprint = Blueprint("publishing", __name__, url_prefix="/v1/publish")
blueprint.before_request(require_publisher)

# Some 30,000 SHA-256, far more than a release has files.
_MAX_LIST_BYTES = 2_000_000


class FileList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """SHA-256 of files that a release needs."""

    sha256: list[str]


@blueprint.get("/targets")
def current_targets() -> JsonAnswer:
    """Return the served targets of the targets role, or of a delegated channel's role (`role`)."""
    targets = services().repository.targets(_role())
    if targets is None:
        raise RequestError("nothing is published yet", status_code=404)
    return targets.to_bytes(), 200, {"Content-Type": "application/json"}


@blueprint.post("/missing")
def missing() -> JsonAnswer:
    """Return which of the named files the server does not have yet."""
    wanted = decode_body(FileList, max_bytes=_MAX_LIST_BYTES).sha256
    files = services().repository.files
    return json_answer({"missing": [sha256 for sha256 in wanted if files.path(sha256) is None]})


@blueprint.put("/files/<sha256>")
def put_file(sha256: str) -> JsonAnswer:
    """Store one file; its content must have the announced SHA-256."""
    limit = services().config.max_file_bytes
    request.max_content_length = limit
    length = services().repository.files.put(sha256, cast("Readable", request.stream), max_bytes=limit)
    return json_answer({"stored_bytes": length}, 201)


@blueprint.post("/targets")
def publish() -> JsonAnswer:
    """Publish signed targets; from then on devices see the release."""
    role = _role()
    metadata = services().repository.accept(read_body(services().config.max_targets_bytes), role=role)
    notes = releases(metadata.signed)
    services().audit.record(
        actor=cast("Principal", g.principal).name,
        action=f"{role} published",
        subject=f"version {metadata.signed.version}",
        details={name: f"release {note.release}, bundle {note.bundle_id[:12]}" for name, note in notes.items()},
    )
    return json_answer({"version": metadata.signed.version, "channels": {name: n.release for name, n in notes.items()}})


@blueprint.post("/root")
def publish_root() -> JsonAnswer:
    """Serve a new root, which the keys of the root before have signed."""
    metadata = services().repository.adopt_root(read_body(services().config.max_targets_bytes))
    services().audit.record(
        actor=cast("Principal", g.principal).name, action="root published", subject=f"version {metadata.signed.version}"
    )
    return json_answer({"version": metadata.signed.version})


def _role() -> str:
    role = request.args.get("role", Targets.type)
    if role != Targets.type and channel_of(role) is None:
        raise RequestError("expected the role targets, or channel- and the name of a channel", status_code=400)
    return role
