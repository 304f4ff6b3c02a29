"""Publishing and downloading over HTTP: who may, what is checked, what is served."""

import hashlib
import io
import re

import pytest
from tuf.api.metadata import Metadata, Snapshot, Targets

from edge_runtime.contract.errors import StorageError
from pocketrec.publishing.key_files import create_keys, key_path
from sync_server.errors import PublicationError
from sync_server.repository.keys import load_signer
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import ServerSimulator


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "bundle")


def put(server, data, sha256=None):
    sha256 = sha256 or hashlib.sha256(data).hexdigest()
    return server.client.put(f"/v1/publish/files/{sha256}", data=data, headers=server.publisher_headers)


def signed_targets(server, keys=None, **fields):
    metadata = Metadata(Targets(**fields))
    metadata.sign(load_signer(key_path(keys or server.keys, "targets")))
    return metadata.to_bytes()


def publish(server, data):
    return server.client.post("/v1/publish/targets", data=data, headers=server.publisher_headers)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "targets"), ("POST", "missing"), ("PUT", f"files/{'0' * 64}"), ("POST", "targets")],
)
def test_only_the_publisher_may_publish(server, method, path):
    url = f"/v1/publish/{path}"
    assert server.client.open(url, method=method).status_code == 401
    wrong = {"Authorization": "Bearer wrong"}
    assert server.client.open(url, method=method, headers=wrong).status_code == 403


def test_device_credential_is_no_publisher_token(server):
    server.enrollment.enroll(server.enrollment.new_code(valid_days=1), "c" * 43)
    answer = server.client.get("/v1/publish/targets", headers={"Authorization": f"Bearer {'c' * 43}"})
    assert answer.status_code == 403


def test_file_with_another_digest_is_not_stored(server):
    announced = hashlib.sha256(b"announced").hexdigest()
    answer = put(server, b"something else", announced)
    assert answer.status_code == 422 and ", expected " in answer.json["error"]
    assert server.repository.files.path(announced) is None
    assert not list((server.config.home / "repository" / "files").rglob(".tmp-*"))


@pytest.mark.parametrize("name", ["short", "A" * 64, "..%2f..%2fserver.sqlite", "0" * 63])
def test_file_name_that_is_no_digest_is_refused(server, name):
    assert put(server, b"x", name).status_code in {404, 422}


def test_oversized_file_is_refused(server, tmp_path, monkeypatch):
    object.__setattr__(server.config, "max_file_bytes", 10)
    assert put(server, b"x" * 11).status_code == 413
    assert put(server, b"x" * 10).status_code == 201


def test_storage_keeps_its_own_limit(server, tmp_path):
    content = tmp_path / "content"
    content.write_bytes(b"x" * 11)
    with content.open("rb") as file, pytest.raises(PublicationError, match="longer than 10 bytes"):
        server.repository.files.put(hashlib.sha256(b"x" * 11).hexdigest(), file, max_bytes=10)


def test_missing_names_what_was_not_uploaded(server):
    put(server, b"here")
    here, absent = hashlib.sha256(b"here").hexdigest(), "0" * 64
    answer = server.client.post(
        "/v1/publish/missing", json={"sha256": [here, absent]}, headers=server.publisher_headers
    )
    assert answer.json == {"missing": [absent]}


def test_targets_of_another_key_are_refused(server, tmp_path):
    create_keys(tmp_path / "thief", expires_days=10, passphrase=None, now=server.now)
    answer = publish(server, signed_targets(server, keys=tmp_path / "thief", version=1))
    assert answer.status_code == 422 and "not signed by the targets keys" in answer.json["error"]


def test_online_keys_cannot_sign_targets(server):
    metadata = Metadata(Targets(version=1))
    metadata.sign(load_signer(key_path(server.keys, "snapshot")))
    assert publish(server, metadata.to_bytes()).status_code == 422


