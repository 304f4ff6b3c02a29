"""A device against the real server's code: what an attacker, a broken network or a full disk may try."""

import errno
import json
import os
import random
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, Signature

from edge_runtime.contract.bundle import MANIFEST_FILE, MODEL_FILES, open_bundle
from edge_runtime.contract.errors import (
    BundleError,
    BundleVersionError,
    DownloadError,
    DownloadTooLargeError,
    ExpiredReleaseError,
    GoldenMismatchError,
    HttpStatusError,
    RollbackError,
    SignatureError,
    StorageError,
    UpdateError,
)
from edge_runtime.contract.release import file_target
from edge_runtime.updates.http_transport import Answer
from pocketrec.publishing.key_files import create_keys, key_path
from sync_server.repository.keys import load_root, load_signer
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import ServerSimulator, changed_body, whole_body


def answering(home: Path) -> str:
    """The id of the bundle that answers on the device, after comparing every byte of it."""
    return open_bundle(home / "current").bundle_id


def metadata_folder(server: ServerSimulator) -> Path:
    return server.config.home / "repository" / "metadata"


def fail_on(part: str, error: Exception):
    def fault(_method, path, answer):
        if part in path:
            raise error
        return answer

    return fault


def test_first_sync_installs_the_release(server, home, first):
    server.publish(first)
    report = server.updater(home).update()
    assert (report.from_bundle_id, report.to_bundle_id, report.release) == (None, first.bundle_id, 1)
    assert report.files_downloaded == len(first.manifest.artifacts)
    assert answering(home) == first.bundle_id


def test_second_sync_downloads_nothing(server, home, first):
    server.publish(first)
    server.updater(home).update()
    server.transport.requests.clear()
    report = server.updater(home).update()
    assert report.bytes_downloaded == 0 and report.from_bundle_id == report.to_bundle_id
    assert not any("targets/" in request for request in server.transport.requests)


def test_catalogue_update_reuses_the_model(server, home, first, second):
    server.publish(first)
    server.updater(home).update()
    server.publish(second)
    report = server.updater(home).update()
    assert report.files_reused == 3 and report.files_downloaded == 3
    assert answering(home) == second.bundle_id
    slots = server.updater(home).slots
    assert slots.previous.bundle_id == first.bundle_id


def test_third_release_removes_the_first(server, home, first, second, tmp_path):
    for bundle in (first, second, write_bundle(tmp_path / "third", words="third")):
        server.publish(bundle)
        server.updater(home).update()
    assert len([path for path in (home / "slots").iterdir() if path.is_dir()]) == 2
    assert not list((home / "partial").iterdir())


def test_older_bundle_may_be_published_as_a_new_release(server, home, first, second):
    for bundle in (first, second, first):
        server.publish(bundle)
        report = server.updater(home).update()
    assert report.release == 3 and answering(home) == first.bundle_id


def test_channels_are_apart(server, home, first, second):
    server.publish(first, channel="stable")
    server.publish(second, channel="beta")
    assert server.updater(home, channel="beta").update().to_bundle_id == second.bundle_id
    assert server.updater(home.with_name("other")).update().to_bundle_id == first.bundle_id
    with pytest.raises(UpdateError, match="no release in channel 'nightly'"):
        server.updater(home, channel="nightly").update()


def test_empty_server_says_so(server, home):
    with pytest.raises(HttpStatusError, match="nothing yet"):
        server.updater(home).update()


# Attacks on the metadata


def test_rolled_back_timestamp_is_refused(server, home, first, second):
    server.publish(first)
    old = shutil.copytree(metadata_folder(server), home.with_name("old"))
    server.publish(second)
    server.updater(home).update()
    shutil.copytree(old, metadata_folder(server), dirs_exist_ok=True)
    with pytest.raises(RollbackError, match="older"):
        server.updater(home).update()
    assert answering(home) == second.bundle_id


