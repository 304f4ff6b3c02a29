"""Commands run in this process, without the passphrase of whoever runs the tests."""

import pytest

from pocketrec.verbs import main
from sync_server.repository.keys import PASSPHRASE_VARIABLE


@pytest.fixture
def run(capsys, monkeypatch):
    """Return a function that runs a command: (exit code, what it printed)."""
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)

    def run_command(*arguments):
        code = main([str(argument) for argument in arguments])
        return code, capsys.readouterr()

    return run_command


@pytest.fixture
def started(run, tmp_path):
    """The folder of a key folder and a server's home, after the server's first start."""
    run("keys", "init", "--dir", tmp_path / "keys")
    run("serve", "--home", tmp_path / "server", "--keys", tmp_path / "keys", "--new-enrollment-code")
    return tmp_path
