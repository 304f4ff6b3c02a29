"""Downloads over real HTTP: only the file with the right digest gets its name."""

import hashlib
import io
import socket
import zipfile

import pytest

from edge_runtime.contract.errors import ConfigError, DownloadError, DownloadTooLargeError, HttpStatusError
from tests.support.publisher_server import Answer, publisher_server
from train.data.importers.source_files import RemoteFile, download, require_file, unpack
from train.errors import ShopError

BODY = b"movieId,title\n" + b"x" * 3_000_000
DIGEST = hashlib.sha256(BODY).hexdigest()


def remote(url, *, sha256=DIGEST, max_bytes=10_000_000):
    return RemoteFile(name="data.csv", url=f"{url}/data.csv", sha256=sha256, max_bytes=max_bytes)


def ignore(name, done, total):
    pass


def fetch(answer, tmp_path, *, sha256=None, pinned=DIGEST, progress=ignore, max_bytes=10_000_000):
    with publisher_server({"/data.csv": answer}) as url:
        wanted = remote(url, sha256=pinned, max_bytes=max_bytes)
        return download(wanted, tmp_path, progress=progress, sha256=sha256)


def test_file_with_the_pinned_digest_is_kept_and_progress_told(tmp_path):
    told = []
    path = fetch(Answer(BODY), tmp_path, progress=lambda *step: told.append(step))
    assert path == tmp_path / "data.csv"
    assert path.read_bytes() == BODY
    assert told[-1] == ("data.csv", len(BODY), len(BODY))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_length_need_not_be_told(tmp_path):
    told = []
    fetch(Answer(BODY, claimed_length=None), tmp_path, progress=lambda *step: told.append(step))
    assert told[-1] == ("data.csv", len(BODY), None)


def test_redirect_is_followed(tmp_path):
    with publisher_server(
        {"/data.csv": Answer(status=302, headers={"Location": "/there"}), "/there": Answer(BODY)}
    ) as url:
        assert download(remote(url), tmp_path, progress=ignore).read_bytes() == BODY


def test_file_with_another_digest_is_not_kept(tmp_path):
    with pytest.raises(DownloadError, match=f"SHA-256 is {hashlib.sha256(b'other').hexdigest()}, expected {DIGEST}"):
        fetch(Answer(b"other"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pinned", [None, DIGEST])
def test_users_digest_takes_the_place_of_the_pinned_one(tmp_path, pinned):
    digest = hashlib.sha256(b"new").hexdigest().upper()
    assert fetch(Answer(b"new"), tmp_path, sha256=digest, pinned=pinned).read_bytes() == b"new"


def test_file_without_a_known_digest_is_not_even_asked_for(tmp_path):
    with pytest.raises(ConfigError, match=r"names no SHA-256 of data.csv; .*--sha256 data.csv="):
        download(remote("http://127.0.0.1:9", sha256=None), tmp_path, progress=ignore)
    with pytest.raises(ConfigError, match="'abc' is no SHA-256"):
        download(remote("http://127.0.0.1:9"), tmp_path, progress=ignore, sha256="abc")


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><p>Log in", b"\n <html><body>", b"<HEAD>"])
def test_web_page_is_recognized(tmp_path, page):
    with pytest.raises(DownloadError, match="is a web page, not the file; download it by hand"):
        fetch(Answer(page), tmp_path)
    assert not (tmp_path / "data.csv").exists()


@pytest.mark.parametrize("claimed_length", ["true", None])
def test_too_large_an_answer_is_cut_off(tmp_path, claimed_length):
    with pytest.raises(DownloadTooLargeError, match="more than 2000000 bytes"):
        fetch(Answer(BODY, claimed_length=claimed_length), tmp_path, max_bytes=2_000_000)
    assert not (tmp_path / "data.csv").exists()


@pytest.mark.parametrize("status", [404, 403, 500, 503])
def test_error_status_is_named(tmp_path, status):
    with pytest.raises(HttpStatusError, match=f"the server answered {status}") as caught:
        fetch(Answer(b"", status=status), tmp_path)
    assert caught.value.status_code == status


def test_answer_that_breaks_off_is_an_error(tmp_path):
    with pytest.raises(DownloadError, match="cannot download"):
        fetch(Answer(BODY, claimed_length=len(BODY) + 5), tmp_path)
    assert not (tmp_path / "data.csv").exists()


def test_server_that_is_not_there_is_an_error(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(DownloadError, match=r"cannot download .*; without a network, get the file elsewhere"):
            download(remote(url), tmp_path, progress=ignore)


def zip_of(members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def test_members_are_unpacked_without_their_folders(tmp_path):
    (tmp_path / "a.zip").write_bytes(zip_of({"ml/a.csv": "1", "ml/b.csv": "2", "../c.csv": "3"}))
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "a.zip", ["a.csv", "c.csv"], tmp_path / "out", max_bytes=100)
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {"a.csv": "1", "c.csv": "3"}
    assert not (tmp_path / "c.csv").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no zip", "is not a zip file"),
        (zip_of({"other.csv": ""}), r"does not hold a.csv, found other.csv"),
        (zip_of({}), r"does not hold a.csv, found nothing"),
        (zip_of({"a.csv": "0" * 5_000}), "unpacks to more than 1000 bytes"),
    ],
)
def test_wrong_archive_is_named(tmp_path, content, message):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ShopError, match=message):
        unpack(tmp_path / "a.zip", ["a.csv"], tmp_path, max_bytes=1_000)


def test_missing_file_of_a_publisher_is_named(tmp_path):
    with pytest.raises(ShopError, match=r"holds no a.csv and no a.parquet; give the folder"):
        require_file(tmp_path, "a.csv", "a.parquet")
