"""A device that does not give the golden answers must not use the bundle."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_runtime import Recommender
from edge_runtime.contract.errors import BundleFormatError, ConfigError, GoldenMismatchError
from edge_runtime.contract.golden import Golden, GoldenHistory, GoldenQuery, read_golden
from edge_runtime.updates.self_test import check_golden, golden_answers
from tests.support.toy_bundle import make_toy_bundle


@dataclass
class FixedAnswer:
    product_ids: tuple[str, ...]


class FixedRecommender:
    """Answers every query and history alike."""

    def __init__(self, vector: list[float], product_ids: tuple[str, ...]) -> None:
        self.vector = np.array(vector, dtype=np.float32)
        self.product_ids = product_ids

    def encode_query(self, text: str):
        return self.vector

    def encode_history(self, history):
        return self.vector

    def search(self, query: str, *, k: int = 10) -> FixedAnswer:
        return FixedAnswer(self.product_ids[:k])

    def recommend(self, history, *, k: int = 10) -> FixedAnswer:
        return FixedAnswer(self.product_ids[:k])


def golden(**fields: object) -> Golden:
    queries = [GoldenQuery("red", [1.0, 0.0], ["a", "b"]), GoldenQuery("blue", [1.0, 0.0], ["b", "a"])]
    values = {"min_cosine": 0.99, "min_overlap": 0.75, "queries": queries, "histories": []} | fields
    return Golden(**values)  # type: ignore[arg-type]


def test_same_answers_in_another_order_pass() -> None:
    proof = check_golden(FixedRecommender([2.0, 0.1], ("a", "b")), golden())
    assert (proof.answers, proof.overlap) == (2, 1.0)
    assert 0.99 < proof.worst_cosine < 1


@pytest.mark.parametrize("vector", [[0.0, 1.0], [1.0, 0.2], [0.0, 0.0], [1.0, 0.0, 0.0]])
def test_other_vector_names_the_first_query(vector: list[float]) -> None:
    with pytest.raises(GoldenMismatchError, match="vector of query 'red'"):
        check_golden(FixedRecommender(vector, ("a", "b")), golden())


def test_other_products_name_the_first_query() -> None:
    with pytest.raises(GoldenMismatchError, match=r"0.500 of the golden products.* query 'red'"):
        check_golden(FixedRecommender([1.0, 0.0], ("a", "c")), golden())
    assert check_golden(FixedRecommender([1.0, 0.0], ("a", "c")), golden(min_overlap=0.5)).overlap == 0.5


def test_history_is_compared_too() -> None:
    histories = [GoldenHistory(["x"], [0.0, 1.0], ["a"])]
    with pytest.raises(GoldenMismatchError, match=r"history \['x'\]"):
        check_golden(FixedRecommender([1.0, 0.0], ("a", "b")), golden(histories=histories))


def test_zero_vector_passes_only_where_zero_was_expected() -> None:
    queries = [GoldenQuery("\u0301", [0.0, 0.0], ["a"])]
    assert check_golden(FixedRecommender([0.0, 0.0], ("a",)), golden(queries=queries)).worst_cosine == 1.0
    with pytest.raises(GoldenMismatchError, match=r"cosine 0\.0000"):
        check_golden(FixedRecommender([1.0, 0.0], ("a",)), golden(queries=queries))


def test_bundle_without_golden_answers_proves_nothing() -> None:
    with pytest.raises(GoldenMismatchError, match="proves nothing"):
        check_golden(FixedRecommender([1.0, 0.0], ()), golden(queries=[]))
    with pytest.raises(ConfigError, match="at least one query"):
        golden_answers(FixedRecommender([1.0, 0.0], ()), queries=[])


def test_answers_that_were_written_down_pass_after_reading(tmp_path: Path) -> None:
    with Recommender(make_toy_bundle(tmp_path)) as recommender:
        written = golden_answers(recommender, queries=["red mug", "\u0301"], histories=[["p3"], []], k=4)
        path = tmp_path / "answers.json"
        path.write_bytes(msgspec.json.encode(written))
        proof = check_golden(recommender, read_golden(path))
    assert proof.answers == 4
    assert proof.overlap == 1.0


@pytest.mark.parametrize("content", [b'{"queries": 7}', b'{"min_cosine": "\xff"}', b'{"a": ' + b"[" * 20_000, b""])
def test_golden_file_that_is_malformed_is_a_bundle_error(tmp_path: Path, content: bytes) -> None:
    with Recommender(make_toy_bundle(tmp_path)) as recommender:
        (tmp_path / "golden.json").write_bytes(content)
        with pytest.raises(BundleFormatError, match=r"golden\.json"):
            recommender.prove()
