"""Publishing from the builder's side: what is signed, and what a kill at any point leaves."""

import random

import pytest
from tuf.api.metadata import Metadata, Targets

from edge_runtime.contract.bundle import MODEL_FILES
from edge_runtime.contract.errors import (
    BundleFormatError,
    ConfigError,
    DigestMismatchError,
    DownloadError,
    HttpStatusError,
    SignatureError,
    UpdateError,
)
from edge_runtime.contract.release import ReleaseNote, delta_target, file_target, manifest_target
from pocketrec.publishing.api_client import ApiClient, read_token
from pocketrec.publishing.key_files import create_keys
from pocketrec.publishing.publisher import LocalTarget, publish
from sync_server.errors import PublicationConflictError, PublicationError
from sync_server.repository.releases import all_releases, releases
from tests.support.fleet_bundles import write_bundle


class Killed(BaseException):
    """Stands for the end of the process."""


def served(server):
    """Bundle id per channel, as the files that devices read say it."""
    targets = server.repository.targets()
    return {} if targets is None else {name: note.bundle_id for name, note in releases(targets.signed).items()}


def test_signed_targets_bind_every_file_by_length_and_digest(server, first):
    publication = server.publish(first)
    targets = server.repository.targets().signed
    for artifact in first.manifest.artifacts:
        target = targets.targets[file_target(artifact.sha256)]
        assert (target.length, target.hashes) == (artifact.length_bytes, {"sha256": artifact.sha256})
    manifest = targets.targets[manifest_target("stable")]
    assert manifest.hashes["sha256"] == first.bundle_id == publication.bundle_id
    assert len(targets.targets) == len(first.manifest.artifacts) + 2, "the manifest by its number and as the newest"
    assert (publication.release, publication.targets_version) == (1, 1)


def test_second_release_uploads_only_what_changed(server, first, second):
    server.publish(first)
    publication = server.publish(second)
    assert (publication.release, publication.files_uploaded) == (2, 4)


def test_files_that_no_channel_uses_are_no_longer_signed(server, first, second):
    server.publish(first)
    server.publish(second, keep=1)
    named = server.repository.targets().signed.targets
    gone = {item.sha256 for item in first.manifest.artifacts} - {item.sha256 for item in second.manifest.artifacts}
    assert gone and not any(file_target(sha256) in named for sha256 in gone)


def test_releases_stay_side_by_side_until_too_many(server, tmp_path):
    for number in range(1, 6):
        server.publish(write_bundle(tmp_path / str(number), words=f"number {number}"))
    signed = server.repository.targets().signed
    assert sorted(all_releases(signed)["stable"]) == [3, 4, 5]
    newest = signed.targets[manifest_target("stable")]
    assert newest.hashes == signed.targets[manifest_target("stable", 5)].hashes


def test_staged_release_is_signed_but_is_not_the_channels_newest(server, first, second, tmp_path):
    server.publish(first)
    for number in range(4):
        server.publish(write_bundle(tmp_path / str(number), words=f"number {number}"), staged=True)
    signed = server.repository.targets().signed
    assert sorted(all_releases(signed)["stable"]) == [1, 3, 4, 5], "the one that is open to all stays"
    assert signed.targets[manifest_target("stable")].hashes["sha256"] == first.bundle_id
    assert server.publish(second).release == 6


def test_first_release_of_a_channel_cannot_be_staged(server, first):
    with pytest.raises(ConfigError, match="publish the first one without --staged"):
        server.publish(first, staged=True)
    assert served(server) == {}


def test_deltas_are_published_and_withdrawn_with_their_files(server, tmp_path):
    chance = random.Random(0)
    noise = chance.randbytes(20_000)
    bundles = [
        write_bundle(tmp_path / str(n), encoder=noise[:15_000] + bytes([n]) * 9 + noise[15_000:]) for n in range(4)
    ]
    server.publish(bundles[0])
    publication = server.publish(bundles[1])
    [delta] = publication.deltas
    old, new = (next(a for a in bundle.manifest.artifacts if a.path == "encoder.tflite") for bundle in bundles[:2])
    assert (delta.note.base_sha256, delta.note.result_sha256) == (old.sha256, new.sha256)
    assert delta.length_bytes < 500
    path = delta_target(old.sha256, new.sha256)
    assert server.repository.targets().signed.targets[path].hashes == {"sha256": delta.sha256}
    assert len(server.publish(bundles[2]).deltas) == 2, "from both releases before"
    server.publish(bundles[3])
    assert path not in server.repository.targets().signed.targets, "release 1 is no longer signed"
    assert server.publish(bundles[0], make=None).deltas == []


