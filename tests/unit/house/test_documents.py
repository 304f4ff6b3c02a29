"""The documents hold together: links lead somewhere, commands and options in the README exist, every page is listed."""

import re
import shlex

import pytest

from pocketrec import verbs
from tests.support.source_tree import REPOSITORY

PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_lead_to_files_that_exist(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert dead == []


def test_every_page_is_listed_in_the_index():
    docs = REPOSITORY / "docs"
    index = (docs / "README.md").read_text(encoding="utf-8")
    pages = [page.relative_to(docs).as_posix() for page in docs.rglob("*.md") if page.name != "README.md"]
    assert [page for page in pages if f"({page})" not in index] == []


def test_every_path_that_the_architecture_page_names_exists():
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = [word for word in re.findall(r"`([^`\n]+)`", page) if "/" in word and " " not in word]
    assert len(named) >= 60
    assert [path for path in named if not (REPOSITORY / path).exists()] == []


def commands_in(text: str) -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words for words in lines if words]


def test_commands_in_the_readme_exist():
    commands = commands_in((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    ours = [words for words in commands if words[0].endswith("pocketrec")]
    assert len(ours) >= 8
    assert [words for words in ours if words[1] not in verbs.VERBS] == []


def test_options_in_the_readme_exist():
    reference = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", reference, re.DOTALL | re.MULTILINE))
    unknown = [
        f"{words[1]} {word}"
        for words in commands_in((REPOSITORY / "README.md").read_text(encoding="utf-8"))
        if words[0].endswith("pocketrec")
        for word in words[2:]
        if word.startswith("--") and f"{word} " not in sections[words[1]] and f"`{word}`" not in sections[words[1]]
    ]
    assert unknown == []


def test_make_targets_in_the_documents_exist():
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        word
        for page in PAGES
        for words in commands_in(page.read_text(encoding="utf-8"))
        if words[0] == "make"
        for word in words[1:]
    }
    assert {"demo", "test"} <= named
    assert named - targets == set()


def test_the_ci_runs_the_test_command_of_the_readme():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert re.search(r"<!-- test command -->\n```bash\nmake test\b", readme)
    assert "<!-- test command -->" in (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
