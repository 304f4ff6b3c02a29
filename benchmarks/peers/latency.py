"""Latency of several query encoders, measured in turns, so that a busy moment of the machine affects all of them alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.peers.base import QueryEncoder


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call, tokenizing included."""

    p50_ms: float
    p99_ms: float


def measure_in_turns(
    encoders: Mapping[str, QueryEncoder],
    texts: Sequence[str],
    *,
    rounds: int = 100,
    calls: int = 20,
    warm_up_rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Latency]:
    """Return each encoder's latency over `rounds` x `calls` calls; in a round each encodes the same texts in a row.

    A row rather than one call, because an encoder that follows another finds the processor's caches full of that
    one's weights, which a device with one model never sees. The first call of each row counts too.

    Args:
        encoders: name -> encoder, each on one thread.
        texts: taken in turn, `calls` a round.
        rounds: measured rounds.
        calls: calls of one encoder in a row.
        warm_up_rounds: rounds before, which do not count.
        clock: seconds that only grow.
    """
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for turn in range(warm_up_rounds + rounds):
        row = [texts[(turn * calls + call) % len(texts)] for call in range(calls)]
        for name, encoder in encoders.items():
            for text in row:
                started = clock()
                encoder.encode(text)
                elapsed = clock() - started
                if turn >= warm_up_rounds:
                    seconds[name].append(elapsed)
    return {
        name: Latency(p50_ms=float(np.percentile(taken, 50)) * 1e3, p99_ms=float(np.percentile(taken, 99)) * 1e3)
        for name, taken in seconds.items()
    }


def texts_of_length(
    queries: Sequence[str], tokens: int, count_tokens: Callable[[str], int], *, count: int = 50
) -> list[str]:
    """Return `count` texts of exactly that many tokens, made of the words of `queries` one after another.

    A word that would overshoot is passed over.

    Raises:
        ValueError: the words do not make a single such text.
    """
    words = [word for query in queries for word in query.split()]
    made: list[str] = []
    text = ""
    for word in words * count:
        longer = f"{text} {word}".strip()
        if count_tokens(longer) > tokens:
            continue
        text = longer
        if count_tokens(text) == tokens:
            made.append(text)
            text = ""
        if len(made) == count:
            break
    if not made:
        raise ValueError(f"the words of {len(queries)} queries make no text of {tokens} tokens")
    return made
