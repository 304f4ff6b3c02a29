"""The builder's verbs print their help without TensorFlow, and the written reference is what `--help` says."""

import tomllib

import pytest

import pocketrec
from tests.support.command_reference import command_reference
from tests.support.source_tree import REPOSITORY
from tests.unit.house.test_front_door import BUILDER_VERBS, modules_loaded_by_help


@pytest.mark.parametrize("verb", sorted(BUILDER_VERBS))
def test_help_of_a_builder_verb_loads_no_tensorflow(verb):
    assert modules_loaded_by_help(verb) & {"tensorflow", "tf_keras", "keras"} == set()


def test_the_reference_of_commands_is_what_help_says():
    assert (REPOSITORY / "docs" / "cli.md").read_text() == command_reference(), "write it anew with: make docs"


def test_every_command_prints_json():
    sections = command_reference().split("```\npocketrec ")[1:]
    assert [section.splitlines()[0] for section in sections if "`--json`" not in section] == []


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["version"] == pocketrec.__version__
