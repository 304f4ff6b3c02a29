"""The storefront: static pages that run a channel's bundle in the visitor's browser, and the files that they load.

`make web` builds the pages from web/. They are compressed in `storefront_files`, which is part of the wheel.
"""

import gzip
import hashlib
import mimetypes
import re
from pathlib import Path

from flask import Blueprint, Response, request, send_file, url_for

from edge_runtime.contract.bundle import MANIFEST_FILE, Manifest, decode_manifest
from edge_runtime.contract.release import ReleaseNote, manifest_target
from sync_server.api.updates import FOREVER, stored_file
from sync_server.errors import RequestError
from sync_server.services import services

blueprint = Blueprint("storefront", __name__)

FILES = Path(__file__).parents[1] / "storefront_files"
RELEASE_HEADER = "Pocketrec-Release"

_PAGE = "index.html"
_CHANNELS = "/v1/channels/"
_NAME = re.compile(r"(?:[A-Za-z0-9_-]+/)?[A-Za-z0-9_-][A-Za-z0-9._-]*")
_HASHED = re.compile(r".+-[A-Za-z0-9_-]{8}\.[a-z0-9]+")
_MEDIA_TYPES = {".js": "text/javascript", ".wasm": "application/wasm", ".webmanifest": "application/manifest+json"}
_HEADERS = {
    # 'wasm-unsafe-eval' allows compiling WebAssembly and nothing else; 'unsafe-eval' is not needed.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    # Cross-origin isolation: no other site shares the page's process, and the page gets an exact clock for latencies.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@blueprint.get("/shop")
def to_page() -> Response:
    """Redirect to the page with a slash, which its relative links need."""
    return Response(status=308, headers={"Location": url_for("storefront.page")})


@blueprint.get("/shop/")
def page() -> Response:
    """Serve the page."""
    return static_file(_PAGE)


@blueprint.get("/shop/<path:name>")
def static_file(name: str) -> Response:
    """Serve a file of the storefront, compressed when the browser accepts that.

    Raises:
        RequestError: there is no such file, or the storefront was not built.
    """
    path = FILES / f"{name}.gz"
    if not _NAME.fullmatch(name) or not path.is_file():
        built = (FILES / f"{_PAGE}.gz").is_file()
        reason = "there is no such file" if built else "the storefront is not built here; build it with: make web"
        raise RequestError(reason, status_code=404)
    data = path.read_bytes()
    takes_gzip = request.accept_encodings.quality("gzip") > 0
    answer = Response(data if takes_gzip else gzip.decompress(data), mimetype=_media_type(name))
    if takes_gzip:
        answer.headers["Content-Encoding"] = "gzip"
    answer.headers["Vary"] = "Accept-Encoding"
    answer.headers["Cache-Control"] = FOREVER if _HASHED.fullmatch(name) else "no-cache"
    answer.headers.update(_HEADERS)
    answer.set_etag(hashlib.sha256(data).hexdigest()[:32] + ("-gzip" if takes_gzip else ""))
    answer.make_conditional(request)
    return answer


def _media_type(name: str) -> str:
    suffix = Path(name).suffix
    return _MEDIA_TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


@blueprint.get(f"/v1/channels/<channel>/{MANIFEST_FILE}")
def manifest(channel: str) -> Response:
    """Serve the manifest of the channel's release; its header says which release it is.

    Raises:
        RequestError: nothing was published in this channel.
    """
    path, release = _released(channel)
    answer = send_file(path, mimetype="application/json", etag=path.name, conditional=True)
    answer.headers["Cache-Control"] = "no-cache"
    answer.headers[RELEASE_HEADER] = str(release)
    return answer


@blueprint.get("/v1/channels/<channel>/<name>")
def bundle_file(channel: str, name: str) -> Response:
    """Serve a file of the channel's bundle; `?sha256=` asks for that content, even when there is a newer release.

    Raises:
        RequestError: there is no such file.
    """
    sha256 = request.args.get("sha256")
    asked_by_digest = sha256 is not None
    if sha256 is None:
        artifacts = _manifest(channel).artifacts
        sha256 = next((artifact.sha256 for artifact in artifacts if artifact.path == name), "")
    return stored_file(sha256, cache_control=FOREVER if asked_by_digest else "no-cache")


@blueprint.after_request
def allow_other_origins(answer: Response) -> Response:
    """Let pages of the `allowed_origins` read a channel's files."""
    allowed = services().config.allowed_origins
    if not allowed or not request.path.startswith(_CHANNELS):
        return answer
    answer.vary.add("Origin")
    origin = request.headers.get("Origin", "")
    if origin and (origin in allowed or "*" in allowed):
        answer.headers["Access-Control-Allow-Origin"] = origin
        answer.headers["Access-Control-Allow-Headers"] = "Range"
        answer.headers["Access-Control-Expose-Headers"] = f"{RELEASE_HEADER}, Content-Range, Retry-After"
    return answer


def _manifest(channel: str) -> Manifest:
    path, _ = _released(channel)
    return decode_manifest(path.read_bytes(), source=f"the manifest of channel {channel}")


def _released(channel: str) -> tuple[Path, int]:
    targets = services().repository.channel_targets(channel)
    target = targets.targets.get(manifest_target(channel)) if targets else None
    if target is None:
        raise RequestError(f"nothing was published in the channel {channel!r} yet", status_code=404)
    note = ReleaseNote.from_target(target.unrecognized_fields.get("custom"), channel=channel)
    path = services().repository.files.path(target.hashes["sha256"])
    if path is None:
        raise RequestError("the release is not complete; publish it again", status_code=404)
    return path, note.release
