"""The server's own errors, under the tree of edge_runtime/contract/errors.py."""

from edge_runtime.contract.errors import PocketrecError, UpdateError

UNKNOWN_DEVICE = "no device has this credential, or it was revoked; enroll the device again"


class PublicationError(UpdateError):
    """A release was not accepted; the releases before stay published."""


class PublicationConflictError(PublicationError):
    """Another release was published in the meantime."""


class RequestError(PocketrecError):
    """A request cannot be answered.

    Attributes:
        status_code: the HTTP status of the answer.
        retry_after_s: with status 429, after how many seconds the client may ask again.
    """

    def __init__(self, message: str, *, status_code: int, retry_after_s: int = 60) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after_s = retry_after_s


class LoginError(RequestError):
    """A login was refused."""


class AuditError(PocketrecError):
    """The audit log is not complete: a line is missing or was changed."""

    exit_code = 3
