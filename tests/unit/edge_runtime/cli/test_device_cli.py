"""The device's commands, through the front door."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import pocketrec
from pocketrec import verbs
from tests.support.toy_bundle import make_toy_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_toy_bundle(tmp_path_factory.mktemp("bundle")).folder)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = verbs.main(arguments)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_search_prints_a_table_and_its_time_beside(bundle: str, capsys) -> None:
    code, out, err = run(capsys, "search", bundle, "red lmap", "-k", "2")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["1", "2"]
    assert "p0   large red lamp  acme  5.00" in out
    assert "no product has 'lmap', looked for lamp" in err
    assert "2 of 30 products in" in err


def test_search_in_json_is_one_object(bundle: str, capsys) -> None:
    arguments = ("search", bundle, "red lamp", "--json", "--where", '{"price": {"lt": 7}}', "--exclude", "p0")
    code, out, _ = run(capsys, *arguments)
    answer = json.loads(out)
    assert code == 0
    assert [row["product_id"] for row in answer["products"]] == ["p1"]
    assert answer["products"][0]["attributes"]["color"] == "blue"
    assert answer["latency_ms"] > 0


def test_product_without_price_is_shown_without(bundle: str, capsys) -> None:
    _, out, _ = run(capsys, "search", bundle, "white candle", "-k", "1", "--mode", "lexical")
    assert out.rstrip().endswith("small white candle  casa")


def test_recommend_and_its_cold_start(bundle: str, capsys) -> None:
    _, out, err = run(capsys, "recommend", bundle, "p1", "p2", "--new", "--json", "-k", "30")
    assert not {"p1", "p2"} & {row["product_id"] for row in json.loads(out)["products"]}
    code, out, err = run(capsys, "recommend", bundle, "-k", "1")
    assert (code, out.split()[2]) == (0, "p0")
    assert "most popular" in err


def test_similar(bundle: str, capsys) -> None:
    code, out, _ = run(capsys, "similar", bundle, "p3", "-k", "3", "--json")
    assert code == 0
    assert "p3" not in [row["product_id"] for row in json.loads(out)["products"]]


def test_score_keeps_the_order_of_its_arguments(bundle: str, capsys) -> None:
    _, out, _ = run(capsys, "score", bundle, "blue", "p1", "p0")
    assert [line.split()[1] for line in out.splitlines()] == ["p1", "p0"]
    _, out, _ = run(capsys, "score", bundle, "blue", "p1", "p0", "--json", "--mode", "dense")
    assert list(json.loads(out)["scores"]) == ["p1", "p0"]


def test_explain_a_query_and_a_history(bundle: str, capsys) -> None:
    _, out, _ = run(capsys, "explain", bundle, "p0", "--query", "red lmap")
    assert "lmap (read as lamp)  in title, description" in out
    _, out, _ = run(capsys, "explain", bundle, "p0", "--history", "p1", "p17")
    assert [line.split()[1] for line in out.splitlines()[2:]] == ["p1", "p17"]
    _, out, _ = run(capsys, "explain", bundle, "p0", "--query", "red", "--json")
    assert json.loads(out)["words"][0]["matched_fields"] == ["title", "attributes", "description"]


def test_prove_names_the_bundle(bundle: str, capsys) -> None:
    code, out, _ = run(capsys, "prove", bundle)
    assert code == 0
    assert "6 golden answers" in out
    _, out, _ = run(capsys, "prove", bundle, "--json")
    assert len(json.loads(out)["bundle_id"]) == 64


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["search", "BUNDLE", " "], "the text is empty"),
        (["search", "BUNDLE", "a", "-k", "0"], "at least 1"),
        (["search", "BUNDLE", "a", "--where", "{"], "--where takes JSON"),
        (["search", "BUNDLE", "a", "--where", "[" * 100_000], "--where takes JSON"),
        (["search", "BUNDLE", "a", "--where", "[1]"], "--where takes a JSON object"),
        (["search", "BUNDLE", "a", "--threads", "0"], "num_threads must be at least 1"),
        (["similar", "BUNDLE", "zzz"], "no product 'zzz'"),
        (["explain", "BUNDLE", "p0", "--history", "zzz"], "nothing to explain"),
    ],
)
def test_wrong_argument_ends_with_one_sentence(bundle: str, capsys, arguments: list[str], text: str) -> None:
    code, out, err = run(capsys, *(bundle if one == "BUNDLE" else one for one in arguments))
    assert (code, out) == (1, "")
    assert text in err
    assert "Traceback" not in err


def test_argument_that_is_not_utf8_does_not_break_the_output(bundle: str) -> None:
    command = [sys.executable, "-m", "pocketrec", "recommend", bundle, b"\xff", "--json"]
    root = Path(pocketrec.__file__).parents[1]
    done = subprocess.run(command, capture_output=True, check=False, cwd=root, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["cold_start"] is True
