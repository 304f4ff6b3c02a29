"""Every test file runs in an environment of the Makefile, and in no second one where nothing differs."""

import re
from pathlib import Path

import pytest

from tests.conftest import BUILDER_FOLDERS
from tests.support.source_tree import REPOSITORY

TESTS = REPOSITORY / "tests"
LISTS = ("BUILDER_TESTS", "LOAD_TESTS", "DEVICE_TESTS", "BROWSER_TESTS")


@pytest.fixture(scope="module")
def makefile():
    return (REPOSITORY / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")


def files_of(makefile: str, name: str) -> set[Path]:
    """Return the test files that `pytest $(name)` collects."""
    definition = re.search(rf"^{name} := (.*)$", makefile, re.MULTILINE)
    assert definition, f"the Makefile defines no {name}"
    words = definition[1].split()
    left_out = [REPOSITORY / word.removeprefix("--ignore=") for word in words if word.startswith("--ignore=")]
    folders = [REPOSITORY / word for word in words if not word.startswith("-")]
    assert [folder for folder in (*folders, *left_out) if not folder.is_dir()] == []
    return {
        path
        for folder in folders
        for path in folder.rglob("test_*.py")
        if not any(other in path.parents for other in left_out)
    }


def test_every_test_file_is_in_one_list(makefile):
    lists = [path for name in LISTS for path in files_of(makefile, name)]
    assert sorted(lists) == sorted(TESTS.rglob("test_*.py"))


def test_what_needs_tensorflow_is_the_builders_list(makefile):
    marked = {path for path in TESTS.rglob("test_*.py") if any(folder in path.parents for folder in BUILDER_FOLDERS)}
    assert files_of(makefile, "BUILDER_TESTS") == marked


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("test-builder", "$(RUN) -m pytest -q $(PARALLEL) $(BUILDER_TESTS)"),
        ("test-builder", "$(RUN) -m pytest -q $(LOAD_TESTS)"),
        ("test-device", ".venv-device/bin/python -m pytest -q $(PARALLEL) $(DEVICE_TESTS)"),
        ("test-web", ".venv-device/bin/python -m pytest -q $(BROWSER_TESTS)"),
    ],
)
def test_each_list_runs_with_make_test(makefile, target, line):
    assert target in re.search(r"^test: (.*?)  ##", makefile, re.MULTILINE)[1].split()
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert line in recipe[1]