@pytest.mark.parametrize("body", [b"", b"{}", b"nonsense", Metadata(Snapshot()).to_bytes()])
def test_body_that_is_no_targets_is_refused(server, body):
    answer = publish(server, body)
    assert answer.status_code == 422 and "nothing was published" in answer.json["error"]


def test_targets_without_their_files_are_refused(server, bundle):
    server.publish(bundle)
    data = (server.config.home / "repository/metadata/1.targets.json").read_bytes()
    other = ServerSimulator(server.folder / "other")
    other.client.get("/healthz")
    metadata = Metadata[Targets].from_bytes(data)
    metadata.signatures.clear()
    metadata.sign(load_signer(key_path(other.keys, "targets")))
    answer = publish(other, metadata.to_bytes())
    assert answer.status_code == 422 and "not uploaded" in answer.json["error"]
    assert other.client.get("/v1/tuf/timestamp.json").status_code == 404
    other.close()


def test_expired_targets_are_refused(server):
    data = signed_targets(server, version=1, expires=server.now.replace(microsecond=0))
    server.pass_time(days=1)
    assert "expired" in publish(server, data).json["error"]


def test_second_publisher_with_the_same_version_is_told(server, bundle):
    server.publish(bundle)
    data = (server.config.home / "repository/metadata/1.targets.json").read_bytes()
    answer = publish(server, data)
    assert answer.status_code == 409 and "publish again" in answer.json["error"]


def test_oversized_targets_are_refused(server):
    assert publish(server, b" " * (server.config.max_targets_bytes + 1)).status_code == 413


@pytest.mark.parametrize("who", ["nobody", "device", "publisher"])
def test_oversized_body_is_refused_by_every_route(server, who):
    """Whoever sends it, and before it is read: the body that was announced is not there."""
    server.enrollment.enroll(server.enrollment.new_code(valid_days=1), "c" * 43)
    keys = {"nobody": {}, "device": {"Authorization": f"Bearer {'c' * 43}"}, "publisher": server.publisher_headers}
    statuses = {}
    for rule in server.app.url_map.iter_rules():
        for method in rule.methods & {"POST", "PUT"}:
            path = re.sub(r"<[^>]*>", "0" * 64, rule.rule.replace("<any(pause, resume, advance, halt):action>", "halt"))
            announced = {"CONTENT_LENGTH": str(10**12)}
            answer = server.client.open(
                path, method=method, headers=keys[who], input_stream=io.BytesIO(b" "), environ_overrides=announced
            )
            statuses[f"{method} {path}"] = answer.status_code
    assert len(statuses) > 20
    assert set(statuses.values()) <= {401, 403, 404, 413}, statuses
    expected = {"nobody": "/v1/devices/enroll", "device": "/v1/feedback", "publisher": "/v1/publish/targets"}[who]
    assert statuses[f"POST {expected}"] == 413


def test_current_targets_are_given_to_the_publisher(server, bundle):
    assert server.client.get("/v1/publish/targets", headers=server.publisher_headers).status_code == 404
    server.publish(bundle)
    answer = server.client.get("/v1/publish/targets", headers=server.publisher_headers)
    assert Metadata[Targets].from_bytes(answer.data).signed.version == 1


@pytest.mark.parametrize(
    "path",
    [
        "/v1/tuf/../server.sqlite",
        "/v1/tuf/%2e%2e/publisher.token",
        "/v1/tuf/..%2fpublisher.token",
        "/v1/tuf/server.sqlite",
        "/v1/tuf/0.root.json",
        "/v1/tuf/timestamp.json.bak",
        "/v1/tuf/targets/files/../../../publisher.token",
        "/v1/tuf/targets/..%2f..%2f..%2fpublisher.token",
        "/v1/tuf/targets/files/..%2f..%2fserver.sqlite",
        "/v1/tuf/targets/files/" + "0" * 64,
        "/v1/tuf/targets//etc/passwd",
        "/v1/channels/..%2f../server.sqlite",
        "/v1/channels/stable/..%2f..%2fserver.sqlite",
        "/v1/channels/../manifest.json",
        "/shop/../publisher.token",
        "/shop/..%2f..%2fpublisher.token",
        "/shop/%2e%2e/%2e%2e/app.py",
        "/shop//etc/passwd",
        "/console/static/..%2f..%2fapp.py",
        "/console/static/..%5c..%5capp.py",
    ],
)
def test_path_traversal_finds_nothing(server, bundle, path):
    server.publish(bundle)
    answer = server.client.get(path, follow_redirects=True)
    assert answer.status_code == 404
    for inside in (server.token.encode(), b"SQLite format 3", b"create_app", b"root:x:"):
        assert inside not in answer.data


