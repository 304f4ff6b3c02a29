"""The commands keys, publish and serve, in process."""

import json

import pytest
from werkzeug.test import Client

from sync_server.config import ServerConfig
from sync_server.hosting.serving import _Server
from sync_server.hosting.slow_clients import DeadlineWorker
from sync_server.repository.keys import PASSPHRASE_VARIABLE
from tests.support.fleet_bundles import write_bundle


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    monkeypatch.delenv("POCKETREC_PUBLISH_TOKEN_FILE", raising=False)


def test_unencrypted_keys_are_warned_about(run, tmp_path):
    code, out = run("keys", "init", "--dir", tmp_path / "keys", "--json")
    assert code == 0 and json.loads(out.out)["encrypted"] is False
    assert "warning: the offline keys are not encrypted" in out.err


def test_passphrase_file_encrypts_and_publishes(run, tmp_path, monkeypatch):
    (tmp_path / "passphrase").write_text("open sesame")
    monkeypatch.setenv(PASSPHRASE_VARIABLE, str(tmp_path / "passphrase"))
    code, out = run("keys", "init", "--dir", tmp_path / "keys")
    assert code == 0 and out.err == ""
    run("serve", "--home", tmp_path / "server", "--keys", tmp_path / "keys", "--new-enrollment-code")
    bundle = write_bundle(tmp_path / "bundle")
    publish = ("publish", bundle.folder, "--keys", tmp_path / "keys", "--store", tmp_path / "server")
    assert run(*publish)[0] == 0
    monkeypatch.delenv(PASSPHRASE_VARIABLE)
    code, out = run(*publish)
    assert code == 1 and PASSPHRASE_VARIABLE in out.err


def test_publishing_into_a_home_on_this_machine(run, started):
    bundle = write_bundle(started / "bundle")
    arguments = ("publish", bundle.folder, "--keys", started / "keys", "--store", started / "server")
    code, out = run(*arguments, "--json")
    assert code == 0 and json.loads(out.out)["bundle_id"] == bundle.bundle_id
    assert "uploading encoder.tflite" in out.err
    code, out = run(*arguments)
    assert code == 0 and "as release 2 of channel stable: 0 files" in out.out


def test_publishing_follows_the_servers_settings(run, tmp_path, database_url):
    lines = [
        f'home = "{tmp_path / "server"}"',
        f'database_url = "{database_url}"',
        f'files_url = "file://{tmp_path / "files"}"',
    ]
    (tmp_path / "server.toml").write_text("\n".join(lines))
    settings, keys = ("--config", tmp_path / "server.toml"), ("--keys", tmp_path / "keys")
    run("keys", "init", "--dir", tmp_path / "keys")
    assert run("serve", *settings, *keys, "--new-enrollment-code")[0] == 0
    assert run("publish", write_bundle(tmp_path / "bundle").folder, *keys, *settings)[0] == 0
    assert any(path.is_file() for path in (tmp_path / "files").rglob("*")), "files lie where the settings say"
    assert "targets published" in run("audit", "show", *settings)[1].out
    run("keys", "rotate", "timestamp", *keys)
    code, out = run("serve", *settings, *keys, "--new-enrollment-code")
    assert code == 0 and "keys push" in out.err
    assert run("keys", "push", *keys, *settings)[0] == 0
    assert run("serve", *settings, *keys, "--new-enrollment-code")[1].err == ""


def test_home_whose_database_lies_elsewhere_needs_its_settings(run, started):
    (started / "server" / "server.sqlite").unlink()
    bundle = write_bundle(started / "bundle").folder
    code, out = run("publish", bundle, "--keys", started / "keys", "--store", started / "server")
    assert code == 1 and "--config" in out.err


def test_publishing_needs_a_token_file(run, started):
    bundle = write_bundle(started / "bundle")
    arguments = ("publish", bundle.folder, "--keys", started / "keys", "--server", "http://127.0.0.1:9")
    code, out = run(*arguments)
    assert code == 1 and "--token-file" in out.err
    code, out = run(*arguments, "--token-file", started / "server" / "publisher.token")
    assert code == 1 and "cannot reach" in out.err


def test_something_that_is_no_bundle_is_named(run, started):
    code, out = run("publish", started, "--keys", started / "keys", "--store", started / "server")
    assert code == 1 and "is not a bundle" in out.err


def test_first_start_says_where_the_token_is_but_not_what(run, tmp_path):
    run("keys", "init", "--dir", tmp_path / "keys")
    arguments = ("serve", "--home", tmp_path / "server", "--keys", tmp_path / "keys", "--new-enrollment-code", "--json")
    _code, out = run(*arguments)
    token = (tmp_path / "server" / "publisher.token").read_text().strip()
    assert "publisher.token" in out.err and token not in out.err + out.out
    assert json.loads(out.out)["valid_days"] == 7
    assert run(*arguments)[1].err == ""


def test_export_of_an_empty_server_is_an_empty_file(run, started):
    code, out = run("serve", "--home", started / "server", "--export-feedback", started / "events.jsonl", "--json")
    assert code == 0 and json.loads(out.out) == {"events": 0}
    assert (started / "events.jsonl").read_text() == ""


def test_export_into_a_missing_folder_is_named(run, started):
    code, out = run("serve", "--home", started / "server", "--export-feedback", started / "none" / "events.jsonl")
    assert code == 1 and "cannot write" in out.err


def test_flags_win_over_the_file(run, started, monkeypatch):
    (started / "server.toml").write_text(f'home = "{started / "server"}"\nport = 9000\nworkers = 5\n')
    seen = []
    monkeypatch.setattr("pocketrec.cli.serve.log_as_json", lambda: None)
    monkeypatch.setattr(
        "pocketrec.cli.serve.serve_forever", lambda config, on_ready: (seen.append(config), on_ready("http://x"))
    )
    code, out = run("serve", "--config", started / "server.toml", "--port", "9001")
    assert code == 0 and "on http://x" in out.out
    assert (seen[0].port, seen[0].workers) == (9001, 5)


def test_gunicorn_is_told_the_settings(started):
    config = ServerConfig(home=started / "server", port=0, workers=3, threads=4)
    ready = []
    server = _Server(config, ready.append)
    assert server.cfg.workers == 3 and server.cfg.threads == 4 and server.cfg.worker_class is DeadlineWorker
    app = server.load()
    assert Client(app).get("/healthz").status_code == 200


@pytest.mark.parametrize("verb", ["serve", "keys"])
def test_place_that_is_a_file_is_named(run, tmp_path, verb):
    run("keys", "init", "--dir", tmp_path / "keys")
    (tmp_path / "file").write_text("mine")
    arguments = {
        "serve": ("serve", "--home", tmp_path / "file", "--keys", tmp_path / "keys", "--new-enrollment-code"),
        "keys": ("keys", "init", "--dir", tmp_path / "file"),
    }
    code, out = run(*arguments[verb])
    assert code == 1 and "file" in out.err and "Traceback" not in out.err
    assert (tmp_path / "file").read_text() == "mine"
