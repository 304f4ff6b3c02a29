"""What devices download: TUF metadata and content-addressed files. All of it is signed, and public."""

from flask import Blueprint, Response, request, send_file

from sync_server.api.freshness import etag_of
from sync_server.errors import RequestError
from sync_server.services import services

blueprint = Blueprint("updates", __name__, url_prefix="/v1/tuf")

# One year, the longest that HTTP caches are asked for.
_FOREVER_S = 31_536_000
FOREVER = f"public, max-age={_FOREVER_S}, immutable"
"""How long an answer may be kept whose address names its content."""
_MEDIA_TYPE = "application/octet-stream"


@blueprint.get("/<name>")
def metadata(name: str) -> Response:
    """Serve a metadata file; the timestamp is renewed when less than half of its life is left."""
    repository = services().repository
    is_timestamp = name == "timestamp.json"
    if is_timestamp:
        repository.renew_if_possible()
    path = repository.metadata_path(name)
    if path is None:
        raise RequestError("there is no such metadata", status_code=404)
    if not is_timestamp:
        return send_file(path, mimetype="application/json", max_age=_FOREVER_S)
    content = path.read_bytes()
    # freshness.py compares this tag and answers devices that have the timestamp already.
    headers = {"Cache-Control": "no-cache", "ETag": etag_of(content)}
    answer = Response(content, mimetype="application/json", headers=headers)
    answer.make_conditional(request)
    return answer


@blueprint.get("/targets/<path:folder>/<name>")
def target(folder: str, name: str) -> Response:
    """Serve the file whose SHA-256 begins `name`, in parts when asked (Range); `folder` only makes the URL readable."""
    sha256, _, rest = name.partition(".")
    return stored_file(sha256 if rest else "", cache_control=FOREVER)


def stored_file(sha256: str, *, cache_control: str) -> Response:
    """Serve a published file, or have nginx serve it (`accel_redirect`); its content is named by `sha256`, from the client.

    Raises:
        RequestError: there is no such file.
    """
    path = services().repository.files.path(sha256)
    if path is None:
        raise RequestError("there is no such file", status_code=404)
    prefix = services().config.accel_redirect
    if prefix:
        answer = Response(mimetype=_MEDIA_TYPE, headers={"X-Accel-Redirect": f"{prefix}{sha256[:2]}/{sha256}"})
    else:
        answer = send_file(path, mimetype=_MEDIA_TYPE, etag=sha256, conditional=True)
    answer.headers["Cache-Control"] = cache_control
    return answer
