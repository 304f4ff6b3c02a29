import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import benchmarks.search.esci
from benchmarks.peers.latency import measure_in_turns
from benchmarks.search.esci import chosen_folds, data_folder, main, parse_arguments, print_stages
from benchmarks.search.esci_bundle import FoldResult, build_fold, judge_bundle, write_fold_shop
from benchmarks.search.esci_choosing import choosing_queries
from benchmarks.search.esci_protocol import load_esci, shop_without
from benchmarks.search.esci_shared import shared_shop
from edge_runtime.contract.errors import ConfigError, PocketrecError
from edge_runtime.recommender import Recommender
from tests.support.esci_shaped import QUERIES, TEST_FOLD, esci_products, write_esci_shaped
from tests.support.toy_bundle import make_toy_bundle
from train.data.reading import read_shop
from train.data.splits import NearCopies


@pytest.fixture
def small_world(tmp_path, tiny_minilm, monkeypatch):
    """Small data, a tiny MiniLM, a toy bundle; returns the folder in which all of it lies."""
    write_esci_shaped(tmp_path / "data")
    make_toy_bundle(tmp_path / "bundle", products=esci_products())
    monkeypatch.setenv("POCKETREC_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("benchmarks.peers.model2vec.DIM", 4)
    quick = functools.partial(measure_in_turns, rounds=20, warm_up_rounds=1)
    monkeypatch.setattr(benchmarks.search.esci, "measure_in_turns", quick)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["esci", *arguments, "--out", "result.json"])
    return main()


def test_bundle_and_peers_stand_in_one_table_and_one_file(small_world, monkeypatch, capsys):
    assert run(monkeypatch, "--bundle", "bundle", "--work", "w") == 0
    result = json.loads((small_world / "result.json").read_text())
    names = [row["name"] for row in result["rows"]]
    assert names[:3] == ["random", "pocketrec int8 hybrid", "pocketrec int8 dense"]
    assert len(names) == 8
    assert (result["config_digest"], result["folds"], result["queries"]) == ("0" * 64, [0, 1, 2, 3, 4], len(QUERIES))
    untouched = result["rows_of_queries_that_chose_nothing"]
    assert [row["name"] for row in untouched] == names
    chose = len(choosing_queries(load_esci(small_world / "data")))
    assert {row["queries"] for row in untouched} == {len(QUERIES) - chose}
    assert {row["queries"] for row in result["rows"]} == {len(QUERIES)}
    ours = result["rows"][1]
    assert ours["bytes"] == sum(
        (small_world / "bundle" / name).stat().st_size for name in ("encoder.tflite", "tokenizer.json")
    )
    assert 0 < ours["encode_p50_ms"] <= ours["encode_p99_ms"]
    assert ours["rerank_vs_hybrid"] is None
    assert len(result["rows"][2]["rerank_vs_hybrid"]) == 3
    assert result["encode_speed_up_p50"] > 0
    assert "figures" not in result["builds"][0]
    shown = capsys.readouterr()
    assert "pocketrec int8 hybrid" in shown.out
    assert f"{len(QUERIES) - chose} queries that chose no setting" in shown.out
    assert "pocketrec" not in shown.err.replace("pocketrec build", "")


def test_finished_fold_is_not_ranked_again(small_world, monkeypatch):
    assert run(monkeypatch, "--bundle", "bundle", "--work", "w", "--folds", str(TEST_FOLD)) == 0
    first = (small_world / "result.json").read_text()

    def refuse(*args, **kwargs):
        raise AssertionError("ranked again")

    monkeypatch.setattr(Recommender, "search", refuse)
    assert run(monkeypatch, "--bundle", "bundle", "--work", "w", "--folds", str(TEST_FOLD)) == 0
    again = json.loads((small_world / "result.json").read_text())
    assert [row["rerank_ndcg10"] for row in again["rows"]] == [
        row["rerank_ndcg10"] for row in json.loads(first)["rows"]
    ]


def test_kept_figures_of_another_bundle_are_not_taken(small_world, monkeypatch):
    assert run(monkeypatch, "--bundle", "bundle", "--work", "w", "--folds", str(TEST_FOLD)) == 0
    make_toy_bundle(small_world / "second", products=esci_products(), version=2)
    assert run(monkeypatch, "--bundle", "second", "--work", "w", "--folds", str(TEST_FOLD)) == 0
    with Recommender.open(small_world / "second") as second:
        assert (
            json.loads((small_world / "result.json").read_text())["builds"][0]["bundle_id"] == second.bundle.bundle_id
        )


@pytest.mark.parametrize("content", ["{", "{}", '{"figures": {"hybrid": {"q": {"no_such_figure": 1}}, "dense": {}}}'])
def test_unreadable_kept_figures_are_made_again(small_world, monkeypatch, content):
    kept = small_world / f"w/fold-{TEST_FOLD}/figures.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(content)
    data = load_esci(small_world / "data")
    result = judge_bundle(small_world / "bundle", data, TEST_FOLD, QUERIES[:1], kept=kept)
    assert list(result.figures["hybrid"]) == [QUERIES[0]]
    assert judge_bundle(small_world / "bundle", data, TEST_FOLD, QUERIES[:1], kept=kept) == result


