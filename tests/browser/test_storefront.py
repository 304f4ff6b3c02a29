"""The storefront as a visitor uses it: in headless Chromium, against a real server, with and without a network."""

import re
import time

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import select

from sync_server.database.tables.events import Event
from tests.support.live_server import LiveServer, live_server
from tests.support.toy_bundle import bundle_with_wrong_golden, make_toy_bundle


def visit(page: Page, server: LiveServer, path: str = "/shop/") -> None:
    page.goto(server.url + path)
    page.wait_for_selector("body[data-ready]")


def search(page: Page, text: str) -> None:
    page.fill("#query", text)
    expect(page.locator(".status strong")).to_be_visible()


def ask_now(page: Page) -> None:
    """Have the page ask for a new release at once: browsers tell a page so that the network is back."""
    page.evaluate("dispatchEvent(new Event('online'))")


def titles(page: Page) -> list[str]:
    return page.locator("#results .title").all_inner_texts()


def stored_events(server: LiveServer) -> list[Event]:
    with server.simulator.engine.connect() as connection:
        return list(connection.execute(select(Event.kind, Event.product_id, Event.position, Event.query)))


def wait_for_events(server: LiveServer, number: int) -> list[Event]:
    # Events that never come run into the test's timeout.
    while len(stored_events(server)) < number:
        time.sleep(0.1)
    return stored_events(server)


def test_typing_shows_products_corrections_and_the_time_of_this_device(page, server):
    visit(page, server)
    search(page, "gren lmap")
    assert "green lamp" in titles(page)[0]
    expect(page.locator(".status")).to_contain_text(re.compile(r"of 30 products in \d+(\.\d)? ms on this device"))
    expect(page.locator(".status")).to_contain_text("lmap → lamp")
    assert page.locator("#results mark").first.inner_text() in ("green", "lamp")
    expect(page.locator(".device .figure")).to_contain_text("ms last search")


def test_why_shows_what_each_word_added(page, server):
    visit(page, server)
    search(page, "gren lmap")
    page.locator("#results .ask").first.click()
    why = page.locator("#results .why").first
    expect(why).to_contain_text("gren read as green")
    expect(why).to_contain_text(re.compile(r"meaning \d+%"))
    page.locator("#results .ask").first.click()
    expect(why).to_have_count(0)


def test_a_product_that_was_looked_at_leads_to_others_and_can_be_forgotten(page, server):
    visit(page, server)
    search(page, "blue chair")
    looked = titles(page)[0]
    page.locator("#results .title").first.click()
    expect(page.locator("dialog.product h2")).to_have_text(looked)
    page.keyboard.press("Escape")
    page.fill("#query", "")
    expect(page.locator(".shelf h2").first).to_have_text(f"Because you looked at {looked}")
    page.reload()
    expect(page.locator(".shelf h2").first).to_have_text(f"Because you looked at {looked}")
    page.get_by_role("button", name="Forget what I looked at").click()
    expect(page.locator(".shelf h2").first).to_have_text("Popular now")


def test_the_keyboard_is_enough(page, server):
    visit(page, server)
    page.keyboard.press("/")
    page.keyboard.type("red lamp")
    expect(page.locator("#results .card").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    second = page.locator("#results .title").nth(1)
    expect(second).to_be_focused()
    opened = second.inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("dialog.product h2")).to_have_text(opened)
    page.keyboard.press("Escape")
    expect(page.locator("dialog.product")).to_be_hidden()
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    expect(page.locator("#query")).to_have_value("")


def test_after_the_first_visit_it_works_without_a_network(page, server):
    visit(page, server)
    search(page, "red lamp")
    online = titles(page)
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.wait_for_function("caches.keys().then((names) => names.some((name) => name.startsWith('pocketrec-page:')))")
    server.stop()
    visit(page, server)
    search(page, "red lamp")
    assert titles(page) == online
    expect(page.locator(".network .says")).to_have_text("no network")
    expect(page.locator(".bundle")).to_contain_text("this browser's store")
    server.start()
    expect(page.locator(".network .says")).to_have_text("online", timeout=20_000)


def test_the_switch_closes_the_network(page, server):
    visit(page, server)
    page.get_by_role("switch", name="Network").click()
    expect(page.locator(".network .says")).to_have_text("switched off")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    search(page, "green mug")
    page.wait_for_timeout(5_000)
    assert asked == []
    assert "green mug" in titles(page)[0]
    page.get_by_role("switch", name="Network").click()
    expect(page.locator(".network .says")).to_have_text("online")


def test_an_update_arrives_live_and_downloads_only_what_changed(page, server, tmp_path):
    visit(page, server)
    search(page, "large red lamp")
    expect(page.locator("#results .price").first).to_have_text("5.00")
    server.publish(make_toy_bundle(tmp_path / "bundle-2", version=2))
    ask_now(page)
    expect(page.locator("#results .price").first).to_have_text("10.00", timeout=20_000)
    expect(page.locator(".toast").first).to_contain_text("Release 2 arrived and proved itself: 1 file")
    expect(page.locator(".toast").first).to_contain_text("5 kept")
    expect(page.locator(".bundle")).to_contain_text("release 2")


def test_a_bundle_that_does_not_prove_itself_is_refused_and_the_old_one_goes_on(page, server, tmp_path):
    visit(page, server)
    server.publish(bundle_with_wrong_golden(tmp_path / "wrong"))
    ask_now(page)
    expect(page.locator(".toast.trouble").first).to_contain_text("must not use this bundle", timeout=20_000)
    search(page, "large red lamp")
    expect(page.locator("#results .price").first).to_have_text("5.00")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    search(page, "large red lamp")
    expect(page.locator("#results .price").first).to_have_text("5.00")