def test_release_number_that_falls_is_refused(server, home, first, second, tmp_path):
    server.publish(first)
    server.publish(second)
    server.updater(home).update()
    record = next((home / "slots").glob("*.json"))
    record.write_text(record.read_text().replace('"release":2', '"release":9'))
    with pytest.raises(RollbackError, match="this device has 9"):
        server.updater(home).update()


def test_release_signed_by_another_key_is_refused(server, home, first, tmp_path):
    server.publish(first)
    server.updater(home).update()
    thief = ServerSimulator(tmp_path / "thief")
    thief.publish(write_bundle(tmp_path / "evil", words="evil"))
    server.transport._client = thief.client
    with pytest.raises(SignatureError, match="not signed"):
        server.updater(home).update()
    assert answering(home) == first.bundle_id
    thief.close()


def serve_signed(server, signer, change=lambda _: None, *, under=None):
    """Serve targets of the next version with `change` in them, as a server that was broken into can; `signer` signs."""
    metadata = server.repository.targets()
    metadata.signed.version += 1
    change(metadata.signed)
    if signer is not None:
        metadata.signatures.clear()
        signature = metadata.sign(signer)
        metadata.signatures = {under or signature.keyid: Signature(under or signature.keyid, signature.signature)}
    data = metadata.to_bytes()
    (metadata_folder(server) / f"{metadata.signed.version}.targets.json").write_bytes(data)
    server.repository._sign_timestamp(server.repository._sign_snapshot(metadata.signed.version, data))


@pytest.mark.parametrize("by", ["the old signature", "an online key", "an online key by the name of the offline one"])
def test_stolen_server_cannot_forge_a_release(server, home, first, by):
    """A holder of the online keys can sign a snapshot over changed targets, but not the targets."""
    server.publish(first)
    server.updater(home).update()
    signer = None if by == "the old signature" else load_signer(key_path(server.keys, "snapshot"))
    name = load_root(server.keys / "root.json").signed.roles["targets"].keyids[0]
    serve_signed(server, signer, under=name if "name" in by else None)
    with pytest.raises(SignatureError, match="not signed"):
        server.updater(home).update()
    assert answering(home) == first.bundle_id


def test_rotated_targets_key_is_followed_and_the_old_one_refused(server, home, first):
    """A root that the old root key has signed may name another targets key; what the old one signed is void then."""
    server.publish(first)
    server.updater(home).update()
    root = load_root(server.keys / "root.json")
    root.signed.version = 2
    root.signed.revoke_key(root.signed.roles["targets"].keyids[0], "targets")
    root.signed.add_key(CryptoSigner.generate_ed25519().public_key, "targets")
    root.sign(load_signer(key_path(server.keys, "root")))
    (metadata_folder(server) / "2.root.json").write_bytes(root.to_bytes())
    server.pass_time(seconds=2)
    with pytest.raises(SignatureError, match="not signed"):
        server.updater(home).update()
    assert answering(home) == first.bundle_id


def test_root_signed_by_another_key_is_refused(server, home, first, tmp_path):
    server.publish(first)
    server.updater(home).update()
    root = load_root(server.keys / "root.json")
    root.signed.version = 2
    create_keys(tmp_path / "thief", expires_days=10, passphrase=None, now=server.now)
    root.sign(load_signer(key_path(tmp_path / "thief", "root")))
    (metadata_folder(server) / "2.root.json").write_bytes(root.to_bytes())
    server.pass_time(seconds=2)
    with pytest.raises(SignatureError, match="not signed"):
        server.updater(home).update()


def test_expired_timestamp_is_refused(server, home, first):
    server.now -= timedelta(days=30)
    server.publish(first)
    server.transport.fault = lambda _m, path, answer: answer
    server.pass_time(hours=1)
    with pytest.raises(ExpiredReleaseError, match="out of date"):
        server.updater(home).update()
    assert not (home / "current").exists()


