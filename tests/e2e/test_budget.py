"""`pocketrec build` under a budget, from the stages of a build that was made before."""

import json

import pytest

from tests.e2e.conftest import SMALL_SEARCH
from tests.support.child import pocketrec

pytestmark = pytest.mark.timeout(7200)


@pytest.fixture
def searched(copied_build, tiny_settings):
    """Arguments of a build under a budget, with teacher and vectors from the build before."""
    config = copied_build / "search.toml"
    config.write_text(tiny_settings.read_text() + SMALL_SEARCH)
    return ["build", copied_build / "shop", "--out", copied_build / "bundle", "--config", config, "--resume"]


def test_a_budget_is_kept_by_what_is_built_and_the_teacher_is_not_taught_again(searched, copied_build):
    done = pocketrec(*searched, "--max-bytes", "1MB", "--json")
    assert done.returncode == 0, done.stderr
    assert "teacher          kept" in done.stderr
    report = json.loads(done.stdout)
    chosen = report["budget"]["points"][report["budget"]["chosen"]]
    files = report["bytes"]
    assert chosen["bytes"] == files["encoder.tflite"] + files["tokenizer.json"] <= 1_000_000
    assert report["settings"]["student"]["hidden"] == chosen["hidden"]
    assert report["stages"]["convert"]["shipped"] == chosen["variant"]
    assert "Size against quality" in (copied_build / "bundle" / "report.html").read_text()
    again = pocketrec(*searched, "--max-bytes", "1kB", "--json")
    assert again.returncode == 3
    assert "no student holds the budget; the nearest is bag 16" in again.stderr
    assert "teacher" not in again.stderr.replace("the teacher", "")
    assert (copied_build / "bundle" / "report.json").exists(), "a failed gate leaves the older bundle"