def test_earlier_release_that_cannot_be_read_costs_only_its_deltas(server, first, tmp_path):
    noise = random.Random(0).randbytes(20_000)
    server.publish(write_bundle(tmp_path / "old", encoder=noise))
    target = server.repository.files.path(
        server.repository.targets().signed.targets[manifest_target("stable")].hashes["sha256"]
    )
    target.write_bytes(b"x" * target.stat().st_size)
    assert server.publish(write_bundle(tmp_path / "new", encoder=noise + b"x")).deltas == []


def test_other_channels_stay_as_they_are(server, first, second):
    server.publish(first, channel="stable")
    server.publish(second, channel="beta")
    server.publish(second, channel="beta")
    assert served(server) == {"stable": first.bundle_id, "beta": second.bundle_id}
    assert releases(server.repository.targets().signed)["stable"].release == 1


def test_damaged_bundle_is_not_published(server, first):
    (first.folder / MODEL_FILES[0]).write_bytes(b"x" * first.manifest.artifacts[3].length_bytes)
    with pytest.raises(DigestMismatchError):
        server.publish(first)
    assert served(server) == {}


def test_symbolic_link_in_a_bundle_is_not_published(server, first, tmp_path):
    """A bundle from elsewhere could have a secret of the builder's machine published."""
    secret = tmp_path / "secret"
    path = first.folder / MODEL_FILES[0]
    path.rename(secret)
    path.symlink_to(secret)
    with pytest.raises(BundleFormatError, match="not a regular file"):
        server.publish(first)
    assert served(server) == {}


@pytest.mark.parametrize("channel", ["", "Stable", "a/b", "..", "a" * 41])
def test_channel_names_are_checked(server, first, channel):
    with pytest.raises(ConfigError, match="lower-case"):
        server.publish(first, channel=channel)


def test_validity_must_be_positive(server, first):
    with pytest.raises(ConfigError, match="at least one day"):
        server.publish(first, expires_days=0)


def test_keys_of_another_fleet_are_refused(server, first, tmp_path):
    server.publish(first)
    create_keys(tmp_path / "other", expires_days=10, passphrase=None, now=server.now)
    target = LocalTarget(server.repository, max_file_bytes=1_000_000)
    with pytest.raises(SignatureError, match="was not signed by these keys"):
        publish(first.folder, channel="stable", keys=tmp_path / "other", target=target)


def test_stolen_server_cannot_have_its_own_targets_signed(server, first):
    class Forging(LocalTarget):
        def targets(self):
            return Metadata(Targets(version=7)).to_bytes()

    with pytest.raises(SignatureError, match="what the server serves"):
        publish(first.folder, channel="stable", keys=server.keys, target=Forging(server.repository, 1_000_000))


def test_server_that_serves_old_targets_cannot_undo_a_release(server, first, second):
    """The publisher builds on what it signed last, not on the older state that the server shows."""
    server.publish(first, channel="stable")
    old = server.repository.targets().to_bytes()
    server.publish(second, channel="beta")

    class Forgetful(LocalTarget):
        def targets(self):
            return old

    publish(first.folder, channel="stable", keys=server.keys, target=Forgetful(server.repository, 1_000_000))
    assert served(server) == {"stable": first.bundle_id, "beta": second.bundle_id}
    assert server.repository.targets().signed.version == 3


@pytest.mark.parametrize("name", ["2.targets.json", "2.snapshot.json", "timestamp.json"])
def test_kill_while_publishing_serves_the_old_release(server, first, second, monkeypatch, tmp_path, name):
    server.publish(first)
    from sync_server.repository import metadata_store

    write = metadata_store.write_bytes_atomically

    def killed_at(path, data):
        if path.name == name:
            raise Killed
        write(path, data)

    monkeypatch.setattr(metadata_store, "write_bytes_atomically", killed_at)
    with pytest.raises(Killed):
        server.publish(second)
    monkeypatch.setattr(metadata_store, "write_bytes_atomically", write)
    assert served(server) == {"stable": first.bundle_id}
    assert server.updater(tmp_path / "device").update().to_bundle_id == first.bundle_id
    server.publish(second)
    assert server.updater(tmp_path / "device").update().to_bundle_id == second.bundle_id


