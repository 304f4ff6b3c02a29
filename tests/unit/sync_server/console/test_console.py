"""The console over HTTP: who gets in, and what forged, planted, guessed and injected things come to."""

import re

import msgspec
import pytest
from argon2 import PasswordHasher

from edge_runtime.contract.events import FeedbackBatch, FeedbackEvent, SequencedEvent
from edge_runtime.contract.offer import VariantOffer
from sync_server.console.access import COOKIE
from sync_server.database.tables.devices import Device
from sync_server.rollouts.guardrail_history import history_of
from sync_server.rollouts.plan import RolloutPlan
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import ServerSimulator

PASSWORD = "correct horse battery"
EVIL = "<script>alert(1)</script>'\"--;DROP TABLE devices{{7*7}}"
PAGES = (
    "/console/",
    "/console/rollouts",
    "/console/experiments",
    "/console/feedback",
    "/console/devices",
    "/console/audit",
    "/console/keys",
)


@pytest.fixture
def server(server):
    # Hashing that is slow by design is not what these tests are about.
    object.__setattr__(server.services.operators, "hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    for role in ("viewer", "publisher", "admin"):
        server.services.operators.add(role, role=role, password=PASSWORD, actor="test")
    return server


def token(client, path="/console/login"):
    return re.search(r'name="csrf_token" value="([^"]+)"', client.get(path).text)[1]


def log_in(server, name="admin", password=PASSWORD, client=None, **more):
    client = client or server.app.test_client()
    form = {"name": name, "password": password, "csrf_token": token(client), **more}
    return client, client.post("/console/login", data=form)


def send(client, path, **form):
    return client.post(path, data={**form, "csrf_token": token(client, "/console/keys")})


def enroll(server):
    return server.enrollment.enroll(server.enrollment.new_code(valid_days=1), "c" * 43)


def console_paths(server, method):
    """Every path of the console that takes the method, an id that nothing has in the place of ids."""
    rules = (rule for rule in server.app.url_map.iter_rules() if rule.rule.startswith("/console"))
    return sorted(
        re.sub(r"<(any\((\w+)[^>]*|[^>]*)>", lambda found: found[2] or "none", rule.rule)
        for rule in rules
        if method in rule.methods
    )


def test_pages_need_a_login(server):
    open_to_all = {"/console/login", "/console/static/none"}
    paths = set(console_paths(server, "GET"))
    assert {*PAGES, "/console/audit.jsonl", "/console/rollouts/none"} | open_to_all == paths
    for path in paths - open_to_all:
        answer = server.client.get(path)
        assert answer.status_code == 302 and answer.headers["Location"].startswith("/console/login?next="), path


@pytest.mark.parametrize("path", PAGES)
def test_pages_load_nothing_from_elsewhere_and_run_no_inline_script(server, path):
    client, _ = log_in(server)
    answer = client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert re.findall(r'(?:src|href|action)="(?!/console/|#)([^"]*)"', answer.text) == []
    assert not re.search(r"\son\w+=|<style|style=|<script(?! src)", answer.text)
    assert answer.headers["Cache-Control"] == "no-store"


def test_wrong_password_is_refused_and_told_like_a_wrong_name(server):
    pages = [log_in(server, name, "wrong password")[1] for name in ("admin", "nobody")]
    assert [page.status_code for page in pages] == [403, 403]
    assert all("name or password is wrong" in page.text for page in pages)


def test_session_fixation_gains_nothing(server):
    """A cookie that was planted before the login is not the session after it; nor does an old session live on."""
    attacker = server.app.test_client()
    attacker.get("/console/login")
    planted = attacker.get_cookie(COOKIE, path="/console").value
    victim = server.app.test_client()
    victim.set_cookie(COOKIE, planted, path="/console")
    _, answer = log_in(server, client=victim)
    assert answer.status_code == 302
    assert victim.get_cookie(COOKIE, path="/console").value != planted
    assert attacker.get("/console/").status_code == 302
    first = victim.get_cookie(COOKIE, path="/console").value
    thief = server.app.test_client()
    thief.set_cookie(COOKIE, first, path="/console")
    assert thief.get("/console/").status_code == 200
    victim.post("/console/logout", data={"csrf_token": token(victim, "/console/keys")})
    assert thief.get("/console/").status_code == 302, "a copied cookie is void after the logout"


def test_cookie_is_out_of_reach_of_scripts_and_other_sites(server):
    client = server.app.test_client()
    plain = client.get("/console/login").headers["Set-Cookie"]
    assert "HttpOnly" in plain and "SameSite=Strict" in plain and "Path=/console" in plain
    secure = client.get("/console/login", base_url="https://console.example").headers["Set-Cookie"]
    assert "Secure" in secure


def test_changed_cookie_is_no_session(server):
    client, _ = log_in(server)
    value = client.get_cookie(COOKIE, path="/console").value
    client.set_cookie(COOKIE, value[:-3] + ("abc" if value[-3:] != "abc" else "xyz"), path="/console")
    assert client.get("/console/").status_code == 302


def test_forged_request_of_another_site_does_nothing(server, rollout):
    """On every path of the console that changes something, whether or not there is what it names."""
    device = enroll(server)
    client, _ = log_in(server)
    lines = server.services.audit.head().number
    paths = console_paths(server, "POST")
    assert len(paths) == 11
    paths += [f"/console/devices/{device}/revoke", f"/console/rollouts/{rollout.id}/halt"]
    form = {"name": "admin", "password": PASSWORD, "role": "admin", "label": "x"}
    for forged in ({}, {"csrf_token": "guess"}, {"csrf_token": token(server.app.test_client())}):
        for path in paths:
            answer = client.post(path, data={**form, **forged})
            assert answer.status_code == 400 and "CSRF" in answer.text, path
    assert server.services.devices.find(device).revoked_at_s is None
    assert server.services.rollouts.find(rollout.id).state == "running"
    assert server.services.audit.head().number == lines
    assert client.get("/console/").status_code == 200


def test_forged_referrer_over_https_is_refused(server):
    client = server.app.test_client()
    page = client.get("/console/login", base_url="https://console.example")
    form = {
        "name": "admin",
        "password": PASSWORD,
        "csrf_token": re.search(r'csrf_token" value="([^"]+)"', page.text)[1],
    }
    for referrer, status in (("https://evil.example/", 400), ("https://console.example/console/login", 302)):
        answer = client.post(
            "/console/login", data=form, base_url="https://console.example", headers={"Referer": referrer}
        )
        assert answer.status_code == status


def test_brute_force_of_a_login_is_slowed_by_account(server):
    for _ in range(5):
        assert log_in(server, password="wrong password")[1].status_code == 403
    answer = log_in(server)[1]
    assert answer.status_code == 429 and "try again in" in answer.text
    server.pass_time(seconds=31)
    assert log_in(server)[1].status_code == 302


def test_brute_force_of_a_login_is_slowed_by_address(tmp_path):
    server = ServerSimulator(tmp_path / "limited", login_attempts_per_minute=3)
    statuses = [log_in(server, f"name{number}", "wrong password")[1].status_code for number in range(5)]
    assert statuses == [403, 403, 403, 429, 429]
    answer = log_in(server)[1]
    assert answer.status_code == 429 and "Traceback" not in answer.text
    server.close()


def test_address_behind_a_proxy_is_the_clients(tmp_path):
    server = ServerSimulator(tmp_path / "proxied", login_attempts_per_minute=1, trusted_proxies=1)
    client = server.app.test_client()
    for address, status in (("10.0.0.1", 403), ("10.0.0.2", 403), ("10.0.0.1", 429)):
        form = {"name": "x", "password": "y", "csrf_token": token(client)}
        answer = client.post("/console/login", data=form, headers={"X-Forwarded-For": address})
        assert answer.status_code == status
    server.close()


@pytest.mark.parametrize(
    "place", ["https://evil.example/", "//evil.example/", "/console//evil", "/console/\\evil", "/v1"]
)
def test_login_leads_nowhere_else(server, place):
    assert log_in(server, next=place)[1].headers["Location"] == "/console/"


def test_login_leads_back_to_the_page_that_was_wanted(server):
    assert log_in(server, next="/console/devices")[1].headers["Location"] == "/console/devices"


def test_text_of_devices_and_operators_is_never_markup(server):
    """Everything that the console shows and somebody else can choose, with script and SQL in it."""
    device = enroll(server)
    event = FeedbackEvent(kind="click", product_id=EVIL, timestamp_s=1.0, bundle_id=EVIL, query=EVIL)
    batch = FeedbackBatch(version=1, device_id=device, events=[SequencedEvent(1, event)])
    server.client.post("/v1/feedback", data=msgspec.json.encode(batch), headers={"Authorization": f"Bearer {'c' * 43}"})
    with server.engine.begin() as connection:
        connection.execute(
            Device.__table__.insert().values(
                device_id=EVIL, credential_sha256=EVIL, enrolled_at_s=1.0, bundle_id=EVIL, last_feedback_at_s=1.0
            )
        )
    server.services.api_keys.create("admin", role="viewer", label=EVIL, actor=EVIL)
    server.services.audit.record(actor=EVIL, action=EVIL, subject=EVIL, details={EVIL: EVIL})
    client, _ = log_in(server)
    for path in (*PAGES, f"/console/devices?search={EVIL}", f"/console/devices?after={EVIL}", f"/console/{EVIL}"):
        text = client.get(path).text
        assert "<script>alert" not in text and "49" not in re.findall(r"devices(49)", text)
    _, answer = log_in(server, EVIL, EVIL, next=EVIL)
    assert "<script>alert" not in answer.text
    assert server.services.devices.count() == 2
    for path in ("/console/devices", "/console/audit", "/console/keys", "/console/"):
        assert "&lt;script&gt;a" in client.get(path).text, f"{path} shows it"
    assert send(client, "/console/keys", label=EVIL, role="viewer").text.count("<script>") == 0


def test_revoking_from_the_console_needs_an_admin(server):
    device = enroll(server)
    for role, status in (("viewer", 403), ("publisher", 403), ("admin", 302)):
        client, _ = log_in(server, role)
        assert ("Revoke" in client.get("/console/devices").text) == (role == "admin")
        assert send(client, f"/console/devices/{device}/revoke").status_code == status
    assert server.services.audit.newest(1)[0].actor == "admin"
    assert "there is no device" in send(client, "/console/devices/none/revoke").text


@pytest.fixture
def rollout(server, tmp_path):
    server.publish(write_bundle(tmp_path / "one", words="one"))
    server.publish(write_bundle(tmp_path / "two", words="two"), staged=True)
    return server.services.rollouts.start(channel="stable", release=None, plan=RolloutPlan(), actor="test")


def test_halting_a_rollout_needs_a_publisher(server, rollout):
    for role, status in (("viewer", 403), ("publisher", 302)):
        client, _ = log_in(server, role)
        page = client.get(f"/console/rollouts/{rollout.id}").text
        assert (">Halt<" in page) == (role == "publisher")
        assert send(client, f"/console/rollouts/{rollout.id}/halt", reason=EVIL).status_code == status
    found = server.services.rollouts.find(rollout.id)
    assert (found.state, found.reason) == ("halted", EVIL)
    for path in (f"/console/rollouts/{rollout.id}", "/console/rollouts", "/console/audit"):
        page = client.get(path).text
        assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page, path
    assert send(client, f"/console/rollouts/{rollout.id}/resume").status_code == 409
    assert client.get("/console/rollouts/none").status_code == 404
    assert client.get(f"/console/rollouts/{rollout.id}/halt").status_code == 405


def test_guardrails_are_remembered_while_they_move(server, rollout):
    rollouts = server.services.rollouts
    for _ in range(3):
        rollouts.judge(rollout.id)
        server.pass_time(minutes=2)
    over_time = history_of(server.engine, rollout.id)
    assert len(over_time["crashed"]) == 1, "looks that follow one another closely are one point"
    server.pass_time(minutes=10)
    rollouts.judge(rollout.id)
    assert [len(points) for points in history_of(server.engine, rollout.id).values()] == [2] * 5
    assert over_time["click_through"][0].upper == float("inf")
    client, _ = log_in(server, "viewer")
    page = client.get(f"/console/rollouts/{rollout.id}").text
    assert page.count("<svg viewBox") == 6 and "[−∞, ∞]" in page
    assert "too few devices to tell any harm" in page


def test_experiment_is_shown_and_ended(server, rollout):
    server.services.rollouts.act(rollout.id, "halt", actor="test")
    arms = [VariantOffer("old", 1, 0.5), VariantOffer(EVIL[:40], 2, 0.5)]
    made = server.services.experiments.start(channel="stable", name=EVIL, variants=arms, actor="test")
    client, _ = log_in(server, "publisher")
    page = client.get("/console/experiments").text
    assert "<script>alert" not in page and "baseline" in page
    assert page.count("&lt;script&gt;alert(1)") >= 2, "name and variant are shown"
    assert "no difference can be told before 50 devices" in page
    assert send(client, f"/console/experiments/{made.id}/stop").status_code == 302
    assert server.services.experiments.find(made.id).state == "ended"


def test_enrollment_code_is_shown_once_and_works(server):
    client, _ = log_in(server, "publisher")
    page = send(client, "/console/devices/code")
    code = re.search(r'class="secret">([^<]+)<', page.text)[1]
    assert server.enrollment.enroll(code, "d" * 43).startswith("device-")
    viewer, _ = log_in(server, "viewer")
    assert send(viewer, "/console/devices/code").status_code == 403


def test_key_of_the_console_has_no_more_than_its_maker(server):
    client, _ = log_in(server, "viewer")
    assert send(client, "/console/keys", label="mine", role="admin").status_code == 403
    page = send(client, "/console/keys", label="mine", role="viewer", valid_days="9")
    secret = re.search(r'class="secret">([^<]+)<', page.text)[1]
    assert server.services.api_keys.principal_of(secret).role == "viewer"
    assert secret not in client.get("/console/keys").text and "Operators" not in page.text
    ids = {key.label: key.key_id for key in server.services.api_keys.every_key()}
    assert send(client, f"/console/keys/{ids['publisher.token']}/revoke").status_code == 403
    assert send(client, f"/console/keys/{ids['mine']}/revoke").status_code == 302
    assert server.services.api_keys.principal_of(secret) is None
    assert send(client, "/console/keys/none/revoke").status_code == 400
    admin, _ = log_in(server, "admin")
    assert send(admin, f"/console/keys/{ids['publisher.token']}/revoke").status_code == 302
    assert server.client.get("/v1/publish/targets", headers=server.publisher_headers).status_code == 403


def test_account_that_was_disabled_is_out_at_once(server):
    client, _ = log_in(server, "viewer")
    server.services.operators.disable("viewer", actor="test")
    assert client.get("/console/").status_code == 302


def test_audit_log_is_verified_and_exported(server):
    client, _ = log_in(server, "viewer")
    form = {"csrf_token": token(client, "/console/audit")}
    answer = client.post("/console/audit/verify", data=form, follow_redirects=True)
    assert "lines are complete and unchanged" in answer.text and str(server.services.audit.head()) in answer.text
    lines = client.get("/console/audit.jsonl").text.splitlines()
    assert len(lines) == server.services.audit.head().number
    with server.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE audit_log SET subject = 'x' WHERE number = 2")
    answer = client.post("/console/audit/verify", data=form, follow_redirects=True)
    assert "The check of the audit log failed: audit line 2 was changed" in answer.text


def test_long_audit_log_has_pages(server):
    for number in range(60):
        server.services.audit.record(actor="test", action=f"deed {number}")
    client, _ = log_in(server)
    page = client.get("/console/audit").text
    older = re.search(r'href="(/console/audit\?before=\d+)"', page)[1]
    assert "deed 59" in page and "deed 3<" not in page and "deed 3 " in client.get(older).text


def test_page_shows_errors_as_sentences(server, monkeypatch):
    client, _ = log_in(server)
    assert client.get("/console/static/none.css").status_code == 404
    monkeypatch.setattr(type(server.services.devices), "page", lambda *_, **__: 1 / 0)
    answer = client.get("/console/devices")
    assert answer.status_code == 500 and "Traceback" not in answer.text


def test_log_names_the_operator(server, caplog):
    caplog.set_level("INFO", logger="sync_server")
    client, _ = log_in(server)
    client.get("/console/devices?search=secret")
    assert caplog.records[-1].fields["operator"] == "admin" and "secret" not in str(caplog.records[-1].fields)


def test_admin_makes_and_revokes_an_enrollment_key(server):
    client, _ = log_in(server)
    numbers = {"devices": "2", "per_minute": "60", "valid_days": "9"}
    page = send(client, "/console/devices/keys", label=EVIL[:80], **numbers).text
    secret = re.search(r'class="secret">([^<]+)<', page)[1]
    ask = {"code": secret, "credential": "c" * 43}
    assert server.client.post("/v1/devices/enroll", json=ask).status_code == 201
    (key,) = server.services.enrollment_keys.every_key()
    page = client.get("/console/devices").text
    assert "1 of 2" in page and secret not in page and "<script>alert" not in page
    send(client, f"/console/devices/keys/{key.key_id}/revoke")
    assert not server.services.enrollment_keys.every_key()[0].active
    assert send(client, "/console/devices/keys", label="x", devices="no").status_code == 400


def test_validity_of_a_key_that_is_no_number_does_not_mean_for_ever(server):
    client, _ = log_in(server)
    before = len(server.services.api_keys.every_key())
    for days in ("9e399", "1e9", "x", "1000000000"):
        assert send(client, "/console/keys", role="viewer", label="x", valid_days=days).status_code == 400
    assert len(server.services.api_keys.every_key()) == before