def test_expired_targets_are_refused(server, home, first):
    server.now -= timedelta(days=30)
    server.publish(first, expires_days=5)
    server.now = datetime.now(UTC)
    with pytest.raises(ExpiredReleaseError, match="out of date"):
        server.updater(home).update()


def test_network_that_holds_a_device_back_is_reported_once_its_signatures_are_out_of_date(server, home, first):
    server.publish(first)
    server.updater(home).update()
    server.transport.fault = fail_on("/v1/", DownloadError("the mirror drips"))
    server.pass_time(hours=1)
    with pytest.raises(DownloadError, match="the mirror drips"):
        server.updater(home).update()
    server.pass_time(days=3)
    with pytest.raises(ExpiredReleaseError, match=r"the mirror drips; .* expired on 20.* held back"):
        server.updater(home).update()
    assert answering(home) == first.bundle_id


def test_mix_and_match_of_snapshots_is_refused(server, home, first, second):
    server.publish(first)
    server.publish(second)
    folder = metadata_folder(server)
    shutil.copy(folder / "1.targets.json", folder / "2.targets.json")
    with pytest.raises(SignatureError, match="something else than what was signed"):
        server.updater(home).update()


NO_OFFER = Answer(404, {"content-type": "application/json"}, iter([]))


def test_server_without_offers_gives_the_newest_release(server, home, first):
    server.publish(first)
    server.transport.fault = lambda _m, path, answer: NO_OFFER if path.endswith("/offer") else answer
    assert server.updater(home).update().to_bundle_id == first.bundle_id
    assert "GET /v1/tuf/timestamp.json" in server.transport.requests


def test_metadata_that_is_no_metadata_is_refused(server, home, first):
    server.publish(first)

    def fault(_method, path, answer):
        if path.endswith("/offer"):
            return NO_OFFER
        return changed_body(answer, lambda _: b"nonsense") if path.endswith("timestamp.json") else answer

    server.transport.fault = fault
    with pytest.raises(DownloadError, match="not a release"):
        server.updater(home).update()


@pytest.mark.parametrize("offer", [b"nonsense", b"{}", b"[]", b'{"root_version":1,"timestamp":5}', b"\xff"])
def test_offer_that_is_no_offer_is_refused(server, home, first, offer):
    server.publish(first)
    server.transport.fault = lambda _m, path, answer: (
        changed_body(answer, lambda _: offer) if path.endswith("/offer") else answer
    )
    with pytest.raises(DownloadError, match="offer is malformed"):
        server.updater(home).update()


def changed_offer(**fields):
    """What a stolen server may say: it can change all of an offer, which nobody has signed."""

    def fault(_method, path, answer):
        change = lambda data: json.dumps({**json.loads(data), **fields}).encode()  # noqa: E731
        return changed_body(answer, change) if path.endswith("/offer") else answer

    return fault


def rollout_of(**fields):
    return {"rollout": {"id": "r", "seed": "s", "release": 1, "share": 1.0, **fields}}


def experiment_of(variant=None, **fields):
    arm = {"name": "a", "release": 1, "weight": 1.0, **(variant or {})}
    return {"experiment": {"id": "e", "seed": "s", "arms": [arm], **fields}}


@pytest.mark.parametrize(
    ("offer", "told"),
    [
        (rollout_of(id="r" * 30_000), "names of 1 to 200"),
        (rollout_of(id=""), "names of 1 to 200"),
        (rollout_of(seed="s" * 201), "names of 1 to 200"),
        (rollout_of(share=-0.5), "shares between 0 and 1"),
        (experiment_of(id="e" * 201), "names of 1 to 200"),
        (experiment_of(id="e\x00"), "names of 1 to 200"),
        (experiment_of({"name": "a\x1b[2J"}), "names of 1 to 200"),
        (experiment_of({"name": ""}), "names of 1 to 200"),
        (experiment_of({"weight": 1e300}), "shares between 0 and 1"),
    ],
)
def test_stolen_server_cannot_offer_what_no_event_may_name(server, home, first, second, offer, told):
    server.publish(first)
    server.updater(home).update()
    before = (home / "offer.json").read_bytes()
    server.publish(second)
    server.transport.fault = changed_offer(**offer)
    with pytest.raises(DownloadError, match=f"offer is refused: .*{told}"):
        server.updater(home).update()
    assert (home / "offer.json").read_bytes() == before and answering(home) == first.bundle_id
    assert server.updater(home).slots.installed.reason is None
    server.transport.fault = lambda _m, _p, answer: answer
    assert server.updater(home).update().to_bundle_id == second.bundle_id


