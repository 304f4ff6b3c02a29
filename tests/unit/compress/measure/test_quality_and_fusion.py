import math

import numpy as np
import pytest

from compress.fusion import (
    DEFAULT_FUSION,
    MIN_QUERIES,
    QueryScores,
    cross_fitted_hybrid,
    learn_coverage_weights,
    learn_dense_weight,
)
from compress.measure.quality import ndcg_by_query, rank_quality, unit_rows
from edge_runtime.search.lexical import LexicalParts
from train.data.tables import Judgement

DEFAULT = DEFAULT_FUSION.dense_weight


def judgements(query, gains):
    return [Judgement(query, row, gain) for row, gain in gains.items()]


def scores(*values):
    return np.array(values, dtype=np.float32)


def dcg(*gains):
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))


def test_ndcg_is_that_computed_by_hand():
    judged = {"q": judgements("q", {0: 1.0, 1: 0.0, 3: 0.5})}
    # Judged products come in the order 1, 3, 0; the whole catalogue in the order 2 (not judged), 1, 3, 0.
    found = ndcg_by_query(judged, [scores(0.1, 0.8, 0.9, 0.3)])
    ideal = dcg(1.0, 0.5)
    np.testing.assert_allclose(found, [[dcg(0.0, 0.5, 1.0) / ideal, dcg(0.0, 0.0, 0.5, 1.0) / ideal]], rtol=1e-6)


def test_only_ten_retrieved_products_count():
    judged = {"q": judgements("q", {11: 1.0, 0: 0.0})}
    falling = np.linspace(1, 0, 12, dtype=np.float32)
    assert ndcg_by_query(judged, [falling])[0, 1] == 0.0
    assert ndcg_by_query(judged, [-falling])[0, 1] == 1.0


def test_queries_without_a_gain_are_left_out():
    judged = {"a": judgements("a", {0: 0.0, 1: 0.0}), "b": judgements("b", {0: 1.0, 1: 0.0})}
    quality = rank_quality("student", judged, [scores(1, 0), scores(1, 0)])
    assert (quality.stage, quality.queries, quality.rerank_ndcg10, quality.retrieval_ndcg10) == ("student", 1, 1.0, 1.0)


def test_no_query_with_a_gain_has_no_quality():
    assert rank_quality("student", {"a": judgements("a", {0: 0.0})}, [scores(1)]) is None
    assert ndcg_by_query({}, []).shape == (0, 2)


def test_the_mean_lies_within_its_interval():
    random = np.random.default_rng(0)
    judged = {f"q{n}": judgements(f"q{n}", dict(enumerate(random.random(8)))) for n in range(20)}
    quality = rank_quality("student", judged, random.random((20, 8)).astype(np.float32))
    assert quality.rerank_ci95[0] < quality.rerank_ndcg10 < quality.rerank_ci95[1]
    assert quality.retrieval_ci95[0] < quality.retrieval_ndcg10 < quality.retrieval_ci95[1]


def test_scores_of_another_number_of_queries_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        ndcg_by_query({"a": judgements("a", {0: 1.0})}, [])


def test_unit_rows_have_length_one_and_zero_stays_zero():
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert rows.dtype == np.float32


RIGHT, WRONG = scores(0.9, 0.1, 0.0, 0.2), scores(0.0, 0.8, 0.9, 0.7)
FAR_WRONG = scores(-0.9, 0.8, 0.9, 0.7)


def constructed(*, dense_is_right, queries=6):
    judged = {f"q{n}": judgements(f"q{n}", {0: 1.0, 1: 0.0, 2: 0.0}) for n in range(queries)}
    pair = (RIGHT, WRONG) if dense_is_right else (FAR_WRONG, RIGHT)
    return judged, {query: QueryScores(*pair) for query in judged}


def ranks_first(values, row=0):
    return int(np.argmax(values)) == row


def test_the_weight_goes_to_the_score_that_is_right():
    dense, lexical = (learn_dense_weight(*constructed(dense_is_right=right)) for right in (True, False))
    assert lexical < 0.5 < dense
    _judged, made = constructed(dense_is_right=True)
    assert ranks_first(made["q0"].hybrid(dense))


def test_equal_weights_leave_the_default():
    judged = {"q": judgements("q", {0: 1.0, 1: 0.0})}
    assert learn_dense_weight(judged, {"q": QueryScores(scores(1, 0), scores(1, 0))}) == DEFAULT


def test_no_query_with_a_gain_leaves_the_default():
    assert learn_dense_weight({"q": judgements("q", {0: 0.0})}, {"q": QueryScores(RIGHT, WRONG)}) == DEFAULT


def test_both_scores_are_needed_where_neither_ranks_alone():
    judged = {"q": judgements("q", {0: 1.0, 1: 0.0, 2: 0.0})}
    weight = learn_dense_weight(judged, {"q": QueryScores(scores(0.8, 0.9, -1.0), scores(4.0, 0.0, 5.0))})
    assert 0.0 < weight < 1.0


def test_weights_are_cross_fitted_and_never_use_their_own_query():
    judged, dense = constructed(dense_is_right=True)
    lexical = constructed(dense_is_right=False)[1]
    # Even queries are right by meaning, odd ones by words: each half's weight comes from the other, and is wrong.
    mixed = {query: (lexical if number % 2 else dense)[query] for number, query in enumerate(judged)}
    assert not any(ranks_first(values) for values in cross_fitted_hybrid(judged, mixed))
    assert all(ranks_first(values) for values in cross_fitted_hybrid(judged, dense))


def test_a_single_query_gets_the_default_weight():
    judged, made = constructed(dense_is_right=True, queries=1)
    np.testing.assert_array_equal(cross_fitted_hybrid(judged, made)[0], made["q0"].hybrid(DEFAULT))


def test_a_single_query_does_not_move_the_weight():
    judged, made = constructed(dense_is_right=True, queries=12)
    equal = {query: QueryScores(RIGHT, RIGHT) for query in judged}
    assert learn_dense_weight(judged, {**equal, "q0": made["q0"]}) == DEFAULT
    assert learn_dense_weight(judged, {**equal, **dict(list(made.items())[:8])}) > DEFAULT


def lexical_parts(*, bm25, any_field, brand):
    return LexicalParts(scores(*bm25), {"any": scores(*any_field), "brand": scores(*brand)})


def brand_decides(queries):
    judged = {f"q{n}": judgements(f"q{n}", {0: 1.0, 1: 0.0, 2: 0.0}) for n in range(queries)}
    parts = lexical_parts(bm25=(0.0, 9.0, 4.0), any_field=(0.2, 1.0, 0.8), brand=(0.9, 0.0, 0.0))
    return judged, dict.fromkeys(judged, parts)


def test_coverage_weights_follow_what_training_queries_want():
    judged, parts = brand_decides(MIN_QUERIES)
    learned = learn_coverage_weights(judged, parts)
    assert learned["brand"] * 0.9 > 0.8 * learned["any"] + 0.8
    assert ranks_first(parts["q0"].weighed(learned))


def test_few_training_queries_leave_the_default_coverage():
    assert learn_coverage_weights(*brand_decides(MIN_QUERIES - 1)) == DEFAULT_FUSION.coverage_weights
