"""`pocketrec build` as a user runs it: what it leaves, that it can be killed, that it repeats itself."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from edge_runtime import Recommender
from edge_runtime.contract.bundle import CATALOGUE_ROWS_FILE, ENCODER_FILE, open_bundle
from tests.e2e.conftest import NEW_PRICE
from tests.support.child import pocketrec
from tests.support.source_tree import REPOSITORY

pytestmark = pytest.mark.timeout(7200)


def test_a_bundle_is_whole_and_gives_its_golden_answers(built):
    done = pocketrec("prove", built, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["overlap"] == 1.0


def test_the_report_has_the_quality_of_every_stage(built):
    report = json.loads((built / "report.json").read_bytes())
    stages = [row["stage"] for row in report["quality"]]
    for expected in ("teacher", "student", "pruned", "int8"):
        assert expected in stages
    for row in report["quality"]:
        assert 0 <= row["rerank_ci95"][0] <= row["rerank_ndcg10"] <= row["rerank_ci95"][1] <= 1


def test_no_computation_of_the_encoder_is_left_in_float(built):
    report = json.loads((built / "report.json").read_bytes())
    assert set(report["stages"]["convert"]["in_float"]) <= {"CAST"}


def test_a_search_finds_a_product_by_its_title(built, query):
    with Recommender.open(built) as recommender:
        best = recommender.search(query, k=1).product_ids[0]
        assert recommender.product(best).title == query


def test_evaluation_judges_the_bundle(built, tiny_shop):
    done = pocketrec("evaluate", built, "--shop", tiny_shop, "--json")
    assert done.returncode == 0, done.stderr
    assert {row["mode"] for row in json.loads(done.stdout)["ranking"]} >= {"hybrid", "dense", "lexical"}


def test_a_killed_build_resumes_to_the_same_bytes(built, tiny_shop, tiny_settings, tmp_path):
    bundle, stages = tmp_path / "bundle", tmp_path / "bundle.build"
    # As if it had come so far by itself: what the teacher does takes longest, and is not what is killed.
    for stage in ("teacher", "vectors"):
        shutil.copytree(built.with_name("bundle.build") / stage, stages / stage)
    arguments = ["build", tiny_shop, "--out", bundle, "--config", tiny_settings, "--resume"]
    _kill_when(stages / "student" / "key.txt", arguments)
    assert not bundle.exists(), "a build that was killed leaves no bundle"
    done = pocketrec(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert _kept(done.stderr) >= {"teacher", "vectors"}
    # Equal seeds give equal bytes, killed or not.
    assert (bundle / ENCODER_FILE).read_bytes() == (built / ENCODER_FILE).read_bytes()


def test_new_prices_run_the_catalogue_again_and_train_nothing(built, repriced):
    before, after = (open_bundle(folder).manifest for folder in (built, repriced / "bundle"))
    assert _kept((repriced / "stderr.txt").read_text()) >= {
        "teacher", "vectors", "history", "student", "prune", "quantize", "convert"
    }  # fmt: skip
    changed = {new.path for new in after.artifacts if new not in before.artifacts}
    assert CATALOGUE_ROWS_FILE in changed
    assert ENCODER_FILE not in changed
    with Recommender.open(repriced / "bundle") as recommender:
        product = recommender.product(recommender.search("a", k=1).product_ids[0])
        assert product.price == NEW_PRICE


def test_a_shop_with_an_error_is_named_and_nothing_is_written(tmp_path):
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "products.csv").write_text("product_id,name\np1,lamp\n")
    done = pocketrec("build", shop, "--out", tmp_path / "bundle")
    assert done.returncode == 1
    assert "title" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "bundle").exists()


def _kill_when(file, arguments):
    """Start `pocketrec ARGUMENTS`, and kill it with everything it started a moment after `file` has appeared."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pocketrec", *map(str, arguments)],
        cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while not file.exists():
        assert process.poll() is None, "the build ended before it could be killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def _kept(stderr: str) -> set[str]:
    lines = [line.split() for line in stderr.splitlines()]
    return {words[0] for words in lines if len(words) > 1 and words[1] == "kept"}