def test_a_refused_bundle_is_not_downloaded_again_by_the_next_visit(page, server, tmp_path):
    visit(page, server)
    wrong = bundle_with_wrong_golden(tmp_path / "wrong")
    server.publish(wrong)
    ask_now(page)
    expect(page.locator(".toast.trouble").first).to_contain_text("must not use this bundle", timeout=20_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(page.locator(".toast.trouble").first).to_contain_text("did not work in this browser before")
    assert [url for url in asked if any(one.sha256 in url for one in wrong.manifest.artifacts)] == []
    expect(page.locator(".toast.trouble")).to_have_count(1)
    with page.expect_request("**/v1/channels/**"):
        ask_now(page)
    search(page, "large red lamp")
    expect(page.locator(".toast.trouble")).to_have_count(1)


def test_a_lost_answer_does_not_use_up_the_enrollment_code(page, server):
    code = server.simulator.enrollment.new_code(valid_days=1)
    lost: list[int] = []

    def lose_the_answer(route: Route) -> None:
        lost.append(route.fetch().status)
        route.abort()

    page.route("**/v1/devices/enroll", lose_the_answer)
    visit(page, server, f"/shop/#enroll={code}")
    expect(page.locator(".toast.trouble")).to_have_count(1)
    assert lost == [201]
    page.unroute("**/v1/devices/enroll")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.get_by_label("One-time code").fill(code)
    page.get_by_role("button", name="Enroll").click()
    expect(page.locator(".enroll")).to_have_count(0)
    assert server.simulator.services.devices.count() == 1


def test_feedback_goes_out_after_enrollment_without_what_was_typed(page, server):
    code = server.simulator.enrollment.new_code(valid_days=1)
    visit(page, server, f"/shop/#enroll={code}")
    expect(page.locator(".enroll")).to_have_count(0)
    assert "#" not in page.url
    search(page, "red lamp")
    page.locator("#results .title").nth(1).click()
    page.get_by_role("button", name="Buy").click()
    events = wait_for_events(server, 14)
    kinds = [event.kind for event in events]
    assert kinds.count("click") == 1 and kinds.count("purchase") == 1 and kinds.count("impression") == 12
    assert {event.position for event in events if event.kind == "click"} == {2}
    assert {event.query for event in events} == {None}
    expect(page.locator(".feedback")).to_contain_text("0 waiting")


def test_feedback_waits_while_offline_and_is_counted_once(page, server):
    code = server.simulator.enrollment.new_code(valid_days=1)
    visit(page, server, f"/shop/#enroll={code}")
    expect(page.locator(".enroll")).to_have_count(0)
    page.locator('input[name="privacy"][value="full"]').check()
    page.get_by_role("switch", name="Network").click()
    search(page, "red lamp")
    page.locator("#results .title").first.click()
    page.keyboard.press("Escape")
    expect(page.locator(".feedback")).to_contain_text("13 waiting", timeout=20_000)
    assert stored_events(server) == []
    page.get_by_role("switch", name="Network").click()
    events = wait_for_events(server, 13)
    assert len(events) == 13
    assert {event.query for event in events} == {"red lamp"}


def test_nothing_is_recorded_when_nothing_may_leave(page, server):
    visit(page, server)
    page.locator('input[name="privacy"][value="off"]').check()
    search(page, "red lamp")
    page.locator("#results .title").first.click()
    page.wait_for_timeout(1_500)
    expect(page.locator(".feedback")).to_contain_text("0 events sent · 0 waiting")


def test_a_server_that_ranks_can_be_compared_with_this_device(page, tmp_path):
    bundle = make_toy_bundle(tmp_path / "bundle-1")
    with live_server(tmp_path, rank_backend="bundle", rank_folder=bundle.folder) as server:
        server.publish(bundle)
        code = server.simulator.enrollment.new_code(valid_days=1)
        visit(page, server, f"/shop/#enroll={code}")
        search(page, "red lamp")
        by_device = titles(page)
        page.get_by_label("the server, to compare").check()
        expect(page.locator(".status")).to_contain_text("on the server")
        assert titles(page) == by_device
        page.get_by_role("radio", name="this device").check()
        expect(page.locator(".status")).to_contain_text("on this device")


def test_a_server_that_does_not_rank_is_not_offered(page, server):
    code = server.simulator.enrollment.new_code(valid_days=1)
    visit(page, server, f"/shop/#enroll={code}")
    expect(page.locator(".enroll")).to_have_count(0)
    expect(page.get_by_label("the server, to compare")).to_be_hidden()


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_page_fits_every_width(page, server, width):
    page.set_viewport_size({"width": width, "height": 800})
    visit(page, server)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    search(page, "small wooden chair")
    page.locator("#results .ask").first.click()
    page.locator("#results .why").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#results .title").first.click()
    page.locator("dialog.product h2").wait_for()
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth")


def test_everything_comes_from_this_server_and_the_policy_is_kept(page, server):
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    visit(page, server)
    search(page, "red lamp")
    assert [url for url in asked if not url.startswith((server.url, "data:"))] == []
    assert complaints == []
    assert page.evaluate("crossOriginIsolated")


def test_without_a_release_the_page_says_what_is_missing(page, server):
    page.goto(f"{server.url}/shop/?channel=empty")
    expect(page.locator(".status")).to_contain_text("The shop cannot open")
