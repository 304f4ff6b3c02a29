"""Who sends a request: a device proves it by its credential, a program by an API key."""

from flask import g, request

from sync_server.errors import UNKNOWN_DEVICE, RequestError
from sync_server.operators.accounts import Principal, Role
from sync_server.services import services


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
    """Return the principal of the request's API key, when its role includes `needed`.

    Raises:
        RequestError: there is no key, it is void, or its role is too low.
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
    return _named(services().enrollment.device_of(bearer()))


def require_sender() -> str:
    """Return the same, for requests whose events go to `EventIngest.store`, which refuses a revoked device.

    Raises:
        RequestError: no credential or an unknown one.
    """
    return _named(services().enrollment.sender_of(bearer()))


def _named(device_id: str | None) -> str:
    if device_id is None:
        raise RequestError(UNKNOWN_DEVICE, status_code=401)
    g.device_id = device_id
    return device_id
