"""The storefront's files and the bundle of a channel over HTTP."""

import gzip
import hashlib
import json

import pytest

from edge_runtime.contract.errors import ConfigError
from pocketrec.publishing.key_files import create_team_key, load_public_key
from pocketrec.publishing.key_push import delegate_channel
from pocketrec.publishing.publisher import LocalTarget, publish
from sync_server.api import storefront
from sync_server.config import ServerConfig
from sync_server.repository.delegations import role_of
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import ServerSimulator


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A built storefront of four files."""
    folder = tmp_path / "storefront"
    (folder / "wasm").mkdir(parents=True)
    for name in ("index.html", "index-0a1B2c3D.js", "sw.js", "wasm/sqlite3.wasm"):
        (folder / f"{name}.gz").write_bytes(gzip.compress(f"this is {name}".encode() * 20))
    monkeypatch.setattr(storefront, "FILES", folder)
    return folder


def get(server, path, **headers):
    with server.client.get(path, headers=headers, buffered=True) as answer:
        return answer


def test_the_page_is_isolated_and_allows_its_own_files_only(server, built):
    answer = get(server, "/shop/")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert not any("http" in sources or "'unsafe-inline'" in sources for sources in policy.values())
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert answer.headers["Cache-Control"] == "no-cache"


def test_the_address_without_a_slash_leads_to_the_page(server, built):
    answer = get(server, "/shop")
    assert (answer.status_code, answer.headers["Location"]) == (308, "/shop/")


def test_files_go_out_compressed_to_those_who_take_it(server, built):
    packed = get(server, "/shop/wasm/sqlite3.wasm", **{"Accept-Encoding": "br, gzip"})
    plain = get(server, "/shop/wasm/sqlite3.wasm", **{"Accept-Encoding": "gzip;q=0"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data == b"this is wasm/sqlite3.wasm" * 20
    assert packed.mimetype == plain.mimetype == "application/wasm"
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert get(server, "/shop/wasm/sqlite3.wasm", **{"If-None-Match": plain.headers["ETag"]}).status_code == 304


def test_only_files_with_a_digest_in_their_name_are_kept_for_good(server, built):
    assert "immutable" in get(server, "/shop/index-0a1B2c3D.js").headers["Cache-Control"]
    assert get(server, "/shop/sw.js").headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "name", ["../app.py", "..%2fapp.py", ".hidden", "a/b/c", "wasm/../../app.py", "nothing.js", "%00"]
)
def test_no_other_file_is_given(server, built, name):
    answer = get(server, f"/shop/{name}")
    assert answer.status_code in (404, 308)


def test_a_server_without_a_built_storefront_says_so(server, tmp_path, monkeypatch):
    monkeypatch.setattr(storefront, "FILES", tmp_path)
    answer = get(server, "/shop/")
    assert answer.status_code == 404
    assert "make web" in answer.json["error"]


def test_a_channel_gives_its_manifest_with_the_release(server, tmp_path):
    assert get(server, "/v1/channels/stable/manifest.json").status_code == 404
    server.publish(write_bundle(tmp_path / "one"))
    bundle = write_bundle(tmp_path / "two", words="second")
    server.publish(bundle)
    answer = get(server, "/v1/channels/stable/manifest.json")
    assert hashlib.sha256(answer.data).hexdigest() == bundle.bundle_id
    assert answer.headers["Pocketrec-Release"] == "2"
    again = get(server, "/v1/channels/stable/manifest.json", **{"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


def test_a_channel_that_a_team_signs_gives_its_manifest(server, tmp_path):
    target = LocalTarget(server.repository, max_file_bytes=10_000_000)
    team, root = tmp_path / "team", server.keys / "root.json"
    keys = [load_public_key(create_team_key(team, role_of("toys"), root=root, passphrase=None))]
    delegate_channel(server.keys, target, "toys", public_keys=keys, threshold=1, passphrase=None)
    bundle = write_bundle(tmp_path / "one")
    publish(bundle.folder, channel="toys", keys=team, target=target)
    answer = get(server, "/v1/channels/toys/manifest.json")
    assert hashlib.sha256(answer.data).hexdigest() == bundle.bundle_id
    assert get(server, "/v1/channels/toys/catalogue.sqlite").status_code == 200


def test_a_file_is_given_by_name_and_by_digest_while_another_release_is_out(server, tmp_path):
    old, new = write_bundle(tmp_path / "one"), write_bundle(tmp_path / "two", words="second")
    server.publish(old)
    server.publish(new)
    digests = [{one.path: one.sha256 for one in bundle.manifest.artifacts} for bundle in (old, new)]
    path = "/v1/channels/stable/catalogue.sqlite"
    named = get(server, path)
    asked = get(server, f"{path}?sha256={digests[0]['catalogue.sqlite']}")
    assert hashlib.sha256(named.data).hexdigest() == digests[1]["catalogue.sqlite"]
    assert hashlib.sha256(asked.data).hexdigest() == digests[0]["catalogue.sqlite"]
    assert named.headers["Cache-Control"] == "no-cache" and "immutable" in asked.headers["Cache-Control"]


@pytest.mark.parametrize(
    "path", ["stable/nothing.txt", "other/manifest.json", "stable/encoder.tflite?sha256=../x", "A!/manifest.json"]
)
def test_what_a_channel_does_not_have_is_not_found(server, tmp_path, path):
    server.publish(write_bundle(tmp_path / "one"))
    answer = get(server, f"/v1/channels/{path}")
    assert answer.status_code == 404
    assert "error" in json.loads(answer.data)


SHOP = "https://shop.example.com"
CHANNEL_FILES = ("manifest.json", "catalogue.sqlite", "nothing.txt")


@pytest.mark.parametrize(
    ("settings", "origin", "allowed"),
    [((SHOP,), SHOP, SHOP), (("*",), SHOP, SHOP), ((SHOP,), "https://evil.example", None), ((), SHOP, None)],
)
def test_pages_of_other_sites_read_a_channels_files_where_that_is_allowed(tmp_path, settings, origin, allowed):
    server = ServerSimulator(tmp_path, allowed_origins=settings)
    try:
        server.publish(write_bundle(tmp_path / "bundle"))
        for name in CHANNEL_FILES:
            answer = get(server, f"/v1/channels/stable/{name}", Origin=origin)
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed
            # A cache must not give one site's answer to another.
            assert ("Origin" in answer.headers.get("Vary", "")) == bool(settings)
        assert "Access-Control-Allow-Origin" not in get(server, "/v1/openapi.json", Origin=origin).headers
    finally:
        server.close()


def test_a_preflight_for_a_part_of_a_file_is_answered(tmp_path):
    server = ServerSimulator(tmp_path, allowed_origins=(SHOP,))
    try:
        answer = server.client.options("/v1/channels/stable/catalogue.sqlite", headers={"Origin": SHOP})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Headers"]) == (200, "Range")
    finally:
        server.close()


@pytest.mark.parametrize("origin", ["shop.example.com", "https://shop.example.com/", ""])
def test_what_is_no_origin_is_refused(origin):
    with pytest.raises(ConfigError, match="allowed_origins"):
        ServerConfig(allowed_origins=(origin,))


@pytest.mark.parametrize("path", ["/healthz", "/v1/tuf/timestamp.json", "/v1/channels/stable/offer", "/shop/"])
def test_only_the_console_depends_on_the_cookie(server, tmp_path, built, path):
    server.publish(write_bundle(tmp_path / "one"))
    assert "Cookie" not in get(server, path).headers.get("Vary", "")
    assert "Cookie" in get(server, "/console/login").headers["Vary"]
