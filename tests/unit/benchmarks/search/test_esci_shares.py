"""Shares pooled over folds, their intervals, and the seconds of builds."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.search import esci_shares
from benchmarks.search.esci_bundle import FoldResult
from benchmarks.search.esci_protocol import QueryFigures, load_esci, queries_of
from benchmarks.search.esci_shares import BuildTime, FoldShares, build_time, fold_shares, pooled_shares, print_shares
from tests.support.esci_shaped import TEST_FOLD, esci_products, write_esci_shaped
from tests.support.toy_bundle import make_toy_bundle


def figures(rerank: float) -> QueryFigures:
    return QueryFigures(rerank, rerank / 2, 1.0)


def result(fold: int, dense: dict[str, float]) -> FoldResult:
    of_mode = {query: figures(value) for query, value in dense.items()}
    return FoldResult(fold, "id", "digest", 1, 1, [], {"dense": of_mode, "hybrid": of_mode})


def shares(teacher: dict[str, float], typo: float, queries: list[str]) -> FoldShares:
    typos = {mode: dict.fromkeys(queries, (0.8, typo)) for mode in ("hybrid", "dense")}
    return FoldShares("id", {query: figures(value) for query, value in teacher.items()}, typos, {"student": 2.0})


RANDOM = {query: figures(0.5) for query in "abc"}


def test_share_is_of_what_lies_above_random_over_all_folds() -> None:
    ours = [result(0, {"a": 0.7, "b": 0.6}), result(1, {"c": 0.8})]
    parts = {0: shares({"a": 0.8, "b": 0.7}, 0.6, ["a", "b"]), 1: shares({"c": 0.7}, 0.8, ["c"])}
    found = {one.name: one for one in pooled_shares(ours, parts, RANDOM)}
    rerank = found["int8 above random, of the teacher's: rerank"]
    assert (rerank.queries, rerank.share) == (3, pytest.approx(0.6 / 0.7))
    assert rerank.ci95[0] < rerank.share < rerank.ci95[1]
    assert found["dense under one typing error, of as typed: rerank"].share == pytest.approx(2.0 / 2.4)


def test_without_the_teachers_of_all_folds_only_typing_errors_are_told() -> None:
    ours = [result(0, {"a": 0.7}), result(1, {"c": 0.8})]
    parts = {0: shares({"a": 0.8}, 0.6, ["a"]), 1: shares({}, 0.6, ["c"])}
    assert [one.name.split()[0] for one in pooled_shares(ours, parts, RANDOM)] == ["hybrid", "dense"]


def test_shared_work_counts_once_and_the_slowest_fold_with_it(tmp_path: Path) -> None:
    done = tmp_path / "stages" / "teacher" / "done.json"
    parts = {0: shares({}, 0.6, []), 1: FoldShares("id", {}, {}, {"student": 5.0, "convert": 1.0})}
    assert build_time(tmp_path, parts).longest_s is None
    done.parent.mkdir(parents=True)
    done.write_text(json.dumps({"seconds": 60.0}))
    time = build_time(tmp_path, parts)
    assert time.longest_s == 66.0
    shown = io.StringIO()
    print_shares([], time, Console(file=shown, width=160))
    assert "1.1 min at most" in shown.getvalue()
    assert BuildTime(60.0, {}).longest_s is None


def test_bundle_is_asked_once_and_another_bundle_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_esci_shaped(tmp_path / "data")
    data, bundle = load_esci(tmp_path / "data"), tmp_path / "bundle"
    (tmp_path / "fold").mkdir()
    make_toy_bundle(bundle, products=esci_products())
    first = fold_shares(tmp_path / "fold", bundle, data, TEST_FOLD)
    assert list(first.typos["hybrid"]) == queries_of(data, TEST_FOLD)
    assert (first.teacher, first.seconds) == ({}, {})
    monkeypatch.setattr(esci_shares, "typo_ndcg", None)
    assert fold_shares(tmp_path / "fold", bundle, data, TEST_FOLD) == first
    (tmp_path / "fold" / "shares.json").write_text("{}")
    with pytest.raises(TypeError):
        fold_shares(tmp_path / "fold", bundle, data, TEST_FOLD)
