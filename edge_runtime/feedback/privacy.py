"""Privacy levels: what may leave the device. The device sets its level; a server cannot raise it.

off      nothing is stored and nothing leaves
counts   once a window one row of noisy bits, locally differentially private; no event (private_counts.py)
events   kind, product, time, bundle, place, propensities, list and experiment; never the query's text
full     the query's text as well
"""

from typing import Literal, get_args

import msgspec

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.events import EVENT_KINDS, FeedbackEvent

PrivacyLevel = Literal["off", "counts", "events", "full"]
PRIVACY_LEVELS: tuple[PrivacyLevel, ...] = get_args(PrivacyLevel)


def check_privacy_level(level: str) -> PrivacyLevel:
    """Return `level` when it is one of PRIVACY_LEVELS.

    Raises:
        ConfigError: it is not.
    """
    for known in PRIVACY_LEVELS:
        if level == known:
            return known
    raise ConfigError(f"privacy level {level!r}: expected one of {', '.join(PRIVACY_LEVELS)}")


def permitted(event: FeedbackEvent, level: PrivacyLevel) -> FeedbackEvent | None:
    """Return what of `event`, whose kind is known, may be stored and sent at `level`; None when nothing may."""
    if level in {"off", "counts"}:
        return None
    if level == "full" and EVENT_KINDS[event.kind].has_query:
        return event
    return msgspec.structs.replace(event, query=None)
