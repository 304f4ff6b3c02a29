import errno

import pytest

from edge_runtime.contract.atomic_files import disk_errors_named, sync_folder, write_bytes_atomically
from edge_runtime.contract.errors import StorageError
from tests.support.file_operations import failing, names


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "note"
    write_bytes_atomically(path, b"one")
    write_bytes_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["note"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("place", ["os.fsync", "os.fdopen", "tempfile.mkstemp", "Path.replace"])
def test_a_full_disk_keeps_the_old_content_and_leaves_no_other_file(tmp_path, monkeypatch, place):
    path = tmp_path / "note"
    write_bytes_atomically(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(f"edge_runtime.contract.atomic_files.{place}", failing(errno.ENOSPC))
        with pytest.raises(StorageError, match=r"cannot write .*note: No space left on device"):
            write_bytes_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["note"]


def test_a_stop_from_the_keyboard_keeps_the_old_content(tmp_path, monkeypatch):
    def stop(_descriptor):
        raise KeyboardInterrupt

    path = tmp_path / "note"
    path.write_bytes(b"old")
    monkeypatch.setattr("edge_runtime.contract.atomic_files.os.fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_bytes_atomically(path, b"new")
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["note"])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG])
def test_what_the_disk_refuses_is_named_with_the_path(tmp_path, number):
    with pytest.raises(StorageError, match=r"somewhere.*unchanged"), disk_errors_named(tmp_path / "somewhere"):
        raise OSError(number, "no")


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "broken"), OSError("no number"), ValueError("ours"), StorageError("said")]
)
def test_other_errors_pass_unchanged(tmp_path, error):
    with pytest.raises(type(error)) as caught, disk_errors_named(tmp_path):
        raise error
    assert caught.value is error


def test_a_file_in_the_place_of_a_folder_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="Not a directory"):
        write_bytes_atomically(tmp_path / "file" / "note", b"x")


def test_folder_is_closed_after_its_sync(tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr("edge_runtime.contract.atomic_files.os.fsync", failing(errno.EIO))
    monkeypatch.setattr("edge_runtime.contract.atomic_files.os.close", closed.append)
    with pytest.raises(OSError, match="no"):
        sync_folder(tmp_path)
    assert len(closed) == 1