def test_kill_while_uploading_serves_the_old_release(server, first, second):
    server.publish(first)

    class Dying(LocalTarget):
        def put(self, sha256, content, length):
            raise Killed

    with pytest.raises(Killed):
        publish(second.folder, channel="stable", keys=server.keys, target=Dying(server.repository, 1_000_000))
    assert served(server) == {"stable": first.bundle_id}


def test_note_that_names_unsigned_files_is_refused(server, first, monkeypatch):
    note = ReleaseNote(bundle_id=first.bundle_id, release=1, published_at="now", files=["0" * 64])
    monkeypatch.setattr("sync_server.repository.publication_checks.all_releases", lambda _: {"stable": {1: note}})
    with pytest.raises(PublicationError, match="not signed"):
        server.publish(first)


@pytest.mark.parametrize("custom", [None, {}, {"bundle_id": "x"}, {"release": "one"}])
def test_malformed_release_note_is_named(custom):
    with pytest.raises(UpdateError, match="'stable' is malformed"):
        ReleaseNote.from_target(custom, channel="stable")


def test_release_note_with_a_false_digest_or_number_is_named():
    note = {"bundle_id": "x", "release": 1, "published_at": "now", "files": []}
    for wrong in (note, {**note, "bundle_id": "0" * 64, "release": 0}, {**note, "files": ["x"]}):
        with pytest.raises(UpdateError, match="malformed"):
            ReleaseNote.from_target(wrong, channel="stable")


def publish_to(server, bundle, target):
    return publish(bundle.folder, channel="stable", keys=server.keys, target=target, clock=lambda: server.now)


def test_publishing_over_the_network(server, address, first, second):
    names = []
    target = ApiClient(address, token=server.token)
    publish(first.folder, channel="stable", keys=server.keys, target=target, on_file=lambda name, _: names.append(name))
    assert served(server) == {"stable": first.bundle_id} and len(names) == 7
    assert publish_to(server, second, target).files_uploaded == 4


def test_wrong_token_is_told_with_its_status(server, address, first):
    with pytest.raises(HttpStatusError, match=r"403: this is not an API key") as caught:
        publish_to(server, first, ApiClient(address, token="wrong"))
    assert caught.value.status_code == 403
    assert "wrong" not in repr(ApiClient(address, token="wrong"))


def test_conflict_over_the_network_is_told(server, address, first):
    publish_to(server, first, ApiClient(address, token=server.token))
    data = (server.config.home / "repository/metadata/1.targets.json").read_bytes()
    with pytest.raises(PublicationConflictError, match="publish again"):
        ApiClient(address, token=server.token).publish(data)


def test_server_that_is_down_is_told(server, first):
    with pytest.raises(DownloadError, match="cannot reach"):
        publish_to(server, first, ApiClient("http://127.0.0.1:9", token="t"))


def test_answer_of_another_program_is_told(monkeypatch):
    target = ApiClient("https://example.com", token="t")
    monkeypatch.setattr(ApiClient, "_send", lambda *_a, **_k: b"[]")
    with pytest.raises(DownloadError, match="as agreed"):
        target.missing(["0" * 64])


@pytest.mark.parametrize("url", ["ftp://x", "https://", "https://user@x", "https://x?token=1", "nonsense"])
def test_malformed_address_is_refused(url):
    with pytest.raises(ConfigError, match="expected a server address"):
        ApiClient(url, token="t")


def test_token_does_not_travel_unprotected():
    with pytest.raises(ConfigError, match="plain http"):
        ApiClient("http://updates.example.com", token="t")
    assert ApiClient("http://updates.example.com", token="t", allow_plain_http=True)


def test_token_comes_from_a_file(tmp_path):
    path = tmp_path / "token"
    with pytest.raises(ConfigError, match="cannot read"):
        read_token(path)
    path.write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        read_token(path)
    path.write_text("secret\n")
    assert read_token(path) == "secret"
