"""The storefront's files and the bundle of a channel over HTTP."""

import gzip
import hashlib
import json

import pytest

from pocketrec.publishing.key_files import create_team_key, load_public_key
from pocketrec.publishing.key_push import delegate_channel
from pocketrec.publishing.publisher import LocalTarget, publish
from sync_server.api import storefront
from sync_server.repository.delegations import role_of
from tests.support.fleet_bundles import write_bundle


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
