"""Deltas between a device and the real server's code: what they save, and what may go wrong with them."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.contract.bundle import MODEL_FILES, open_bundle
from edge_runtime.contract.delta import DeltaLimits, delta_pieces
from edge_runtime.contract.errors import DownloadError, RollbackError
from edge_runtime.contract.release import NO_BASE_SHA256, DeltaNote
from edge_runtime.updates import staging
from edge_runtime.updates.http_transport import Answer
from pocketrec.publishing.deltas import Delta, make_delta
from tests.support.file_operations import run_until_operation
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import ServerSimulator, changed_body, whole_body

NOISE = random.Random(0).randbytes(30_000)
MODEL = MODEL_FILES[0]


@pytest.fixture
def old(tmp_path):
    return write_bundle(tmp_path / "old", words="old", encoder=NOISE)


@pytest.fixture
def new(tmp_path):
    return write_bundle(tmp_path / "new", words="new", encoder=NOISE[:20_000] + b"trained on" + NOISE[20_010:])


def sync(server, home):
    return server.updater(home).update()


def answering(home: Path) -> str:
    return open_bundle(home / "current").bundle_id


def digest_of(bundle, name=MODEL):
    return next(item.sha256 for item in bundle.manifest.artifacts if item.path == name)


def install_old_then_publish(server, home, old, new, **options):
    server.publish(old)
    sync(server, home)
    return server.publish(new, **options)


def test_delta_is_taken_instead_of_the_file(server, home, old, new):
    [delta] = install_old_then_publish(server, home, old, new).deltas
    report = sync(server, home)
    assert answering(home) == new.bundle_id and report.deltas_applied == 1
    assert report.bytes_downloaded < 5_000 + delta.length_bytes
    assert not list((home / "partial").iterdir())


def test_device_without_the_base_gets_the_whole_file(server, home, old, new):
    server.publish(old)
    server.publish(new)
    report = sync(server, home)
    assert answering(home) == new.bundle_id and report.deltas_applied == 0


def test_first_installation_takes_compressed_files(server, home, tmp_path):
    bundle = write_bundle(tmp_path / "wordy", encoder=b" ".join(b"%d" % n for n in range(8_000)))
    server.publish(bundle)
    report = sync(server, home)
    assert answering(home) == bundle.bundle_id and report.deltas_applied == 1
    assert report.bytes_downloaded < 20_000


def test_device_two_releases_behind_has_its_own_delta(server, home, old, new, tmp_path):
    server.publish(old)
    sync(server, home)
    server.publish(new)
    third = write_bundle(tmp_path / "third", words="third", encoder=NOISE[:25_000] + b"!" + NOISE[25_001:])
    server.publish(third)
    assert sync(server, home).deltas_applied == 1 and answering(home) == third.bundle_id


def fault_on(path_of, change):
    return lambda _method, path, answer: change(answer) if path_of in path else answer


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: changed_body(answer, lambda data: bytes([data[0] ^ 1]) + data[1:]),
        lambda answer: Answer(404, {"content-type": "application/json"}, iter([b'{"error":"gone"}'])),
        lambda answer: changed_body(answer, lambda data: data + b"more" * 100),
        lambda answer: whole_body(answer, lambda data: data[:-5]),
        lambda answer: whole_body(answer, lambda _: b""),
        lambda answer: replace(changed_body(answer, lambda _: b"x"), headers={"transfer-encoding": "chunked"}),
    ],
    ids=["tampered", "gone", "longer", "cut", "empty", "cut in chunks"],
)
def test_delta_that_does_not_arrive_as_signed_gives_way_to_the_whole_file(server, home, old, new, change):
    install_old_then_publish(server, home, old, new)
    server.transport.fault = fault_on("/deltas/", change)
    report = sync(server, home)
    assert answering(home) == new.bundle_id and report.deltas_applied == 0
    assert report.bytes_downloaded > len(NOISE)


def test_delta_that_broke_off_and_is_shorter_now_gives_way_to_the_whole_file(server, home, old, new):
    install_old_then_publish(server, home, old, new)
    server.transport.fault = fault_on("/deltas/", cut_after(10))
    with pytest.raises(DownloadError, match="the cable is out"):
        sync(server, home)
    not_satisfiable = Answer(416, {"content-type": "application/json"}, iter([b'{"error":"shorter"}']))
    server.transport.fault = fault_on("/deltas/", lambda _: not_satisfiable)
    assert sync(server, home).deltas_applied == 0
    assert answering(home) == new.bundle_id


def test_wrong_delta_base_gives_way_to_the_whole_file(server, home, old, new):
    install_old_then_publish(server, home, old, new)
    damaged = home / "current" / MODEL
    damaged.write_bytes(NOISE[::-1])
    assert sync(server, home).deltas_applied == 0
    assert answering(home) == new.bundle_id


def test_missing_delta_base_gives_way_to_the_whole_file(server, home, old, new):
    install_old_then_publish(server, home, old, new)
    (home / "current" / MODEL).unlink()
    assert sync(server, home).deltas_applied == 0
    assert answering(home) == new.bundle_id


def test_delta_is_not_applied_to_another_base_though_the_result_would_be_right(server, home, old, tmp_path):
    """A delta that does not look at its base makes the signed file from any: what it is bound to decides all the same."""
    new = write_bundle(tmp_path / "wordy", words="new", encoder=b" ".join(b"%d" % n for n in range(8_000)))
    install_old_then_publish(
        server, home, old, new, make=lambda base, result: make_delta(b"", result) if base else None
    )
    (home / "current" / MODEL).write_bytes(NOISE[::-1])
    assert sync(server, home).deltas_applied == 0
    assert answering(home) == new.bundle_id


def test_signed_delta_that_makes_another_file_gives_way_to_the_whole_file(server, home, old, new):
    """A mistake of the publisher's: signed all the same, and still not believed."""
    other = NOISE[:20_000] + b"something!" + NOISE[20_010:]
    install_old_then_publish(
        server, home, old, new, make=lambda base, result: make_delta(base, other) if base else None
    )
    assert sync(server, home).deltas_applied == 0
    assert answering(home) == new.bundle_id
    assert not list((home / "partial").iterdir()), "no half of a file is left"


