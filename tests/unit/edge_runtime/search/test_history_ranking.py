"""Ranking by nearness and learned repeats agrees with scoring every product."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.inference.encoder import HistoryQuery
from edge_runtime.search.explanation import explain_history
from edge_runtime.search.history_ranking import rank_history
from edge_runtime.search.vector_index import Catalogue
from tests.support.toy_bundle import make_toy_bundle

PRODUCTS = 30


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return Catalogue(make_toy_bundle(tmp_path_factory.mktemp("bundle")))


@given(
    history=st.lists(
        st.tuples(st.integers(0, PRODUCTS - 1), st.floats(-2, 2, allow_subnormal=False, width=32)),
        min_size=1,
        max_size=12,
    ),
    count=st.integers(1, PRODUCTS + 5),
    hidden=st.sets(st.integers(0, PRODUCTS - 1), max_size=8),
)
def test_answer_is_that_of_scoring_every_product(
    catalogue: Catalogue, history: list[tuple[int, float]], count: int, hidden: set[int]
) -> None:
    rows = np.array([row for row, _ in history], dtype=np.int32)
    repeats = np.array([repeat for _, repeat in history], dtype=np.float32)
    vector = catalogue.vectors_of(rows[:1])[0]
    vector /= np.linalg.norm(vector)
    eligible = np.array([row not in hidden for row in range(PRODUCTS)])
    ranked = rank_history(catalogue, HistoryQuery(vector, repeats), rows, count, eligible=eligible)
    scores = catalogue.cosines(vector, np.arange(PRODUCTS, dtype=np.int32))
    np.add.at(scores, rows, repeats)
    expected = np.sort(scores[eligible])[::-1][:count]
    np.testing.assert_allclose(ranked.scores, expected, atol=1e-5)
    np.testing.assert_allclose(scores[ranked.rows], ranked.scores, atol=1e-5)
    assert len(set(ranked.rows.tolist())) == len(ranked.rows)
    assert not hidden & set(ranked.rows.tolist())


class RepeatingEncoder:
    """Adds 0.5 to every product that was bought; nearness is 0."""

    def read_history(self, items: np.ndarray) -> HistoryQuery:
        return HistoryQuery(np.zeros(4, np.float32), np.full(len(items), 0.5, np.float32))


def test_repeated_purchase_explains_its_own_return() -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 1, 0]]
    explanation = explain_history(RepeatingEncoder(), vectors, ["a", "b", "a"], "a", vectors[0])  # type: ignore[arg-type]
    assert explanation.score == 1.0
    assert [item.contribution for item in explanation.items] == [0.5, 0.0, 0.5]