def test_false_offer_that_an_older_version_kept_does_no_harm(server, home, first):
    server.publish(first)
    server.updater(home).update()
    kept = json.loads((home / "offer.json").read_bytes())
    kept["offer"] |= experiment_of(id="e" * 300)
    (home / "offer.json").write_text(json.dumps(kept))
    assert server.updater(home).update().to_bundle_id == first.bundle_id
    assert "eee" not in (home / "offer.json").read_text()
    assert server.updater(home).slots.installed.reason is None


def test_stolen_server_cannot_offer_a_timestamp_of_its_own(server, home, first, tmp_path):
    server.publish(first)
    thief = ServerSimulator(tmp_path / "thief")
    thief.publish(write_bundle(tmp_path / "evil", words="evil"))
    forged = (metadata_folder(thief) / "timestamp.json").read_text()
    server.transport.fault = changed_offer(timestamp=forged)
    with pytest.raises(SignatureError, match="not signed"):
        server.updater(home).update()
    server.transport.fault = changed_offer(timestamp="nonsense")
    with pytest.raises(DownloadError, match="not a release"):
        server.updater(home).update()
    server.transport.fault = lambda _m, _p, answer: answer
    assert server.updater(home).update().to_bundle_id == first.bundle_id, "a false offer is not kept"
    thief.close()


def test_stolen_server_cannot_bring_back_an_offer_with_an_old_timestamp(server, home, first, second):
    server.publish(first)
    old = (metadata_folder(server) / "timestamp.json").read_text()
    server.publish(second)
    server.updater(home).update()
    server.transport.fault = changed_offer(timestamp=old)
    (home / "offer.json").unlink()
    with pytest.raises(RollbackError, match="older"):
        server.updater(home).update()
    assert answering(home) == second.bundle_id


def test_stolen_server_cannot_offer_a_release_that_is_not_signed(server, home, first, second):
    server.publish(first)
    server.publish(second, keep=1)
    server.updater(home).update()
    (home / "offer.json").unlink()
    for number in (1, 3, -1, 10**12):
        server.transport.fault = changed_offer(release=number)
        with pytest.raises(UpdateError, match="no release"):
            server.updater(home).update()
    assert answering(home) == second.bundle_id


def test_server_may_choose_among_the_releases_that_the_publisher_keeps_signed(server, home, first, second):
    """That is what a rollout goes back by; the publisher withdraws a release with --keep."""
    server.publish(first)
    server.publish(second)
    server.updater(home).update()
    (home / "offer.json").unlink()
    server.transport.fault = changed_offer(release=1)
    report = server.updater(home).update()
    assert report.to_bundle_id == first.bundle_id and answering(home) == first.bundle_id


def test_offer_that_hides_a_new_root_is_no_worse_than_a_server_that_does(server, home, first):
    server.publish(first)
    server.transport.fault = changed_offer(root_version=99)
    assert server.updater(home).update().to_bundle_id == first.bundle_id
    assert "GET /v1/tuf/2.root.json" in server.transport.requests