def test_decompression_bomb_gives_way_to_the_whole_file(server, home, old, new):
    bomb = make_delta(b"", bytes(40_000_000))
    install_old_then_publish(
        server, home, old, new, make=lambda base, result: Delta("zstd", bomb.data) if base else None
    )
    assert sync(server, home).deltas_applied == 0
    assert answering(home) == new.bundle_id


def test_delta_that_takes_too_long_gives_way_to_the_whole_file(server, home, old, new, monkeypatch):
    install_old_then_publish(server, home, old, new)

    def hasty(*args, **options):
        return delta_pieces(*args, limits=DeltaLimits(seconds=-1), **options)

    monkeypatch.setattr(staging, "delta_pieces", hasty)
    assert sync(server, home).deltas_applied == 0
    assert answering(home) == new.bundle_id


@pytest.mark.parametrize("custom", [None, {"kind": 1}, {"kind": "zstd"}], ids=["none", "malformed", "cut"])
def test_delta_with_a_malformed_note_is_not_taken(server, home, old, new, monkeypatch, custom):
    install_old_then_publish(server, home, old, new)
    whole = DeltaNote.from_target
    monkeypatch.setattr(DeltaNote, "from_target", staticmethod(lambda _: whole(custom)))
    assert sync(server, home).deltas_applied == 0
    assert answering(home) == new.bundle_id


def test_delta_whose_note_binds_another_base_is_not_taken(server, home, old, new, monkeypatch):
    install_old_then_publish(server, home, old, new)
    whole = DeltaNote.from_target
    other = lambda custom: msgspec.structs.replace(whole(custom), base_sha256=NO_BASE_SHA256)  # noqa: E731
    monkeypatch.setattr(DeltaNote, "from_target", staticmethod(other))
    assert sync(server, home).deltas_applied == 0
    assert answering(home) == new.bundle_id
    assert not any("/deltas/" in request for request in server.transport.requests)


