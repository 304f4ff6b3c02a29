"""An idle device does not read its bundle again, and still finds a file that was changed."""

import os

import pytest

from edge_runtime.contract import bundle as bundle_module
from edge_runtime.contract.bundle import MODEL_FILES, REPORT_FILES, open_bundle, seal_bundle
from edge_runtime.contract.errors import BundleFormatError, DigestMismatchError
from tests.support.fleet_bundles import write_bundle

MODEL = MODEL_FILES[0]


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that are hashed, one for each time."""
    names = []
    describe = bundle_module.describe_file
    monkeypatch.setattr(bundle_module, "describe_file", lambda path: names.append(path.name) or describe(path))
    return names


@pytest.fixture
def idle(server, home, first):
    """An updater of a device whose bundle is installed and known to be whole."""
    server.publish(first)
    updater = server.updater(home)
    updater.update()
    updater.update()
    return updater


def rot(path):
    """Change a file as a failing disk does: what the file system says of it stays."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_idle_sync_reads_no_file_again(idle, hashed):
    for _ in range(3):
        assert not idle.update().switched
    assert hashed == []


def test_full_check_comes_once_a_week(server, idle, hashed, first):
    server.pass_time(days=6, hours=23)
    idle.update()
    assert hashed == []
    server.pass_time(hours=2)
    idle.update()
    assert sorted(hashed) == sorted(one.path for one in first.manifest.artifacts)
    hashed.clear()
    idle.update()
    assert hashed == []


def test_clock_that_was_set_back_leads_to_a_full_check(server, idle, hashed):
    server.pass_time(hours=-1)
    idle.update()
    assert MODEL in hashed


@pytest.mark.parametrize("how", ["written", "replaced", "cut", "removed"])
def test_file_that_was_changed_is_found_by_the_next_sync(idle, home, first, how):
    path = home / "current" / MODEL
    before = path.stat()
    if how == "removed":
        path.unlink()
    elif how == "cut":
        os.truncate(path, 10)
    elif how == "written":
        rot(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    else:
        other = path.with_name("other")
        other.write_bytes(path.read_bytes()[::-1])
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(path)
    assert idle.update().switched
    assert open_bundle(home / "current").bundle_id == first.bundle_id


def test_disk_that_rots_is_found_within_a_week_or_when_asked(server, idle, home, first):
    rot(home / "current" / MODEL)
    assert not idle.update().switched, "nothing says that the file changed"
    with pytest.raises(DigestMismatchError, match=MODEL):
        idle.verify()
    assert idle.update().switched, "what was found is mended"
    rot(home / "current" / MODEL)
    server.pass_time(days=8)
    assert idle.update().switched
    assert idle.verify().bundle_id == first.bundle_id


def test_device_without_a_bundle_has_none_to_verify(server, home):
    with pytest.raises(BundleFormatError, match="no bundle yet"):
        server.updater(home).verify()


def test_reports_for_people_are_not_downloaded(server, home, tmp_path):
    folder = write_bundle(tmp_path / "built").folder
    plain = open_bundle(folder).manifest
    for name in REPORT_FILES:
        (folder / name).write_text(f"measured {name}")
    same = {name: getattr(plain, name) for name in ("name", "created_at", "config_digest", "shop_digest")}
    specs = {name: getattr(plain, name) for name in ("space", "encoder", "catalogue", "fusion")}
    built = seal_bundle(folder, **same, **specs)
    server.publish(built)
    report = server.updater(home).update()
    assert report.to_bundle_id == built.bundle_id and report.files_downloaded == len(plain.artifacts)
    here = {path.name for path in (home / "current").iterdir()}
    assert here == {"manifest.json", *(one.path for one in plain.artifacts)}
    assert not server.updater(home).update().switched
    assert server.updater(home).verify().bundle_id == built.bundle_id
    (folder / REPORT_FILES[0]).unlink()
    with pytest.raises(BundleFormatError, match=REPORT_FILES[0]):
        open_bundle(folder)
