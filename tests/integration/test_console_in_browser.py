"""The console in a real browser: real clicks, a phone's and a desk's width."""

import pytest

from tests.support.browser import DESK, PHONE, chromium, log_in, serving
from tests.support.console_fleet import PASSWORD, fleet_with_a_past

PATHS = ("", "rollouts", "experiments", "feedback", "devices", "audit", "keys")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    simulator = fleet_with_a_past(tmp_path_factory.mktemp("console") / "sim", devices=60)
    yield simulator
    simulator.close()


@pytest.fixture(scope="module")
def url(server):
    with serving(server.app) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport=DESK)
    opened = context.new_page()
    opened.complaints = []
    opened.on("console", lambda said: opened.complaints.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
    yield opened
    context.close()


def test_operator_revokes_a_device_by_clicks(server, url, page):
    log_in(page, url, name="admin", password=PASSWORD)
    page.get_by_role("link", name="Devices").click()
    device = page.locator("tbody code").first.inner_text()
    page.get_by_role("searchbox").fill(device[-8:])
    page.get_by_role("button", name="Search").click()
    page.get_by_role("button", name=f"Revoke {device}").click()
    page.get_by_role("button", name="Cancel").click()
    assert server.services.devices.find(device).revoked_at_s is None
    page.get_by_role("button", name=f"Revoke {device}").click()
    page.get_by_role("button", name="Yes").click()
    page.get_by_text("is revoked: the server accepts nothing").wait_for()
    assert server.services.devices.find(device).revoked_at_s
    page.get_by_role("link", name="Audit log").click()
    assert device in page.locator("tbody tr").first.inner_text()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("heading", name="Log in").wait_for()
    page.go_back()
    page.reload()
    assert page.url.startswith(f"{url}/console/login")
    assert page.complaints == []


def test_operator_halts_a_rollout_by_clicks(server, url, page):
    log_in(page, url, name="publisher", password=PASSWORD)
    page.get_by_role("link", name="Rollouts").click()
    page.locator("tbody a").first.click()
    assert page.locator("svg[role=img]").count() == 4, "a chart for each guardrail"
    assert page.locator("[aria-current=step]").inner_text().startswith("10%")
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("is paused.").wait_for()
    page.get_by_role("button", name="Halt").click()
    page.get_by_role("button", name="Yes").click()
    page.get_by_text("is halted.").wait_for()
    (rollout,) = server.services.rollouts.all()
    assert rollout.state == "halted"
    assert "publisher" in page.locator("tbody").inner_text()
    assert page.get_by_role("button", name="Halt").count() == 0
    page.get_by_role("link", name="Experiments").click()
    page.get_by_role("button", name="End").click()
    page.get_by_role("button", name="Yes").click()
    page.get_by_text("has ended").wait_for()
    assert page.complaints == []


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_pages_fit_the_screen_and_break_no_rule_of_their_own(url, page, size):
    page.set_viewport_size(size)
    log_in(page, url, name="admin", password=PASSWORD)
    for path in PATHS:
        page.goto(f"{url}/console/{path}")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"], f"{path} is {width} pixels wide"
        assert page.get_by_role("heading", level=1).count() == 1
    page.goto(f"{url}/console/devices")
    button = page.get_by_role("button", name="Revoke").first.bounding_box()
    assert button["x"] + button["width"] <= size["width"], "what can be done is in sight"
    assert page.complaints == []


def test_console_is_used_by_keyboard_alone(url, page):
    log_in(page, url, name="viewer", password=PASSWORD)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    for _ in range(6):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/console/devices")
    assert page.locator("nav [aria-current]").inner_text() == "Devices"


def test_console_works_without_its_script(server, url, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    log_in(page, url, name="admin", password=PASSWORD)
    page.goto(f"{url}/console/keys")
    page.get_by_label("Purpose").fill("a program")
    page.get_by_role("button", name="Make a key").click()
    secret = page.locator(".secret").inner_text()
    assert server.services.api_keys.principal_of(secret).role == "viewer"
    context.close()