@pytest.mark.parametrize("kind", ["2031", "bsdiff"])
def test_delta_of_an_unknown_kind_gives_way_to_the_whole_file(server, home, old, new, kind):
    """A kind of a newer publisher, or one that is no longer made: it is not even fetched."""
    install_old_then_publish(
        server, home, old, new, make=lambda base, result: Delta(kind, b"x" * 500) if base else None
    )
    assert sync(server, home).deltas_applied == 0
    assert answering(home) == new.bundle_id
    assert not any("/deltas/" in request for request in server.transport.requests)


@pytest.fixture(scope="module")
def half_updated(tmp_path_factory):
    """A server with two releases and a device that has the first, to be copied for each cut."""
    folder = tmp_path_factory.mktemp("cut")
    server = ServerSimulator(folder / "sim")
    old = write_bundle(folder / "old", words="old", encoder=NOISE)
    new = write_bundle(folder / "new", words="new", encoder=NOISE[:20_000] + b"trained on" + NOISE[20_010:])
    install_old_then_publish(server, folder / "device", old, new)
    yield server, folder / "device", new
    server.close()


def cut_after(count):
    def cut(answer):
        def chunks():
            left = count
            for chunk in answer.chunks:
                if len(chunk) >= left:
                    yield chunk[:left]
                    raise DownloadError("the cable is out")
                left -= len(chunk)
                yield chunk

        return replace(answer, chunks=chunks())

    return cut


@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_download_cut_at_any_byte_goes_on_where_it_broke_off(half_updated, tmp_path_factory, data):
    server, first_home, new = half_updated
    home = tmp_path_factory.mktemp("home") / "device"
    shutil.copytree(first_home, home, symlinks=True)
    part = data.draw(st.sampled_from(["/deltas/", "/files/"]))
    if part == "/files/":
        # Without a base there is no delta: the whole model comes, and breaks.
        shutil.rmtree(home / "slots")
        (home / "current").unlink()
    digest = next(
        target.hashes["sha256"] if part == "/deltas/" else digest_of(new)
        for path, target in server.repository.targets().signed.targets.items()
        if path.startswith("deltas/")
    )
    length = server.repository.files.path(digest).stat().st_size
    count = data.draw(st.integers(1, length - 1))
    server.transport.fault = fault_on(digest, cut_after(count))
    with pytest.raises(DownloadError):
        sync(server, home)
    server.transport.fault = lambda _m, _p, answer: answer
    server.transport.headers.clear()
    assert (home / "partial" / digest).stat().st_size == count
    report = sync(server, home)
    assert {"Range": f"bytes={count}-"} in server.transport.headers
    assert answering(home) == new.bundle_id
    assert report.deltas_applied == (part == "/deltas/")


def test_kill_at_every_file_operation_of_a_delta_update_leaves_a_whole_bundle(half_updated, tmp_path):
    server, first_home, new = half_updated
    before = answering(first_home)
    seen, operation = set(), 0
    while True:
        operation += 1
        home = tmp_path / str(operation) / "device"
        shutil.copytree(first_home, home, symlinks=True)
        finished = run_until_operation(lambda home=home: sync(server, home), home, dies_at=operation)
        seen.add(answering(home))
        assert answering(home) in {before, new.bundle_id}
        if finished is not None:
            break
        report = sync(server, home)
        assert answering(home) == new.bundle_id and report.to_bundle_id == new.bundle_id
        assert not (home / "slots" / ".staging").exists()
        shutil.rmtree(home.parent)
    assert finished == operation - 1 > 30
    assert seen == {before, new.bundle_id}


def test_going_back_needs_a_release_that_is_still_signed(server, home, old, new):
    """Without an offer that asks for it, a device never takes an older release."""
    install_old_then_publish(server, home, old, new)
    sync(server, home)
    record = next(path for path in (home / "slots").glob("*.json") if b'"release":2' in path.read_bytes())
    record.write_text(json.dumps({**json.loads(record.read_text()), "release": 40}))
    with pytest.raises(RollbackError):
        sync(server, home)
