"""The two groups of devices by which a rollout is judged: equally large, drawn by one hash at the same moment.

A device belongs to a group from the moment at which a stage offers it the release (or, in the other group, might have),
whether it has installed it or not: who installs early is no random choice. Both groups grow with the stages: the new
side is the first `compared` places of the rollout's hash, the old side the last ones. The last stage leaves nobody to
compare with; it is judged by the stages before.
"""

from typing import Literal

from edge_runtime.contract.cohort import BUCKETS, bucket

Side = Literal["new", "old"]
SIDES: tuple[Side, Side] = ("new", "old")
CELLS = 128
"""Groups of devices that each side is divided into: the variance between them is known to about an eighth."""


def compared_places(share: float) -> int:
    """Return how many of the BUCKETS places each side has while `share` (0 … 1) of the fleet is offered the release."""
    return round(min(share, 1.0 - share) * BUCKETS)


def side_of(seed: str, device_id: str, share: float) -> Side | None:
    """Return the side of a device while `share` of the fleet is offered the release; None when it is not compared."""
    places = compared_places(share)
    place = round(bucket(seed, device_id) * BUCKETS)
    if place < places:
        return "new"
    return "old" if place >= BUCKETS - places else None


def cell_of(seed: str, device_id: str) -> int:
    """Return the cell of a device within its side, from 0; it is independent of the device's place."""
    return int(bucket(f"cells of {seed}", device_id) * CELLS)
