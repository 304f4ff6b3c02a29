"""What a browser makes of a channel that is not what the trusted keys have signed."""

from playwright.sync_api import Page, expect

from pocketrec.publishing.key_files import create_team_key, load_public_key
from pocketrec.publishing.key_push import delegate_channel
from pocketrec.publishing.publisher import LocalTarget, publish
from sync_server.repository.delegations import role_of
from tests.support.live_server import LiveServer
from tests.support.server_simulator import ServerSimulator
from tests.support.toy_bundle import make_toy_bundle


def visit(page: Page, server: LiveServer, path: str = "/shop/") -> None:
    page.goto(server.url + path)
    page.wait_for_selector("body[data-ready]")


def ask_now(page: Page) -> None:
    page.evaluate("dispatchEvent(new Event('online'))")


def test_a_server_with_other_keys_installs_nothing(page, server, tmp_path):
    visit(page, server)
    kept = page.locator("body").get_attribute("data-ready")
    server.stop()
    thief = LiveServer(ServerSimulator(tmp_path / "thief"), server.port)
    thief.start()
    try:
        for version in (1, 2, 3):
            thief.publish(make_toy_bundle(tmp_path / f"forged-{version}", version=version))
        ask_now(page)
        expect(page.locator(".toast.trouble").first).to_contain_text("of the keys that this browser trusts")
        page.reload()
        expect(page.locator(".toast.trouble").first).to_contain_text("of the keys that this browser trusts")
        assert page.locator("body").get_attribute("data-ready") == kept
    finally:
        thief.stop()
        thief.simulator.close()


def test_a_swapped_file_is_not_opened(page, server, tmp_path):
    visit(page, server)
    kept = page.locator("body").get_attribute("data-ready")
    bundle = make_toy_bundle(tmp_path / "bundle-2", version=2)
    server.publish(bundle)
    files = server.simulator.repository.files
    rows = next(one for one in bundle.manifest.artifacts if one.path == "catalogue.sqlite")
    stored = files.path(rows.sha256)
    assert stored is not None
    data = stored.read_bytes()
    stored.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    ask_now(page)
    expect(page.locator(".toast.trouble").first).to_contain_text("catalogue.sqlite is not the file")
    assert page.locator("body").get_attribute("data-ready") == kept
    stored.write_bytes(data)
    ask_now(page)
    expect(page.locator("body")).to_have_attribute("data-ready", bundle.bundle_id)


def test_a_channel_that_a_team_signs_opens(page, server, tmp_path):
    simulator = server.simulator
    target = LocalTarget(simulator.repository, max_file_bytes=10_000_000)
    team = tmp_path / "team"
    public = create_team_key(team, role_of("toys"), root=simulator.keys / "root.json", passphrase=None)
    keys = [load_public_key(public)]
    delegate_channel(simulator.keys, target, "toys", public_keys=keys, threshold=1, passphrase=None)
    bundle = make_toy_bundle(tmp_path / "bundle-2", version=2)
    publish(bundle.folder, channel="toys", keys=team, target=target)
    visit(page, server, "/shop/?channel=toys")
    assert page.locator("body").get_attribute("data-ready") == bundle.bundle_id
    visit(page, server)
    assert page.locator("body").get_attribute("data-ready") != bundle.bundle_id
