"""Ranking for a history: cosine with the history's vector, plus the repeat score of each bought product."""

import numpy as np

from edge_runtime.contract.types import Int32, Mask
from edge_runtime.inference.encoder import HistoryQuery
from edge_runtime.search.ranking import Ranked, best_rows
from edge_runtime.search.vector_index import Catalogue


def rank_history(
    catalogue: Catalogue,
    query: HistoryQuery,
    rows: Int32,
    count: int,
    *,
    eligible: Mask | None = None,
) -> Ranked:
    """Return the best rows by cosine with the query, to which products of the history add their repeats.

    Args:
        catalogue: where the item vectors are.
        query: of the history.
        rows: int32 [n], the rows of the history in the order of `query.repeats`; a row may stand there twice.
        count: how many rows; fewer when fewer are eligible.
        eligible: bool [products], which rows may be returned; None for all.
    """
    # Whole-catalogue arrays instead of np.unique and np.isin, whose first call imports a slow part of NumPy.
    in_history = np.zeros(len(catalogue), dtype=np.bool_)
    in_history[rows] = True
    bought: Int32 = np.flatnonzero(in_history).astype(np.int32)
    repeats = np.bincount(rows, weights=query.repeats, minlength=len(catalogue))[bought].astype(np.float32)
    # A product that loses by its repeats may leave the best; so many more are asked for that the answer stays exact.
    nearest = catalogue.top(query.vector, count + int((repeats < 0).sum()), eligible=eligible)
    fresh = ~in_history[nearest.rows]
    kept = np.ones(len(bought), dtype=np.bool_) if eligible is None else eligible[bought]
    own = catalogue.cosines(query.vector, bought[kept]) + repeats[kept]
    candidates = np.concatenate([nearest.rows[fresh], bought[kept]]).astype(np.int32)
    return best_rows(candidates, np.concatenate([nearest.scores[fresh], own]).astype(np.float32), count)
