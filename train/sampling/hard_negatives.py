"""Candidate lists for the cross-encoder, and hard negatives without those that are likely positives.

Hard negatives are products that the bi-encoder ranks high and nobody judged. Some of them are relevant, but were never
judged; those that the cross-encoder scores near a known positive are dropped (Qu et al., "RocketQA", 2021).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.contract.types import Float32, Int64
from train.data.tables import Shop
from train.models.cross_encoder import GradedLists
from train.sampling.contrastive_batches import POSITIVE_GAIN, JudgedQuery, judged_queries


@dataclass(frozen=True)
class ScoredLists:
    """Candidates with the scores of a cross-encoder.

    Attributes:
        texts: one for each list.
        rows: int64 [lists, candidates].
        scores: float32 [lists, candidates], logits.
    """

    texts: list[str]
    rows: Int64
    scores: Float32


def training_queries(shop: Shop, *, limit: int, seed: int) -> list[JudgedQuery]:
    """Return up to `limit` queries with a positive: those with judgements of unlike gains first, the others drawn."""
    positive = [query for query in judged_queries(shop) if query.gains.max() >= POSITIVE_GAIN]
    graded = [query for query in positive if np.ptp(query.gains) > 0]
    single = [query for query in positive if np.ptp(query.gains) == 0]
    drawn = [single[row] for row in np.random.default_rng(seed).permutation(len(single))]
    return [*graded, *drawn][:limit]


def unjudged_candidates(cosines: Float32, judged: JudgedQuery, *, skip: int, count: int) -> Int64:
    """Return the `count` products of highest cosine that are not judged, the best `skip` left out.

    Args:
        cosines: float32 [products], of the query.
        judged: its judged products.
        skip: when only the bi-encoder ranks, its very best products are likely to be relevant.
        count: fewer where the catalogue has fewer.
    """
    wanted = min(len(cosines), skip + count + len(judged.rows))
    best = np.argpartition(-cosines, wanted - 1)[:wanted]
    best = best[np.argsort(-cosines[best], kind="stable")]
    return best[~np.isin(best, judged.rows)][skip : skip + count].astype(np.int64)


def without_false_negatives(candidates: Int64, scores: Float32, positive_scores: Float32, *, margin: float) -> Int64:
    """Return the candidates that score lower than the positives' mean by more than `margin`, hardest first.

    Args:
        candidates: int64 [n].
        scores: float32 [n], the cross-encoder's.
        positive_scores: float32 [positives], at least one.
        margin: logits.
    """
    order = np.argsort(-scores, kind="stable")
    return candidates[order[scores[order] < positive_scores.mean() - margin]]


def graded_lists(
    queries: Sequence[JudgedQuery], negatives: Sequence[Int64], cosines: Float32, *, size: int, seed: int
) -> GradedLists:
    """Return lists of `size` candidates: a positive at least, other judged products, and mined negatives of gain 0.

    A query with more judged products than half a list gives several lists.

    Args:
        queries: see `training_queries`; their place is their index.
        negatives: for each query the mined rows, hardest first.
        cosines: float32 [queries, products].
        size: 2 or more.
        seed: of the draw.
    """
    lists: list[tuple[int, Int64, Float32]] = []
    for place, (query, mined) in enumerate(zip(queries, negatives, strict=True)):
        random = np.random.default_rng((seed, place))
        several = range(max(1, len(query.rows) // size))
        lists.extend((place, *_one_list(query, mined, size, random)) for _ in several)
    owners = np.array([owner for owner, _rows, _gains in lists], np.int64)
    rows = np.stack([rows for _owner, rows, _gains in lists])
    gains = np.stack([gains for _owner, _rows, gains in lists])
    return GradedLists(owners, rows, gains, np.take_along_axis(cosines[owners], rows, axis=1))


def _one_list(query: JudgedQuery, mined: Int64, size: int, random: np.random.Generator) -> tuple[Int64, Float32]:
    positive = random.choice(np.flatnonzero(query.gains >= POSITIVE_GAIN))
    others = random.permutation(np.delete(np.arange(len(query.rows)), positive))
    # A quarter of a judged list is mined, most of one with a single positive.
    kept = others[: max(0, size - 1 - min(len(mined), size // 4))]
    hard = mined[: size - 1 - len(kept)]
    rows = np.concatenate([query.rows[[positive, *kept]], hard])
    gains = np.concatenate([query.gains[[positive, *kept]], np.zeros(len(hard), np.float32)])
    missing = size - len(rows)
    return np.pad(rows, (0, missing)), np.pad(gains, (0, missing), constant_values=np.nan).astype(np.float32)


def top_candidates(cosines: Float32, count: int) -> Int64:
    """Return int64 [queries, count], the products of highest cosine, best first."""
    count = min(count, cosines.shape[1])
    best = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(cosines, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1).astype(np.int64)
