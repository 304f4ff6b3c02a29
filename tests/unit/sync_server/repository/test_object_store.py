"""Published files in S3-compatible storage (moto's server): shared by servers, checked when copied."""

import hashlib
import io

import boto3
import pytest
from moto.server import ThreadedMotoServer

from edge_runtime.contract.errors import ConfigError, StorageError
from sync_server.errors import PublicationError
from sync_server.repository.object_store import SharedFileStore
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import ServerSimulator

BUCKET = "releases"


@pytest.fixture(scope="module")
def storage():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(storage, monkeypatch):
    for name, value in (("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    client = boto3.client("s3", endpoint_url=storage)
    client.create_bucket(Bucket=BUCKET)
    yield client
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])
    client.close()


@pytest.fixture
def store(storage, bucket, tmp_path):
    def make(name, *, url=f"s3://{BUCKET}/fleet", endpoint=storage):
        return SharedFileStore(tmp_path / name, url=url, endpoint_url=endpoint, max_file_bytes=1_000)

    return make


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_file_that_one_server_stored_is_found_by_another(store):
    name = digest(b"content")
    assert store("one").put(name, io.BytesIO(b"content"), max_bytes=100) == 7
    other = store("two")
    assert other.path(name).read_bytes() == b"content"
    assert other.path(digest(b"unknown")) is None
    assert other.path("../../etc/passwd") is None


def test_file_that_was_exchanged_in_the_bucket_is_not_served(store, bucket):
    name = digest(b"content")
    bucket.put_object(Bucket=BUCKET, Key=f"fleet/{name[:2]}/{name}", Body=b"forged")
    with pytest.raises(StorageError, match="other content"):
        store("one").path(name)
    bucket.put_object(Bucket=BUCKET, Key=f"fleet/{name[:2]}/{name}", Body=b"x" * 2_000)
    with pytest.raises(StorageError, match="other content"):
        store("one").path(name)


def test_content_of_another_digest_reaches_neither_folder_nor_bucket(store, bucket):
    with pytest.raises(PublicationError):
        store("one").put(digest(b"content"), io.BytesIO(b"forged"), max_bytes=100)
    assert bucket.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


def test_storage_that_is_away_is_named(store):
    away = store("one", url="s3://no-such-bucket/fleet")
    with pytest.raises(StorageError, match="cannot be written"):
        away.put(digest(b"content"), io.BytesIO(b"content"), max_bytes=100)
    with pytest.raises(ConfigError, match="files_url"):
        store("one", url="nothing://x")


def test_release_is_published_to_and_served_from_the_bucket(storage, bucket, tmp_path):
    server = ServerSimulator(tmp_path / "sim", files_url=f"s3://{BUCKET}/fleet", files_endpoint_url=storage)
    made = write_bundle(tmp_path / "bundle")
    server.publish(made)
    assert bucket.list_objects_v2(Bucket=BUCKET)["KeyCount"] >= len(made.manifest.artifacts)
    copies = list((server.config.home / "repository" / "files").glob("*/*"))
    for copy in copies:
        copy.unlink()
    updater = server.updater(tmp_path / "device")
    assert updater.update().to_bundle_id == made.bundle_id
    server.close()
