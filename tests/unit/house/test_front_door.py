"""The front door with the verbs that a device has: what they need to print help, and what exit codes mean."""

import subprocess
import sys

import pytest

import pocketrec
from edge_runtime.contract.errors import PocketrecError
from pocketrec import verbs
from tests.support.child import pocketrec as command
from tests.support.source_tree import REPOSITORY

DEVICE_VERBS = [verb for verb, (module, _) in verbs.VERBS.items() if module.startswith("edge_runtime")]
SERVER_VERBS = sorted(verbs.SERVER_VERBS)
BUILDER_VERBS = verbs.VERBS.keys() - verbs.SERVER_VERBS - set(DEVICE_VERBS)


def modules_loaded_by_help(verb: str) -> set[str]:
    """Run `pocketrec VERB --help` in a child; return the top names of everything it imported."""
    code = (
        "import sys\nfrom pocketrec import verbs\n"
        "try:\n    verbs.main([sys.argv[1], '--help'])\n"
        "except SystemExit as stop:\n    assert stop.code == 0, stop.code\n"
        "print('modules:', *{name.split('.')[0] for name in sys.modules})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, verb], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: pocketrec {verb}")
    return set(done.stdout.rpartition("modules:")[2].split())


def test_the_overview_names_every_verb(capsys):
    assert verbs.main(["--help"]) == 0
    overview = capsys.readouterr().out
    assert [verb for verb in verbs.VERBS if f"\n  {verb} " not in overview] == []


def test_the_overview_loads_neither_builder_nor_server():
    code = "import sys; from pocketrec import verbs; verbs.main([]); print('modules:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.rpartition("modules:")[2].split()}
    assert loaded & {"train", "compress", "sync_server", "tensorflow", "flask"} == set()


@pytest.mark.parametrize("verb", DEVICE_VERBS)
def test_help_of_a_device_verb_needs_only_the_device(verb):
    assert modules_loaded_by_help(verb) & {"tensorflow", "train", "compress", "sync_server", "flask"} == set()


@pytest.mark.parametrize("verb", SERVER_VERBS)
def test_help_of_a_server_verb_loads_no_builder(verb):
    assert modules_loaded_by_help(verb) & {"tensorflow", "train", "compress"} == set()


def test_an_unknown_verb_is_wrong_usage(capsys):
    assert verbs.main(["serch"]) == 2
    assert "unknown verb 'serch'; did you mean 'search'?" in capsys.readouterr().err


def test_a_word_like_no_verb_suggests_none(capsys):
    assert verbs.main(["xyzzy"]) == 2
    assert capsys.readouterr().err.startswith("pocketrec: unknown verb 'xyzzy'\n")


def test_a_package_that_a_running_command_misses_is_named_with_its_extra(monkeypatch, capsys):
    def run(_args):
        raise ModuleNotFoundError("no such module", name="tensorflow.python")

    monkeypatch.setattr("pocketrec.cli.export.export.run", run)
    assert verbs.main(["export", "model", "--out", "folder"]) == 1
    assert "pip install 'pocketrec[train]'" in capsys.readouterr().err


def test_an_error_of_ours_is_one_sentence_and_exit_code_one(tmp_path):
    done = command("search", tmp_path / "no-bundle", "lamp")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("pocketrec search: ")
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "no-bundle") in done.stderr


def test_terminal_codes_in_an_error_or_a_warning_are_shown_as_escapes(monkeypatch, capsys):
    def run(_args):
        raise PocketrecError("the server says \x1b[2J and \u202e and \ud800")

    monkeypatch.setattr("edge_runtime.cli.answers.search.run", run)
    assert verbs.main(["search", "bundle", "lamp"]) == 1
    assert capsys.readouterr().err == "pocketrec search: the server says \\x1b[2J and \\u202e and \\ud800\n"


def test_wrong_usage_is_exit_code_two():
    assert command("search").returncode == 2


def test_the_command_works_from_any_folder(tmp_path):
    done = command("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, pocketrec.__version__)
