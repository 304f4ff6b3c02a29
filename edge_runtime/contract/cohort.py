"""Stable cohorts: which share of a fleet a device belongs to; every runtime computes the same.

The hash is GrowthBook's version 2: FNV-1a (32 bits) over the UTF-8 bytes of `seed + value`, its decimal digits hashed
once more, the remainder by 10,000 as a fraction. The second round removes the bias of a single one.
"""

from collections.abc import Sequence

BUCKETS = 10_000
"""As in GrowthBook: a share is exact to a hundredth of a percent."""

PUBLISHED_VECTORS: tuple[tuple[str, str, float], ...] = (
    ("seed", "a", 0.0505),
    ("seed", "b", 0.2696),
    ("foo", "ab", 0.2575),
    ("foo", "def", 0.2019),
    ("89123klj", "8952klfjas09ujkasdf", 0.124),
    ("90850943850283058242805", "123", 0.7516),
    ("()**(%$##$%#$#", '___)((*":&', 0.0128),
    ("feature", "123", 0.5231),
)
"""(seed, value, bucket) as GrowthBook publishes them for version 2 of its hash: every runtime must give these."""

# FNV's published constants for 32 bits.
_OFFSET_BASIS, _PRIME, _MASK = 0x811C9DC5, 0x01000193, 0xFFFFFFFF


def fnv1a_32(data: bytes) -> int:
    """Return the 32-bit FNV-1a hash of `data`."""
    value = _OFFSET_BASIS
    for byte in data:
        value = ((value ^ byte) * _PRIME) & _MASK
    return value


def bucket(seed: str, value: str) -> float:
    """Return the place of `value` in [0, 1), in steps of 1/10,000.

    Args:
        seed: names the question that is asked (a rollout, an experiment): other seeds give independent places.
        value: whose place, such as a device's id.
    """
    first = fnv1a_32(f"{seed}{value}".encode())
    return fnv1a_32(str(first).encode()) % BUCKETS / BUCKETS


def in_share(seed: str, value: str, share: float) -> bool:
    """Tell whether `value` belongs to the first `share` (0 … 1) of all; a larger share contains every smaller one."""
    return bucket(seed, value) < share


def choose(seed: str, value: str, weights: Sequence[float]) -> int | None:
    """Return which of consecutive ranges of widths `weights` holds `value`, or None beyond their sum (1 at most)."""
    place, end = bucket(seed, value), 0.0
    for index, weight in enumerate(weights):
        end += weight
        # Sums of fractions are not exact; the places are multiples of 1/10,000, so half a step decides nothing wrongly.
        if place < end - 0.5 / BUCKETS:
            return index
    return None
