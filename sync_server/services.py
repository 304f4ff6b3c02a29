"""What the blueprints share, and how a request proves who sends it."""

from dataclasses import dataclass
from typing import TypeVar, cast

import msgspec
import zstandard
from flask import current_app, g, request

from edge_runtime.contract.events import COMPRESSED_ENCODING
from sync_server.config import ServerConfig
from sync_server.devices.bundle_reports import DeviceReports
from sync_server.devices.enrollment import Fleet
from sync_server.devices.fleet_history import FleetHistory
from sync_server.devices.registry import DeviceRegister
from sync_server.errors import UNKNOWN_DEVICE, RequestError
from sync_server.events.data_requests import Retention
from sync_server.experiments.service import Experiments
from sync_server.hosting.shared_memory import Cache, RateLimits
from sync_server.metrics import Metrics
from sync_server.operators.accounts import Operators, Principal, Role
from sync_server.operators.api_keys import ApiKeys
from sync_server.operators.audit_log import AuditLog
from sync_server.ranking.ranker import Ranker
from sync_server.repository.tuf_repository import Repository
from sync_server.rollouts.offers import Offers
from sync_server.rollouts.service import Rollouts

EXTENSION = "pocketrec"
_MAX_WINDOW_BYTES = 1 << 23
_Body = TypeVar("_Body")


@dataclass(frozen=True)
class Services:
    """What one worker of the server is made of; `ranker` is None where the server does not rank."""

    config: ServerConfig
    repository: Repository
    fleet: Fleet
    devices: DeviceRegister
    operators: Operators
    api_keys: ApiKeys
    audit: AuditLog
    metrics: Metrics
    rates: RateLimits
    answers: Cache
    ranker: Ranker | None
    retention: Retention
    history: FleetHistory
    reports: DeviceReports
    rollouts: Rollouts
    experiments: Experiments
    offers: Offers

    def close(self) -> None:
        """End all connections and close all files."""
        self.fleet.engine.dispose()
        self.rates.close()
        self.answers.close()
        if self.ranker is not None:
            self.ranker.close()


def services() -> Services:
    """Return the services of the application that answers this request."""
    return cast("Services", current_app.extensions[EXTENSION])


def bearer() -> str:
    """Return the credential of the request's Authorization header.

    Raises:
        RequestError: there is none.
    """
    kind, _, credential = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not credential:
        raise RequestError("expected the header Authorization: Bearer …", status_code=401)
    return credential.strip()


def require_role(needed: Role) -> Principal:
    """Return whose API key the request carries, when it allows what `needed` allows.

    Raises:
        RequestError: no key, a void one, or one of a lower role.
    """
    principal = services().api_keys.principal_of(bearer())
    if principal is None:
        raise RequestError(
            "this is not an API key of this server; make one with: pocketrec operators key", status_code=403
        )
    if not principal.may(needed):
        raise RequestError(f"this needs the role {needed}, the API key has {principal.role}", status_code=403)
    g.principal = principal
    return principal


def require_publisher() -> None:
    """Let only publishers and admins pass.

    Raises:
        RequestError: no API key, a void one, or a viewer's.
    """
    require_role("publisher")


def require_device() -> str:
    """Return the id of the device that sends this request.

    Raises:
        RequestError: no credential, or an unknown or revoked one.
    """
    return _named(services().fleet.device_of(bearer()))


def require_sender() -> str:
    """Return the same for a request whose events are stored by `Fleet.store`, which refuses a revoked device.

    Raises:
        RequestError: no credential or an unknown one.
    """
    return _named(services().fleet.sender_of(bearer()))


def _named(device_id: str | None) -> str:
    if device_id is None:
        raise RequestError(UNKNOWN_DEVICE, status_code=401)
    g.device_id = device_id
    return device_id


def read_body(max_bytes: int) -> bytes:
    """Return the request's body; a longer one is answered with status 413 before it is read."""
    request.max_content_length = max_bytes
    return request.get_data(cache=False)


def unpacked_body(max_bytes: int) -> bytes:
    """Return the request's body, unpacked when it came compressed; neither form may exceed `max_bytes`.

    Raises:
        RequestError: an unknown Content-Encoding, damaged data, or more than `max_bytes` once unpacked.
    """
    body = read_body(max_bytes)
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "identity":
        return body
    if encoding != COMPRESSED_ENCODING:
        raise RequestError(f"expected a body that is plain or packed by {COMPRESSED_ENCODING}", status_code=415)
    try:
        # The length that a frame claims is not believed: reading stops one byte past the limit.
        with zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).stream_reader(body) as reader:
            data = reader.read(max_bytes + 1)
    except zstandard.ZstdError as error:
        raise RequestError("the packed body is damaged; nothing was stored", status_code=400) from error
    if len(data) > max_bytes:
        raise RequestError(f"the body unpacks to more than {max_bytes} bytes; nothing was stored", status_code=413)
    return data


def decode_body(kind: type[_Body], *, max_bytes: int) -> _Body:
    """Return the request's JSON body, plain or compressed, as `kind`.

    Raises:
        RequestError: not JSON, or a field is missing, unknown or of the wrong type.
    """
    try:
        return msgspec.json.decode(unpacked_body(max_bytes), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not as agreed: {error}", status_code=400) from error


def json_answer(value: object, status: int = 200) -> tuple[bytes, int, dict[str, str]]:
    """Return `value` as a JSON answer."""
    return msgspec.json.encode(value), status, {"Content-Type": "application/json"}
