"""Enrolling a fleet: one key for many devices, within its limit, its rate and its time; attestation; without any code."""

import hashlib
import logging
import time

import pytest
from sqlalchemy import text

from edge_runtime.contract.errors import ConfigError, HttpStatusError
from edge_runtime.node import enroll
from pocketrec.verbs import main
from sync_server.devices.attestation import Verdict
from sync_server.devices.enrollment_keys import EnrollmentKeys
from sync_server.errors import RequestError
from tests.support.server_simulator import URL, ServerSimulator
from tests.unit.sync_server.devices.test_registry import admin_headers

on_both_databases = pytest.mark.usefixtures("database_url")


def new_key(server, *, devices=3, per_minute=100, valid_days=7):
    return server.services.enrollment_keys.create(
        "app 1.0", devices=devices, per_minute=per_minute, valid_days=valid_days, actor="ann"
    )


def ask(server, code, credential, **more):
    return server.client.post("/v1/devices/enroll", json={"code": code, "credential": credential, **more})


@on_both_databases
def test_key_enrolls_devices_up_to_its_limit(server):
    key = new_key(server, devices=2)
    names = {ask(server, key.secret, letter * 43).json["device_id"] for letter in "ab"}
    assert len(names) == 2
    # A lost answer costs nothing, and counts no second device.
    assert ask(server, key.secret, "a" * 43).json["device_id"] in names
    refused = ask(server, key.secret, "c" * 43)
    assert refused.status_code == 403 and "all of its 2 devices" in refused.json["error"]
    (view,) = server.services.enrollment_keys.every_key()
    assert (view.devices, view.device_limit, view.active) == (2, 2, True)


@on_both_databases
def test_rate_is_per_minute(server):
    key = new_key(server, per_minute=1)
    server.pass_time(seconds=60 - server.now.timestamp() % 60)
    assert ask(server, key.secret, "a" * 43).status_code == 201
    refused = ask(server, key.secret, "b" * 43)
    assert refused.status_code == 429 and refused.headers["Retry-After"]
    server.pass_time(minutes=1)
    assert ask(server, key.secret, "b" * 43).status_code == 201


@on_both_databases
def test_expired_or_revoked_key_enrolls_nobody(server):
    old, stolen = new_key(server, valid_days=1), new_key(server, valid_days=30)
    server.services.enrollment_keys.revoke(stolen.key_id, actor="ann")
    server.pass_time(days=2)
    for key in (old, stolen):
        refused = ask(server, key.secret, "a" * 43)
        assert refused.status_code == 403 and "expired or was revoked" in refused.json["error"]
    assert server.services.devices.count() == 0


@on_both_databases
def test_secret_is_stored_as_a_digest_and_logged_nowhere(server, caplog):
    caplog.set_level(logging.DEBUG)
    key = new_key(server)
    ask(server, key.secret, "a" * 43)
    with server.engine.connect() as connection:
        rows = [
            str(tuple(row))
            for table in ("enrollment_keys", "audit_log")
            for row in connection.execute(text(f"SELECT * FROM {table}"))
        ]
    assert rows and not any(key.secret in row for row in [*rows, caplog.text])
    assert any(hashlib.sha256(key.secret.encode()).hexdigest() in row for row in rows)


@on_both_databases
def test_revoked_device_stays_out(server):
    key = new_key(server)
    device_id = ask(server, key.secret, "a" * 43).json["device_id"]
    server.services.devices.revoke(device_id, actor="ann")
    refused = ask(server, key.secret, "a" * 43)
    assert refused.status_code == 403 and "revoked" in refused.json["error"]


@on_both_databases
def test_numbers_without_a_meaning_are_refused(server):
    for change in ({"devices": 0}, {"per_minute": 0}, {"valid_days": 0}, {"valid_days": 10**9}):
        with pytest.raises(ConfigError, match="expected"):
            new_key(server, **change)


