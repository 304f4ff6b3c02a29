"""The interface of a peer of the search benchmark, and the fusion of two peers."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

RRF_K = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009)."""


class Peer(Protocol):
    """A ranker that has already indexed the catalogue.

    Attributes:
        name: as it stands in the table.
        size_bytes: what it needs on disk to answer a query, without the item index; None when it has no model.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def size_bytes(self) -> int | None: ...  # noqa: D102

    def score_all(self, query: str) -> npt.NDArray[np.float32]:
        """Return one score for each product of the catalogue, float32 [products]; higher is better."""
        ...


class QueryEncoder(Protocol):
    """A peer whose query side is a model, so that its latency can be measured."""

    def encode(self, text: str) -> npt.NDArray[np.float32]:
        """Return the unit vector of `text`, float32 [dim]."""
        ...


class DensePeer:
    """Exact cosine search over item vectors."""

    def __init__(
        self, name: str, *, size_bytes: int, encoder: QueryEncoder, item_vectors: npt.NDArray[np.float32]
    ) -> None:
        """`item_vectors`: float32 [products, dim], unit rows."""
        self.name = name
        self.size_bytes: int | None = size_bytes
        self.encoder = encoder
        self._item_vectors = item_vectors

    def score_all(self, query: str) -> npt.NDArray[np.float32]:
        """Return the cosine of `query` with each product, float32 [products]."""
        return np.asarray(self._item_vectors @ self.encoder.encode(query), np.float32)


class FusedPeer:
    """Reciprocal rank fusion of other peers' rankings."""

    def __init__(self, name: str, peers: Sequence[Peer]) -> None:
        self.name = name
        self.size_bytes: int | None = sum(peer.size_bytes or 0 for peer in peers)
        self._peers = peers

    def score_all(self, query: str) -> npt.NDArray[np.float32]:
        """Return the sum of 1 / (RRF_K + rank) over the peers, float32 [products]."""
        return fuse_ranks([peer.score_all(query) for peer in self._peers])


def fuse_ranks(scores: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Return the sum over the rankings of 1 / (RRF_K + rank), rank counted from 1, float32 [products].

    Equal scores share no rank: the earlier product comes first, as in a stable sort.
    """
    fused = np.zeros(len(scores[0]), np.float64)
    for one in scores:
        ranks = np.empty(len(one), np.int64)
        ranks[np.argsort(-one, kind="stable")] = np.arange(1, len(one) + 1)
        fused += 1.0 / (RRF_K + ranks)
    return fused.astype(np.float32)
