"""Counts under local differential privacy: reports of devices at level `counts`, and the bits of a product.

Each report is a row of BITS bits, at most one of them true before noise: that of the one (kind, product) which the
device picked from its window, hashed by one of HASHES functions. Then every bit is flipped at random, which hides
the true one. The server adds the rows up and corrects for noise and collisions: the count-mean sketch
of Apple's "Learning with Privacy at Scale" (2017), on OpenDP's randomized response.
"""

import hashlib
import math
from typing import Literal

import msgspec

from edge_runtime.contract.errors import ConfigError, EventRejectedError
from edge_runtime.contract.events import EVENT_KINDS

BITS = 1024
"""A report has 128 bytes of bits, and two products share a bit under one hash function in a thousand."""
HASHES = 256
"""So many that two products which share a bit under one function differ under nearly all others."""
MAX_EPSILON = 10.0
"""With it, fewer than 1 of 100 bits are flipped: beyond, there is hardly any noise to hide behind."""
MAX_WINDOW = 100_000_000
"""The number that windows of a minute, the shortest, reach in the year 2160."""

COUNTED_KINDS = tuple(kind for kind, traits in EVENT_KINDS.items() if traits.is_counted)


class CountSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much one report may say: `epsilon` for each window of `window_s` seconds.

    A device reads its own from its settings (`counts` of node.json), never from the server, which could otherwise ask for
    reports without noise. The server takes reports of its own settings only.

    Raises:
        ConfigError: a value outside its range.
    """

    epsilon: float = 2.0
    window_s: int = 86_400

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        if not 0 < self.epsilon <= MAX_EPSILON:
            raise ConfigError(f"epsilon: expected more than 0, {MAX_EPSILON:g} at most, got {self.epsilon}")
        if self.window_s < 60:
            raise ConfigError(f"window_s: expected 60 seconds or more, got {self.window_s}")


class CountReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One window of one device.

    Attributes:
        version: of this form.
        device_id: who sends; the noise, not the server's discretion, is what protects.
        window: number of the window since 1970, each `window_s` seconds long.
        window_s: its length.
        epsilon: the privacy loss of this report.
        hash_number: which hash function the device used, 0 to HASHES - 1.
        bits: BITS / 8 bytes, bit b in byte b // 8 at 1 << (b % 8), after the noise.
    """

    version: Literal[1]
    device_id: str
    window: int
    window_s: int
    epsilon: float
    hash_number: int
    bits: bytes


class CountReceipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """The server's answer: the report of this window is stored, now or by an earlier request, or `refused` says why not.

    A refused report never will be stored: the device removes it, as one that does not know `refused` does too.
    """

    window: int
    duplicate: bool
    refused: str | None = None


def bit_of(kind: str, product_id: str, hash_number: int) -> int:
    """Return which bit of a report stands for a product and kind under one hash function, 0 to BITS - 1."""
    text = f"{kind}\x1f{product_id}".encode()
    digest = hashlib.blake2b(text, digest_size=8, salt=hash_number.to_bytes(2, "big")).digest()
    return int.from_bytes(digest, "big") % BITS


def flip_probability(epsilon: float) -> float:
    """Return the probability with which one bit is flipped, so that two rows of one true bit differ by `epsilon`."""
    return 1 / (1 + math.exp(epsilon / 2))


def check_report(report: CountReport) -> None:
    """Refuse a report that cannot mean anything.

    Raises:
        EventRejectedError: names the field and what was expected.
    """
    if len(report.bits) != BITS // 8:
        raise EventRejectedError(f"bits: expected {BITS // 8} bytes, got {len(report.bits)}")
    if not 0 <= report.hash_number < HASHES:
        raise EventRejectedError(f"hash_number: expected 0 to {HASHES - 1}, got {report.hash_number}")
    if not 0 < report.epsilon <= MAX_EPSILON:
        raise EventRejectedError(f"epsilon: expected more than 0, {MAX_EPSILON:g} at most, got {report.epsilon}")
    if not 0 <= report.window <= MAX_WINDOW or not 60 <= report.window_s <= 366 * 86_400:
        raise EventRejectedError(f"window: expected a number since 1970 and 60 seconds or more, got {report.window}")