def test_idle_device_asks_once_and_for_less_than_two_kilobytes(server, home, first):
    server.publish(first)
    server.updater(home).update()
    server.transport.requests.clear()
    lengths = []

    def fault(_method, _path, answer):
        data = b"".join(answer.chunks)
        lengths.append(len(data) + sum(len(name) + len(value) + 4 for name, value in answer.headers.items()))
        return changed_body(answer, lambda _: data)

    server.transport.fault = lambda m, p, a: fault(m, p, a) if a.status == 200 else a
    assert server.updater(home).update().bytes_downloaded == 0
    assert server.transport.requests == ["GET /v1/channels/stable/offer"]
    (home / "offer.json").unlink()
    server.updater(home).update()
    assert server.transport.requests == ["GET /v1/channels/stable/offer"] * 2
    assert len(lengths) == 1 and lengths[0] < 2_000, "the second was sent whole, the first was 304"


def endless(read):
    """Give pieces of 10,000 bytes without end; `read` grows with each."""
    while True:
        read.append(1)
        yield b"x" * 10_000


@pytest.mark.parametrize("part", ["/offer", "2.root.json", "timestamp.json", "snapshot.json", "targets.json"])
def test_endless_metadata_is_not_read_to_its_end(server, home, first, part):
    server.publish(first)
    read = []

    def fault(_method, path, answer):
        if path.endswith(part):
            return Answer(200, {"content-type": "application/json"}, endless(read))
        return NO_OFFER if path.endswith("/offer") else answer

    server.transport.fault = fault
    with pytest.raises(DownloadTooLargeError):
        server.updater(home).update()
    assert 0 < len(read) * 10_000 < 10_000_000
    assert not (home / "current").exists()


# Attacks on the files


def test_tampered_file_is_refused_and_not_kept(server, home, first):
    server.publish(first)
    flip = lambda data: bytes([data[0] ^ 1]) + data[1:]  # noqa: E731
    server.transport.fault = lambda _m, path, answer: changed_body(answer, flip) if "/files/" in path else answer
    with pytest.raises(SignatureError, match="something else than what was signed"):
        server.updater(home).update()
    assert not (home / "current").exists() and not list((home / "partial").iterdir())
    server.transport.fault = lambda _m, _p, answer: answer
    assert server.updater(home).update().to_bundle_id == first.bundle_id


def test_file_that_ends_early_is_refused_and_fetched_anew(server, home, first):
    server.publish(first)

    def cut(data):
        return data[:-1]

    server.transport.fault = lambda _m, path, answer: whole_body(answer, cut) if "/files/" in path else answer
    with pytest.raises(SignatureError, match="ends 1 bytes before"):
        server.updater(home).update()
    assert not (home / "current").exists() and not list((home / "partial").iterdir())
    server.transport.fault = lambda _m, _p, answer: answer
    assert server.updater(home).update().to_bundle_id == first.bundle_id


def test_download_without_a_length_goes_on_where_its_connection_broke(server, home, first):
    server.publish(first)

    def break_off(answer):
        return replace(changed_body(answer, lambda data: data[:-1]), headers={})

    server.transport.fault = lambda _m, path, answer: break_off(answer) if "/files/" in path else answer
    with pytest.raises(DownloadError, match="the connection broke after"):
        server.updater(home).update()
    assert list((home / "partial").iterdir())


def test_tampered_manifest_is_refused(server, home, first):
    server.publish(first)
    server.transport.fault = lambda _m, path, answer: (
        changed_body(answer, lambda data: data.replace(b"toy", b"joy")) if "manifest" in path else answer
    )
    with pytest.raises(SignatureError, match="something else"):
        server.updater(home).update()


@pytest.mark.parametrize("part", ["/files/", "manifest"])
def test_endless_file_is_not_read_to_its_end(server, home, first, part):
    server.publish(first)
    read = []
    server.transport.fault = lambda _m, path, answer: replace(answer, chunks=endless(read)) if part in path else answer
    with pytest.raises(DownloadTooLargeError, match=r"longer than|more than"):
        server.updater(home).update()
    assert 0 < len(read) < 10
    assert not (home / "current").exists()


def test_login_page_of_a_public_network_is_not_data(server, home, first):
    server.publish(first)
    page = Answer(200, {"content-type": "text/html; charset=utf-8"}, iter([b"<html>sign in</html>"]))
    server.transport.fault = lambda _m, _p, _a: page
    with pytest.raises(DownloadError, match="web page"):
        server.updater(home).update()


