"""Devices as operators see them: search, pages, revoking and what it takes away."""

import msgspec
import pytest

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.events import FeedbackBatch, FeedbackEvent, SequencedEvent

CREDENTIAL = "c" * 43


pytestmark = pytest.mark.usefixtures("database_url")


def enroll(server, credential=CREDENTIAL):
    return server.enrollment.enroll(server.enrollment.new_code(valid_days=1), credential)


def send(server, device_id, credential=CREDENTIAL):
    event = FeedbackEvent(kind="click", product_id="p", timestamp_s=1.0, bundle_id="b")
    batch = FeedbackBatch(version=1, device_id=device_id, events=[SequencedEvent(1, event)])
    return server.client.post(
        "/v1/feedback", data=msgspec.json.encode(batch), headers={"Authorization": f"Bearer {credential}"}
    )


def admin_headers(server, role="admin"):
    server.services.operators.add(role, role=role, password="correct horse battery", actor="test")
    key = server.services.api_keys.create(role, role=role, label="test", actor="test")
    return {"Authorization": f"Bearer {key.secret}"}


def test_stolen_device_credential_is_void_once_revoked(server):
    device_id = enroll(server)
    assert send(server, device_id).status_code == 200
    server.services.devices.revoke(device_id, actor="anna")
    assert send(server, device_id).status_code == 401
    assert server.enrollment.device_of(CREDENTIAL) is None and server.ingest.count_events() == 1
    for method, path in [
        ("POST", "reports"),
        ("POST", "counts"),
        ("POST", "rank"),
        ("GET", "feedback"),
        ("DELETE", "feedback"),
    ]:
        headers = {"Authorization": f"Bearer {CREDENTIAL}"}
        answer = server.client.open(f"/v1/{path}", method=method, headers=headers, data=b"{}")
        assert answer.status_code == 401, path
    assert server.ingest.count_events() == 1
    code = server.enrollment.new_code(valid_days=1)
    answer = server.client.post("/v1/devices/enroll", json={"code": code, "credential": CREDENTIAL})
    assert answer.status_code == 403 and "revoked" in answer.json["error"]
    assert enroll(server, "d" * 43) != device_id


def test_stolen_device_credential_speaks_for_that_device_only(server):
    victim, thief = enroll(server), enroll(server, "d" * 43)
    assert send(server, victim, "d" * 43).status_code == 403
    assert send(server, thief, "d" * 43).status_code == 200
    for method, path in [
        ("GET", "/v1/devices"),
        ("POST", f"/v1/devices/{victim}/revoke"),
        ("POST", "/v1/publish/targets"),
    ]:
        answer = server.client.open(path, method=method, headers={"Authorization": f"Bearer {CREDENTIAL}"})
        assert answer.status_code == 403


def test_revoking_needs_an_admin_and_is_noted(server):
    device_id = enroll(server)
    for role, status in (("viewer", 403), ("publisher", 403), ("admin", 200)):
        headers = admin_headers(server, role)
        assert server.client.post(f"/v1/devices/{device_id}/revoke", headers=headers).status_code == status
    assert server.services.audit.newest(1)[0].subject == device_id
    assert server.client.post("/v1/devices/none/revoke", headers=headers).status_code == 404


def test_list_needs_a_key_and_shows_no_credential(server):
    device_id = enroll(server)
    assert server.client.get("/v1/devices").status_code == 401
    answer = server.client.get("/v1/devices?search=device", headers=admin_headers(server, "viewer"))
    assert [device["device_id"] for device in answer.json["devices"]] == [device_id]
    assert "credential" not in answer.text


def test_search_takes_percent_and_underscore_as_they_are(server):
    names = sorted(enroll(server, char * 43) for char in "abc")
    register = server.services.devices
    assert [device.device_id for device in register.page(search="device-").devices] == names
    assert register.page(search="%").devices == [] and register.page(search="dev_ce").devices == []
    assert register.page(search=f"{names[1][9:]}\0").devices[0].device_id == names[1]
    assert register.count(search="' OR 1=1 --") == 0 and register.count() == 3


def test_pages_follow_one_another(server):
    names = sorted(enroll(server, char * 43) for char in "abcde")
    register, after, seen = server.services.devices, "", []
    while after is not None:
        page = register.page(after=after, count=2)
        seen += [device.device_id for device in page.devices]
        after = page.after
    assert seen == names


def test_unknown_device_cannot_be_revoked(server):
    with pytest.raises(ConfigError, match="no device 'none'"):
        server.services.devices.revoke("none", actor="anna")
    assert server.services.devices.find("none") is None


def test_active_devices_are_those_heard_of(server):
    first, second = enroll(server), enroll(server, "d" * 43)
    send(server, first)
    send(server, second, "d" * 43)
    now = server.now.timestamp()
    assert server.services.devices.count_active(since_s=now - 1) == 2
    server.services.devices.revoke(first, actor="anna")
    assert server.services.devices.count_active(since_s=now - 1) == 1
    assert server.services.devices.count_active(since_s=now + 1) == 0
