"""The golden answers of a bundle: the builder writes them, and a device checks that it gives the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge_runtime.contract.errors import ConfigError, GoldenMismatchError
from edge_runtime.contract.golden import Golden, GoldenHistory, GoldenQuery
from edge_runtime.contract.types import Float32

MIN_COSINE = 0.995
"""Kernels of other processors round int8 sums by a step at most; a model that is damaged or another one stays far below."""
MIN_OVERLAP = 0.9
"""Of ten products one may differ: such a rounding swaps neighbors at the end of a page."""
_DECIMALS = 6  # finer than a float32 of length 1 tells apart in a cosine


class _Answer(Protocol):
    @property
    def product_ids(self) -> tuple[str, ...]: ...


class Answering(Protocol):
    """What answers the golden queries: a `Recommender`."""

    def encode_query(self, text: str) -> Float32:
        """Return float32 [dim]."""
        ...

    def encode_history(self, history: Sequence[str]) -> Float32:
        """Return float32 [dim]."""
        ...

    def search(self, query: str, *, k: int = 10) -> _Answer:
        """Return the best products."""
        ...

    def recommend(self, history: Sequence[str], *, k: int = 10) -> _Answer:
        """Return the best products."""
        ...


@dataclass(frozen=True)
class Proof:
    """How near this device is to the golden answers: the worst cosine and the share of expected products found."""

    answers: int
    worst_cosine: float
    overlap: float


def golden_answers(
    recommender: Answering,
    *,
    queries: Sequence[str],
    histories: Sequence[Sequence[str]] = (),
    k: int = 10,
    min_cosine: float = MIN_COSINE,
    min_overlap: float = MIN_OVERLAP,
) -> Golden:
    """Ask `recommender` on the builder's machine and return its answers as the golden ones.

    Raises:
        ConfigError: no queries, or one that cannot be asked.
    """
    if not queries:
        raise ConfigError("golden answers need at least one query, there is none")
    return Golden(
        min_cosine=min_cosine,
        min_overlap=min_overlap,
        queries=[
            GoldenQuery(text, _written(recommender.encode_query(text)), list(recommender.search(text, k=k).product_ids))
            for text in queries
        ],
        histories=[
            GoldenHistory(
                list(history),
                _written(recommender.encode_history(history)),
                list(recommender.recommend(history, k=k).product_ids),
            )
            for history in histories
        ],
    )


def check_golden(recommender: Answering, golden: Golden) -> Proof:
    """Ask every golden query and history and compare.

    Raises:
        GoldenMismatchError: a vector is further away than `min_cosine`, fewer products than `min_overlap` are found,
            or there is nothing to compare.
    """
    if not golden.queries and not golden.histories:
        raise GoldenMismatchError("golden.json has no queries, so this bundle proves nothing; build it again")
    compared = []
    for query in golden.queries:
        vector, text = recommender.encode_query(query.text), query.text
        compared.append(_compare(f"query {text!r}", query, vector, recommender.search(text, k=_count(query))))
    for one in golden.histories:
        vector, history = recommender.encode_history(one.history), one.history
        compared.append(_compare(f"history {history}", one, vector, recommender.recommend(history, k=_count(one))))
    for item in compared:
        if item.cosine < golden.min_cosine:
            raise GoldenMismatchError(
                f"the vector of {item.name} has cosine {item.cosine:.4f} with the golden one, expected at least "
                f"{golden.min_cosine}; this device must not use this bundle"
            )
    overlap = sum(one.found for one in compared) / max(1, sum(one.expected for one in compared))
    if overlap < golden.min_overlap:
        poorest = next(one for one in compared if one.found < one.expected)
        raise GoldenMismatchError(
            f"{overlap:.3f} of the golden products are found, expected at least {golden.min_overlap}, the first missing "
            f"for {poorest.name}; this device must not use this bundle"
        )
    return Proof(len(compared), min(one.cosine for one in compared), overlap)


@dataclass(frozen=True)
class _Compared:
    name: str
    cosine: float
    expected: int
    found: int


def _count(golden: GoldenQuery | GoldenHistory) -> int:
    return max(1, len(golden.product_ids))


def _compare(name: str, golden: GoldenQuery | GoldenHistory, vector: Float32, answer: _Answer) -> _Compared:
    found = len(set(golden.product_ids) & set(answer.product_ids))
    return _Compared(name, _cosine(golden.vector, vector), len(golden.product_ids), found)


def _cosine(expected: Sequence[float], found: Float32) -> float:
    wanted = np.asarray(expected, dtype=np.float32)
    if wanted.shape != found.shape or not np.isfinite(wanted).all():
        return -1.0
    lengths = float(np.linalg.norm(wanted) * np.linalg.norm(found))
    if lengths == 0:
        return 1.0 if not wanted.any() and not found.any() else 0.0
    return float(wanted @ found) / lengths


def _written(vector: Float32) -> list[float]:
    return [round(float(value), _DECIMALS) for value in vector]