def test_manifest_that_names_unsigned_files_is_refused(server, home, first):
    """Targets that the publisher's key signed, without one of the files that the bundle needs."""
    server.publish(first)
    path = file_target(first.manifest.artifacts[0].sha256)
    serve_signed(server, load_signer(key_path(server.keys, "targets")), lambda targets: targets.targets.pop(path))
    with pytest.raises(SignatureError, match="not among the signed files"):
        server.updater(home).update()
    assert not (home / "current").exists()


def test_note_that_names_another_bundle_is_refused(server, home, first, second):
    server.publish(first)

    def rename(targets):
        for path, target in targets.targets.items():
            if path.endswith("manifest.json"):
                target.unrecognized_fields["custom"]["bundle_id"] = second.bundle_id

    serve_signed(server, load_signer(key_path(server.keys, "targets")), rename)
    with pytest.raises(SignatureError, match="names a bundle that is not its manifest"):
        server.updater(home).update()
    assert not (home / "current").exists()


def test_oversized_manifest_is_not_downloaded(server, home, first, monkeypatch):
    server.publish(first)
    monkeypatch.setattr("edge_runtime.updates.updater.MAX_MANIFEST_BYTES", 10)
    server.transport.requests.clear()
    with pytest.raises(DownloadTooLargeError, match="10 are allowed"):
        server.updater(home).update()
    assert not any("manifest" in request for request in server.transport.requests)


# Failures


@pytest.mark.parametrize("part", ["offer", "snapshot", "targets.json", "manifest", "/files/"])
def test_server_that_goes_away_leaves_the_old_bundle(server, home, first, second, part):
    server.publish(first)
    server.updater(home).update()
    server.publish(second)
    server.transport.fault = fail_on(part, DownloadError("the cable is out"))
    with pytest.raises(DownloadError, match="the cable is out"):
        server.updater(home).update()
    assert answering(home) == first.bundle_id
    assert not (home / "slots" / ".staging").exists()
    server.transport.fault = lambda _m, _p, answer: answer
    assert server.updater(home).update().to_bundle_id == second.bundle_id


def test_server_error_keeps_its_status_and_sentence(server, home, first):
    server.publish(first)
    down = Answer(503, {"content-type": "application/json"}, iter([b'{"error":"the disk is full"}']))
    server.transport.fault = lambda _m, _p, _a: down
    with pytest.raises(HttpStatusError, match="503: the disk is full") as caught:
        server.updater(home).update()
    assert caught.value.status_code == 503


def test_broken_download_is_continued(server, home, tmp_path):
    bundle = write_bundle(tmp_path / "large", encoder=random.Random(0).randbytes(10_240))
    server.publish(bundle)
    digest = next(item.sha256 for item in bundle.manifest.artifacts if item.path == MODEL_FILES[0])

    def cut(answer):
        for count, chunk in enumerate(answer.chunks):
            if count == 50:
                raise DownloadError("the cable is out")
            yield chunk

    server.transport.fault = lambda _m, path, answer: replace(answer, chunks=cut(answer)) if digest in path else answer
    with pytest.raises(DownloadError):
        server.updater(home).update()
    assert (home / "partial" / digest).stat().st_size == 5_000
    server.transport.fault = lambda _m, _p, answer: answer
    server.transport.headers.clear()
    server.updater(home).update()
    assert {"Range": "bytes=5000-"} in server.transport.headers
    assert answering(home) == bundle.bundle_id


def test_server_without_ranges_sends_the_file_anew(server, home, first):
    server.publish(first)
    artifact = first.manifest.artifacts[0]
    (home / "partial").mkdir(parents=True)
    (home / "partial" / artifact.sha256).write_bytes(b"garbage")
    whole = (first.folder / artifact.path).read_bytes()
    server.transport.fault = lambda _m, path, answer: (
        Answer(200, {}, iter([whole])) if artifact.sha256 in path else answer
    )
    server.updater(home).update()
    assert answering(home) == first.bundle_id


