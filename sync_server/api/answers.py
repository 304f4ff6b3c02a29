"""JSON responses."""

import msgspec

JsonAnswer = tuple[bytes, int, dict[str, str]]
"""Body, status and headers, as Flask takes them."""


def json_answer(value: object, status: int = 200) -> JsonAnswer:
    """Return `value` as a JSON answer."""
    return msgspec.json.encode(value), status, {"Content-Type": "application/json"}
