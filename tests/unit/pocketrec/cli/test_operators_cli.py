"""The commands operators, devices and audit, in process."""

import json

import pytest

from pocketrec.cli import operators


@pytest.fixture
def home(started):
    (started / "password").write_text("correct horse battery\n")
    return started / "server"


def add(run, home, name="anna", role="admin"):
    return run(
        *("operators", "add", name, "--role", role, "--home", home),
        *("--password-file", home.parent / "password", "--json"),
    )


def test_accounts_are_made_listed_and_changed(run, home):
    assert json.loads(add(run, home)[1].out) == {"name": "anna", "role": "admin"}
    assert add(run, home)[0] == 1
    for words in (("role", "anna", "viewer"), ("disable", "anna"), ("enable", "anna")):
        assert run("operators", *words, "--home", home)[0] == 0
    run("operators", "reset", "anna", "--home", home, "--password-file", home.parent / "password")
    (account,) = json.loads(run("operators", "list", "--home", home, "--json")[1].out)
    assert (account["role"], account["disabled"]) == ("viewer", False)
    assert "anna  viewer  no" in run("operators", "list", "--home", home)[1].out


def test_key_is_shown_once(run, home):
    add(run, home)
    made = ("operators", "key", "anna", "--role", "publisher", "--label", "ci", "--home", home, "--json")
    key = json.loads(run(*made)[1].out)
    listed = run("operators", "keys", "--home", home)[1].out
    assert key["key_id"] in listed and key["secret"] not in listed and "publisher.token" in listed
    assert run("operators", "revoke-key", key["key_id"], "--home", home)[0] == 0
    keys = json.loads(run("operators", "keys", "--home", home, "--json")[1].out)
    assert {item["key_id"]: item["active"] for item in keys}[key["key_id"]] is False


def test_password_is_asked_for_twice(run, home, monkeypatch):
    answers = ["correct horse battery", "another one entirely", "correct horse battery", "correct horse battery"]
    monkeypatch.setattr(operators.getpass, "getpass", lambda _: answers.pop(0))
    monkeypatch.setattr(operators.sys.stdin, "isatty", lambda: True, raising=False)
    words = ("operators", "add", "anna", "--role", "admin", "--home", home)
    code, out = run(*words)
    assert code == 1 and "differ" in out.err
    assert run(*words)[0] == 0
    monkeypatch.setattr(operators.sys.stdin, "isatty", lambda: False, raising=False)
    code, out = run(*words)
    assert code == 1 and "--password-file" in out.err
    code, out = run(*words, "--password-file", home / "none")
    assert code == 1 and "cannot read the password" in out.err


def test_audit_is_shown_checked_and_exported(run, home, tmp_path):
    add(run, home)
    assert "command line: operator added anna" in run("audit", "show", "--home", home)[1].out
    assert json.loads(run("audit", "show", "--home", home, "--json", "--count", "1")[1].out)[0]["subject"] == "anna"
    head = json.loads(run("audit", "verify", "--home", home, "--json")[1].out)
    noted = f"{head['number']}:{head['sha256']}"
    assert run("audit", "export", tmp_path / "audit.jsonl", "--home", home)[0] == 0
    assert run("audit", "verify", "--file", tmp_path / "audit.jsonl", "--head", noted)[0] == 0
    code, out = run("audit", "verify", "--home", home, "--head", f"1:{'f' * 64}")
    assert code == 3 and "rewritten" in out.err


def test_devices_are_listed_and_revoked(run, home):
    assert json.loads(run("devices", "list", "--home", home, "--json")[1].out) == []
    code, out = run("devices", "revoke", "none", "--home", home)
    assert code == 1 and "no device 'none'" in out.err


def test_home_that_was_never_started_is_named(run, tmp_path):
    code, out = run("operators", "list", "--home", tmp_path)
    assert code == 1 and "not a server's home yet" in out.err
