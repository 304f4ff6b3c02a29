"""Bodies of requests: read up to a limit, decompressed, decoded, or refused with one sentence."""

from typing import TypeVar

import msgspec
import zstandard
from flask import request

from edge_runtime.contract.events import COMPRESSED_ENCODING
from sync_server.errors import RequestError

# The most memory that a frame may require; zstd's levels up to 19 need no more than 8 MiB.
_MAX_WINDOW_BYTES = 1 << 23
_Body = TypeVar("_Body")


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
        # The frame may claim any length, so reading stops one byte past the limit.
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
    return decode_json(unpacked_body(max_bytes), kind)


def decode_json(data: bytes, kind: type[_Body]) -> _Body:
    """Return the JSON of an unpacked body as `kind`.

    Raises:
        RequestError: not JSON, or a field is missing, unknown or of the wrong type.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not valid: {error}", status_code=400) from error