def test_peers_alone_need_no_bundle(small_world, monkeypatch):
    assert run(monkeypatch, "--peers-only", "--work", "w") == 0
    result = json.loads((small_world / "result.json").read_text())
    assert len(result["rows"]) == 6
    assert (result["config_digest"], result["builds"], result["encode_speed_up_p50"]) == (None, [], None)


def test_missing_data_is_one_sentence_and_exit_code_one(monkeypatch, capsys):
    monkeypatch.delenv("POCKETREC_DATA", raising=False)
    assert run(monkeypatch, "--peers-only") == 1
    assert capsys.readouterr().err.startswith("benchmarks.search.esci: POCKETREC_DATA is ''")


def test_data_folder_must_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("POCKETREC_DATA", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="set it to the folder"):
        data_folder()


def test_folds_come_from_the_option_then_the_environment_then_all(monkeypatch):
    monkeypatch.delenv("FOLDS", raising=False)
    assert chosen_folds(parse_arguments([]).folds) == [0, 1, 2, 3, 4]
    monkeypatch.setenv("FOLDS", "3")
    assert chosen_folds(parse_arguments([]).folds) == [3]
    assert chosen_folds(parse_arguments(["--folds", "2, 0,2"]).folds) == [0, 2]


@pytest.mark.parametrize("folds", ["5", "a", "0,,1", "-1", " "])
def test_folds_that_do_not_exist_are_refused(folds):
    with pytest.raises(ConfigError, match="expected numbers from 0 to 4"):
        chosen_folds(folds)


def test_fold_is_written_as_a_shop_that_reads_back(tmp_path):
    write_esci_shaped(tmp_path / "data")
    data = load_esci(tmp_path / "data")
    made = shop_without(data, TEST_FOLD)
    write_fold_shop(made, tmp_path / "shop")
    shop = read_shop(tmp_path / "shop")
    assert shop.products == made.products
    assert {(one.query, shop.products[one.row].product_id, one.gain) for one in shop.judgements} == {
        (pair.query, pair.product_id, pair.gain) for pair in made.labelled
    }
    assert set(shop.queries) == set(made.queries)
    before = shop.digest
    write_fold_shop(made, tmp_path / "shop")
    assert read_shop(tmp_path / "shop").digest == before


def test_each_fold_is_built_by_the_command_that_users_type(small_world, monkeypatch):
    commands = []

    def build(command, **kwargs):
        commands.append(command)
        make_toy_bundle(small_world / command[command.index("--out") + 1], products=esci_products())
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", build)
    monkeypatch.setattr(
        benchmarks.search.esci, "shared_teacher", lambda *arguments, **options: Path("w/shared/teacher")
    )
    assert run(monkeypatch, "--work", "w", "--folds", str(TEST_FOLD), "--config", "c.toml") == 0
    folder = f"w/fold-{TEST_FOLD}"
    arguments = ["build", f"{folder}/shop", "--out", f"{folder}/bundle", "--resume"]
    arguments += ["--teacher", "w/shared/teacher", "--remember", "w/vectors", "--config", "c.toml"]
    assert commands == [[sys.executable, "-m", "pocketrec", *arguments]]
    assert QUERIES[0] not in read_shop(small_world / folder / "shop").queries


def test_build_that_fails_ends_the_benchmark(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command, **kwargs: subprocess.CompletedProcess(command, 3))
    with pytest.raises(PocketrecError, match="ended with exit code 3"):
        build_fold(tmp_path / "shop", tmp_path / "bundle", config=None, teacher=tmp_path, remembered=tmp_path)


def test_result_goes_beside_the_script_by_default():
    assert parse_arguments([]).out == benchmarks.search.esci.RESULT_FILE


def test_stages_of_the_builds_are_averaged_by_their_queries(capsys):
    def build(fold, stages):
        return FoldResult(fold, "b", "c", 1, 2, stages, {})

    def stage(name, queries, rerank):
        return {"stage": name, "queries": queries, "rerank_ndcg10": rerank, "retrieval_ndcg10": 0.5}

    builds = [build(0, [stage("teacher", 10, 0.6), stage("int8", 10, 0.4)]), build(1, [stage("teacher", 30, 0.8)])]
    print_stages(builds, Console(width=120))
    lines = capsys.readouterr().out.splitlines()
    assert any("teacher" in line and "40" in line and "0.750" in line for line in lines)
    assert any("int8" in line and "10" in line and "0.400" in line for line in lines)


def test_builds_without_a_report_print_no_stages(capsys):
    print_stages([FoldResult(0, "b", "c", 1, 2, [], {})], Console(width=120))
    assert capsys.readouterr().out == ""


def test_what_folds_share_overlaps_no_judged_query(tmp_path):
    write_esci_shaped(tmp_path)
    esci_data = load_esci(tmp_path)
    queries = {pair.query for pair in shared_shop(esci_data).labelled}
    assert queries
    assert not any(NearCopies(esci_data.judged).has(query) for query in queries)