def test_api_makes_lists_and_revokes_keys(server):
    admin, viewer = admin_headers(server), admin_headers(server, "viewer")
    wanted = {"label": "app", "devices": 5, "per_minute": 10, "valid_days": 3}
    path = "/v1/devices/enrollment-keys"
    assert server.client.post(path, json=wanted, headers=viewer).status_code == 403
    made = server.client.post(path, json=wanted, headers=admin)
    assert made.status_code == 201
    assert ask(server, made.json["secret"], "a" * 43).status_code == 201
    (listed,) = server.client.get(path, headers=viewer).json
    assert listed["devices"] == 1 and listed["label"] == "app" and "secret" not in listed
    revoke = f"{path}/{made.json['key_id']}/revoke"
    assert server.client.post(revoke, headers=viewer).status_code == 403
    assert server.client.post(revoke, headers=admin).status_code == 200
    assert ask(server, made.json["secret"], "b" * 43).status_code == 403
    assert server.client.post(f"{path}/none/revoke", headers=admin).status_code == 400


def test_commands_make_list_and_revoke_keys(server, capsys):
    home = ("--home", str(server.config.home))
    make = ("devices", "key", "--label", "app", "--devices", "2", "--per-minute", "60", "--valid-days", "9")
    assert main([*make, *home]) == 0
    secret = capsys.readouterr().out.strip()
    assert ask(server, secret, "a" * 43).status_code == 201
    assert main(["devices", "keys", *home]) == 0
    listed = capsys.readouterr().out
    assert "app" in listed and secret not in listed
    (view,) = EnrollmentKeys(server.engine, time.time).every_key()
    assert main(["devices", "revoke-key", view.key_id, *home]) == 0
    assert ask(server, secret, "b" * 43).status_code == 403


def test_nobody_enrolls_without_a_code_unless_the_server_says_so(server, tmp_path):
    assert ask(server, "", "a" * 43).status_code == 403
    open_server = ServerSimulator(tmp_path / "open", anonymous_enrollments_per_minute=1)
    assert ask(open_server, "", "a" * 43).status_code == 201
    assert ask(open_server, "", "b" * 43).status_code == 429
    assert ask(open_server, "wrong", "c" * 43).status_code == 403
    open_server.close()


class Genuine:
    """A test double of an attestation service: its tokens name the nonce."""

    def check(self, token: str, *, nonce: str) -> Verdict:
        return Verdict(token == f"genuine {nonce}", "the app is not the shop's own")


def test_attestation_is_asked_of_every_device_without_a_one_time_code(tmp_path):
    server = ServerSimulator(tmp_path, attestation=f"{__name__}:Genuine", anonymous_enrollments_per_minute=100)
    key = new_key(server)
    assert ask(server, key.secret, "a" * 43, attestation="f" * 8_000).status_code == 403
    for code in (key.secret, ""):
        refused = ask(server, code, "a" * 43, attestation="forged")
        assert refused.status_code == 403 and "not the shop's own" in refused.json["error"]
        assert "attestation" in ask(server, code, "a" * 43).json["error"]
    assert server.services.enrollment_keys.every_key()[0].devices == 0
    nonce = hashlib.sha256(b"a" * 43).hexdigest()
    assert ask(server, key.secret, "a" * 43, attestation=f"genuine {nonce}").status_code == 201
    # A stolen token speaks for the device that it was made for, and for no other.
    assert ask(server, key.secret, "b" * 43, attestation=f"genuine {nonce}").status_code == 403
    assert ask(server, server.enrollment.new_code(valid_days=1), "c" * 43).status_code == 201
    device = {"server_url": URL, "trusted_root": server.root, "transport": server.transport}
    settings = enroll(tmp_path / "device", code="", attestation=lambda nonce: f"genuine {nonce}", **device)
    assert server.services.devices.find(settings.device_id) is not None
    with pytest.raises(HttpStatusError):
        enroll(tmp_path / "other", code="", attestation=lambda _: "forged", **device)
    server.close()


@pytest.mark.parametrize("place", ["nowhere:Genuine", f"{__name__}:Missing", "json"])
def test_attestation_that_cannot_be_imported_is_named(tmp_path, place):
    with pytest.raises(ConfigError, match="attestation: expected"):
        ServerSimulator(tmp_path, attestation=place)


def test_unknown_key_reaches_no_attestation_service(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Genuine, "check", lambda self, token, *, nonce: asked.append(token) or Verdict(True, ""))
    server = ServerSimulator(tmp_path, attestation=f"{__name__}:Genuine")
    with pytest.raises(RequestError, match="unknown"):
        server.enrollment.enroll("unknown", "a" * 43, attestation="x")
    assert not asked
    server.close()
