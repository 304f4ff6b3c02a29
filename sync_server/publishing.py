"""What the builder hands over: files first, then the signed targets that name them."""

from typing import cast

import msgspec
from flask import Blueprint, g, request

from sync_server.errors import RequestError
from sync_server.operators import Principal
from sync_server.releases import releases
from sync_server.services import decode_body, json_answer, read_body, require_publisher, services
from sync_server.storage import Readable

blueprint = Blueprint("publishing", __name__, url_prefix="/v1/publish")
blueprint.before_request(require_publisher)

_MAX_LIST_BYTES = 2_000_000


class FileList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """SHA-256 of files that a release needs."""

    sha256: list[str]


@blueprint.get("/targets")
def current_targets() -> tuple[bytes, int, dict[str, str]]:
    """Give the targets.json that is served."""
    targets = services().repository.targets()
    if targets is None:
        raise RequestError("nothing is published yet", status_code=404)
    return targets.to_bytes(), 200, {"Content-Type": "application/json"}


@blueprint.post("/missing")
def missing() -> tuple[bytes, int, dict[str, str]]:
    """Say which of the named files are not here yet."""
    wanted = decode_body(FileList, max_bytes=_MAX_LIST_BYTES).sha256
    files = services().repository.files
    return json_answer({"missing": [sha256 for sha256 in wanted if files.path(sha256) is None]})


@blueprint.put("/files/<sha256>")
def put_file(sha256: str) -> tuple[bytes, int, dict[str, str]]:
    """Store one file; its content must have the announced SHA-256."""
    limit = services().config.max_file_bytes
    request.max_content_length = limit
    length = services().repository.files.put(sha256, cast("Readable", request.stream), max_bytes=limit)
    return json_answer({"stored_bytes": length}, 201)


@blueprint.post("/targets")
def publish() -> tuple[bytes, int, dict[str, str]]:
    """Publish signed targets: after this, devices see the release."""
    metadata = services().repository.accept(read_body(services().config.max_targets_bytes))
    notes = releases(metadata.signed)
    services().audit.record(
        actor=cast("Principal", g.principal).name,
        action="targets published",
        subject=f"version {metadata.signed.version}",
        details={name: f"release {note.release}, bundle {note.bundle_id[:12]}" for name, note in notes.items()},
    )
    return json_answer({"version": metadata.signed.version, "channels": {name: n.release for name, n in notes.items()}})
