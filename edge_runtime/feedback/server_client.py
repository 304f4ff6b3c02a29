"""What a device asks its server for: requests in its name, answers that are decoded or refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from edge_runtime.contract.errors import DownloadError
from edge_runtime.updates.http_transport import Transport, check_answer, read_limited

MAX_ANSWER_BYTES = 10_000
"""Longest answer by default: receipts of some numbers have fewer than 200 bytes, so this leaves room for many fields."""
REFUSED = {400, 413, 422}
"""Statuses by which a server refuses a report for good (RFC 9110: bad request, content too large, unprocessable)."""

T = TypeVar("T")


@dataclass(frozen=True)
class ServerClient:
    """An enrolled device as its server knows it, and the network between them.

    Attributes:
        transport: the network.
        server_url: address of the server, without a trailing slash.
        device_id: the device's name there.
        credential: proves that this is the device; sent with every request.
    """

    transport: Transport
    server_url: str
    device_id: str
    credential: str = field(repr=False)

    def request(
        self,
        method: str,
        path: str,
        *,
        what: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> bytes:
        """Send one request in the device's name; return and raise as the function `request`."""
        own = {"Authorization": f"Bearer {self.credential}", **(headers or {})}
        url = f"{self.server_url}{path}"
        return request(self.transport, method, url, what=what, body=body, headers=own, max_bytes=max_bytes)


def request(
    transport: Transport,
    method: str,
    url: str,
    *,
    what: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    max_bytes: int = MAX_ANSWER_BYTES,
) -> bytes:
    """Send one request, with `body` as JSON, and return the body of the answer; `what` names it in errors.

    Raises:
        HttpStatusError: a status other than 2xx.
        DownloadTooLargeError: the answer has more than `max_bytes`.
        DownloadError: the network.
    """
    kind = {"Content-Type": "application/json"} if body is not None else {}
    with transport.open(method, url, headers={**kind, **(headers or {})}, body=body) as answer:
        check_answer(answer, url)
        return read_limited(answer.chunks, max_bytes, what=what)


def decode_answer(data: bytes, answer: type[T], *, what: str, remedy: str) -> T:
    """Return the JSON in `data` as an `answer`.

    Args:
        data: of the server's answer.
        answer: what is expected.
        what: names it in the error.
        remedy: what became of the data that was sent, or what to do.

    Raises:
        DownloadError: it is malformed.
    """
    try:
        return msgspec.json.decode(data, type=answer)
    except msgspec.MsgspecError as error:
        raise DownloadError(f"the server's {what} is malformed ({error}); {remedy}") from error