def test_connection_that_ends_early_is_named(server, home, first):
    server.publish(first)
    server.transport.fault = lambda _m, path, answer: (
        changed_body(answer, lambda data: data[:20]) if "/files/" in path else answer
    )
    with pytest.raises(DownloadError, match="broke after 20 of"):
        server.updater(home).update()


def test_full_disk_leaves_the_old_bundle(server, home, first, second, monkeypatch):
    server.publish(first)
    server.updater(home).update()
    server.publish(second)

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("edge_runtime.updates.downloads.os.fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            server.updater(home).update()
    assert answering(home) == first.bundle_id
    assert server.updater(home).update().to_bundle_id == second.bundle_id


def test_bundle_that_fails_its_proof_is_refused_and_not_tried_again(server, home, first, second):
    server.publish(first)
    server.updater(home).update()
    server.publish(second)

    def prove(_folder):
        raise GoldenMismatchError("other answers here")

    with pytest.raises(GoldenMismatchError):
        server.updater(home, prove=prove).update()
    assert answering(home) == first.bundle_id
    server.transport.requests.clear()
    with pytest.raises(BundleError, match="did not work on this device before"):
        server.updater(home).update()
    assert not any("/targets/" in request for request in server.transport.requests)
    (home / "refused.json").unlink()
    assert server.updater(home).update().to_bundle_id == second.bundle_id


def test_proof_sees_the_whole_bundle_before_the_switch(server, home, first):
    server.publish(first)
    seen = []

    def prove(folder):
        seen.append(open_bundle(folder).bundle_id)
        assert not (home / "current").exists()

    server.updater(home, prove=prove).update()
    assert seen == [first.bundle_id]


def test_newer_bundle_format_leaves_the_old_bundle(server, home, first, second):
    server.publish(first)
    server.updater(home).update()
    manifest = second.folder / MANIFEST_FILE
    manifest.write_bytes(manifest.read_bytes().replace(b'"format_version": "1.1"', b'"format_version": "1.9"'))
    server.publish(open_bundle(second.folder))
    assert server.updater(home).update().release == 2, "a newer minor version is read"
    changed = json.loads(manifest.read_bytes()) | {"format_version": "2.0"}
    manifest.write_text(json.dumps(changed))
    with pytest.raises(BundleVersionError):
        server.publish(second)


def test_damaged_installed_bundle_is_mended(server, home, first):
    server.publish(first)
    server.updater(home).update()
    damaged = home / "current" / MODEL_FILES[0]
    damaged.write_bytes(b"bit rot" * 20)
    report = server.updater(home).update()
    assert (report.files_downloaded, report.files_reused) == (1, 5)
    assert answering(home) == first.bundle_id
    assert server.updater(home).update().bytes_downloaded == 0


def test_disk_without_hard_links_gets_copies(server, home, first, second, monkeypatch):
    server.publish(first)
    server.updater(home).update()
    server.publish(second)

    def no_links(_source, _destination):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("edge_runtime.updates.staging.os.link", no_links)
    assert server.updater(home).update().files_reused == 3
    assert answering(home) == second.bundle_id
    assert (home / "current" / MODEL_FILES[0]).stat().st_nlink == 1


def test_two_updates_at_once_are_refused(server, home, first):
    server.publish(first)
    updater = server.updater(home)
    with updater.slots.locked(), pytest.raises(UpdateError, match="another process"):
        server.updater(home).update()


def test_device_refuses_a_root_of_another_fleet(server, home, first, tmp_path):
    server.publish(first)
    create_keys(tmp_path / "other", expires_days=10, passphrase=None, now=server.now)
    updater = server.updater(home)
    updater._root = (tmp_path / "other" / "root.json").read_bytes()
    with pytest.raises(SignatureError):
        updater.update()