def test_files_are_served_in_parts_with_an_etag(server, bundle):
    server.publish(bundle)
    artifact = bundle.manifest.artifacts[0]
    url = f"/v1/tuf/targets/files/{artifact.sha256}.{artifact.sha256}"
    content = (bundle.folder / artifact.path).read_bytes()
    with server.client.get(url) as whole:
        assert whole.data == content and artifact.sha256 in whole.headers["ETag"]
        assert "max-age" in whole.headers["Cache-Control"]
    with server.client.get(url, headers={"Range": "bytes=10-19"}) as part:
        assert part.status_code == 206 and part.data == content[10:20]
    with server.client.get(url, headers={"If-None-Match": f'"{artifact.sha256}"'}) as same:
        assert same.status_code == 304


def test_timestamp_is_never_cached_and_renewed_when_half_its_life_is_over(server, bundle):
    server.publish(bundle)

    def version():
        with server.client.get("/v1/tuf/timestamp.json") as answer:
            assert answer.headers["Cache-Control"] == "no-cache"
            return answer.json["signed"]["version"], answer.json["signed"]["meta"]["snapshot.json"]["version"]

    assert version() == (1, 1)
    server.pass_time(hours=23)
    assert version() == (1, 1)
    server.pass_time(hours=2)
    assert version() == (2, 1)
    assert version() == (2, 1)
    server.pass_time(days=8)
    assert version() == (3, 2)


def test_timestamp_that_cannot_be_renewed_is_served_as_it_is(server, bundle, monkeypatch, caplog):
    server.publish(bundle)
    server.pass_time(hours=30)

    def full(_path, _data):
        raise StorageError("the disk is full")

    monkeypatch.setattr("sync_server.repository.metadata_store.write_bytes_atomically", full)
    with server.client.get("/v1/tuf/timestamp.json") as answer:
        assert answer.status_code == 200 and answer.json["signed"]["version"] == 1
    assert "was not renewed" in caplog.text


def test_answers_carry_security_headers_and_errors_are_sentences(server):
    answer = server.client.get("/no/such/place")
    assert answer.status_code == 404 and set(answer.json) == {"error"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"


def test_unforeseen_error_shows_no_stack(server, monkeypatch, caplog):
    def broken(_self, _name):
        raise RuntimeError("secret detail")

    monkeypatch.setattr("sync_server.repository.tuf_repository.Repository.metadata_path", broken)
    answer = server.client.get("/v1/tuf/1.root.json")
    assert answer.status_code == 500 and "secret" not in answer.text and "Traceback" not in answer.text
    assert "secret detail" in caplog.text


def test_damaged_repository_is_told_without_its_paths(server, bundle, caplog):
    server.publish(bundle)
    (server.config.home / "repository/metadata/timestamp.json").write_text("{")
    answer = server.client.get("/readyz")
    assert answer.status_code == 503 and str(server.config.home) not in answer.text
    assert "is damaged" in caplog.text


def test_health_and_readiness(server, bundle):
    assert server.client.get("/healthz").json == {"status": "up"}
    assert server.client.get("/readyz").json == {"status": "ready", "targets_version": None}
    server.publish(bundle)
    assert server.client.get("/readyz").json["targets_version"] == 1
