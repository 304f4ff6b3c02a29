"""Golden answers of the builder's reference kernels; a device must reproduce them before it uses a bundle."""

from pathlib import Path

import msgspec

from edge_runtime.contract.errors import BundleFormatError


class GoldenQuery(msgspec.Struct, frozen=True):
    """A query with its expected unit vector (float [dim]) and expected products, best first."""

    text: str
    vector: list[float]
    product_ids: list[str]


class GoldenHistory(msgspec.Struct, frozen=True):
    """A purchase history (newest last) with its expected unit vector and expected products, best first."""

    history: list[str]
    vector: list[float]
    product_ids: list[str]


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `golden.json`.

    A device passes when each vector's cosine with the expected one is at least `min_cosine`, and of the expected
    products of all answers together at least the share `min_overlap` is in the device's answers of equal length.
    """

    min_cosine: float
    min_overlap: float
    queries: list[GoldenQuery]
    histories: list[GoldenHistory]


def read_golden(path: Path) -> Golden:
    """Read `golden.json`.

    Raises:
        BundleFormatError: the file cannot be read or is malformed.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Golden)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleFormatError(f"{path}: {error}; get the bundle again") from error
