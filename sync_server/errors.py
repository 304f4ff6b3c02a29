"""The server's own errors, under the tree of edge_runtime/contract/errors.py."""

from edge_runtime.contract.errors import PocketrecError, UpdateError

UNKNOWN_DEVICE = "no device holds this credential, or it was revoked; enroll it anew"


class PublicationError(UpdateError):
    """A release was not accepted; what was published before stays published."""


class PublicationConflictError(PublicationError):
    """Another release was published in the meantime."""


class RequestError(PocketrecError):
    """A request cannot be answered.

    Attributes:
        status_code: the HTTP status of the answer.
    """

    def __init__(self, message: str, *, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


class LoginError(RequestError):
    """A login was refused."""


class AuditError(PocketrecError):
    """The audit log is not whole: a line is missing or was changed."""

    exit_code = 3
