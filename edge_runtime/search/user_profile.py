"""The user's taste: what they looked at and bought, kept in one file on this device and nowhere else.

The file holds product ids with times; the vector is made of them when it is needed, so a new model or catalogue needs
no migration, and a forgotten product no longer affects the vector.
"""

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.contract.atomic_files import PRIVATE_MODE, disk_errors_named, write_bytes_atomically
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.events import EVENT_KINDS
from edge_runtime.contract.types import Float32

KINDS: Mapping[str, float] = {kind: traits.taste for kind, traits in EVENT_KINDS.items() if traits.taste}
"""Kinds of events and how much each says."""

HALF_LIFE_S = 30 * 86_400.0
"""An event says half as much after so long: a month, set by hand, as tastes change with the season."""

MAX_EVENTS = 500
"""The newest ones are kept: with the half-life, older ones hardly count, and the file stays below 50 kB."""

_VERSION = 1  # of the file
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TasteEvent:
    """The user did something with a product, at a time in seconds since 1970."""

    product_id: str
    kind: str
    at_s: float


class PersonalTaste:
    """The events of one user in one file; may be used from any thread of one process."""

    def __init__(self, path: Path | str, *, clock: Callable[[], float] = time.time) -> None:
        """Read the file; one that is missing or damaged is an empty taste, and is replaced at the next event.

        Args:
            path: where the events are kept; its folder exists.
            clock: seconds since 1970.
        """
        self._path = Path(path)
        self._clock = clock
        self._lock = threading.Lock()
        self._events = _read(self._path)

    @property
    def events(self) -> tuple[TasteEvent, ...]:
        """What is kept, oldest first."""
        return self._events

    def add(self, product_ids: Sequence[str], kind: str) -> None:
        """Keep that the user did `kind` with these products; killed on the way, the old file stays whole.

        Raises:
            ConfigError: an unknown kind, or not a list of ids.
            StorageError: the disk is full, read-only or not permitted.
        """
        if kind not in KINDS:
            raise ConfigError(f"unknown kind of event {kind!r}, expected one of {', '.join(KINDS)}")
        if isinstance(product_ids, str) or not all(isinstance(one, str) and one for one in product_ids):
            raise ConfigError(f"expected a list of product ids, found {product_ids!r}")
        now = self._clock()
        with self._lock:
            self._replace((*self._events, *(TasteEvent(one, kind, now) for one in product_ids)))

    def forget(self, product_ids: Sequence[str] | None = None) -> None:
        """Forget what was done with these products, or everything: then the file is removed.

        Raises:
            StorageError: the file cannot be written or removed.
        """
        with self._lock:
            if product_ids is None:
                with disk_errors_named(self._path):
                    self._path.unlink(missing_ok=True)
                self._events = ()
            else:
                forgotten = set(product_ids)
                self._replace(tuple(event for event in self._events if event.product_id not in forgotten))

    def weights(self) -> dict[str, float]:
        """Return product id -> how much it says of the user now, newer events more than older ones."""
        now = self._clock()
        found: dict[str, float] = {}
        for event in self._events:
            age_s = max(0.0, now - event.at_s)
            found[event.product_id] = found.get(event.product_id, 0.0) + KINDS[event.kind] * 0.5 ** (
                age_s / HALF_LIFE_S
            )
        return found

    def _replace(self, events: tuple[TasteEvent, ...]) -> None:
        kept = events[-MAX_EVENTS:]
        content = {"version": _VERSION, "events": [[one.product_id, one.kind, one.at_s] for one in kept]}
        data = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
        write_bytes_atomically(self._path, data, mode=PRIVATE_MODE)
        self._events = kept


def taste_vector(weights: Sequence[float], vectors: Float32) -> Float32:
    """Return the user's vector float32 [dim], unit length: the weighted mean of item vectors; zero when there is none.

    Args:
        weights: one for each vector.
        vectors: float32 [n, dim], unit rows.
    """
    mean = np.asarray(weights, dtype=np.float32) @ vectors
    norm = float(np.linalg.norm(mean))
    return np.asarray(mean / norm, dtype=np.float32) if norm > 0 else np.zeros(vectors.shape[1], dtype=np.float32)


def _read(path: Path) -> tuple[TasteEvent, ...]:
    try:
        content = json.loads(path.read_bytes())
        if content["version"] != _VERSION:
            raise ValueError(f"version {content['version']}, this runtime reads {_VERSION}")
        events = tuple(TasteEvent(str(one), str(kind), float(at_s)) for one, kind, at_s in content["events"])
        if not all(event.kind in KINDS and math.isfinite(event.at_s) for event in events):
            raise ValueError("an event of an unknown kind or time")
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        _LOG.warning("the user's taste in %s cannot be read (%s), so it starts empty", path, error)
        return ()
    return events[-MAX_EVENTS:]
