"""Source files of a data set: their names, download, unpacking, and finding them in a folder."""

import contextlib
import hashlib
import re
import shutil
import zipfile
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from pathlib import Path

import urllib3

from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.errors import ConfigError, DownloadError, DownloadTooLargeError, HttpStatusError
from train.errors import ShopError

# A minute without a byte is a dead connection; redirects are followed, failures are left to the caller to repeat.
_TIMEOUT = urllib3.Timeout(connect=15.0, read=60.0)
_RETRIES = urllib3.Retry(total=4, connect=0, read=0, redirect=4, status=0, other=0)
_CHUNK_BYTES = 1 << 20
_HTML = re.compile(rb"\s*(?:<!doctype html|<html|<head)", re.IGNORECASE)
_SHA256 = re.compile(r"[0-9a-f]{64}")

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes so far, and all bytes where the server says how many."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a publisher.

    `sha256` is None where the publisher names no digest: the user has to say which file they trust.
    """

    name: str
    url: str
    sha256: str | None
    max_bytes: int


def download(remote: RemoteFile, folder: Path, *, progress: Progress, sha256: str | None = None) -> Path:
    """Fetch `remote` into `folder` and return its path; only a file with the right SHA-256 gets its name.

    Stopped halfway, a file `NAME.part` is left.

    Args:
        remote: what to fetch.
        folder: where it goes; must exist.
        progress: called after every megabyte.
        sha256: the expected digest, instead of the pinned one.

    Raises:
        ConfigError: no digest is known or the given one is malformed.
        DownloadError: no connection, the answer is a web page, or its SHA-256 differs.
        DownloadTooLargeError: the answer is longer than `max_bytes`.
        HttpStatusError: the server answered with an error.
        StorageError: the disk is full, read-only or not permitted.
    """
    expected = (sha256 or remote.sha256 or "").lower()
    if not _SHA256.fullmatch(expected):
        what = f"{sha256!r} is no SHA-256" if sha256 else f"its publisher names no SHA-256 of {remote.name}"
        raise ConfigError(
            f"cannot check {remote.url}: {what}; download it, look at it, "
            f"and give `--sha256 {remote.name}=` with the 64 hex digits that `sha256sum` prints"
        )
    partial = folder / f"{remote.name}.part"
    digest = hashlib.sha256()
    with (
        disk_errors_named(partial),
        partial.open("wb") as file,
        contextlib.closing(_chunks(remote, progress)) as chunks,
    ):
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != expected:
        partial.unlink()
        raise DownloadError(
            f"{remote.url}: SHA-256 is {digest.hexdigest()}, expected {expected}; the file has changed or the connection "
            "was tampered with, nothing was kept"
        )
    return partial.rename(folder / remote.name)


def unpack(archive: Path, names: Collection[str], folder: Path, *, max_bytes: int) -> None:
    """Extract the members of a zip file whose base name is in `names`, without their folders, into `folder`.

    Raises:
        ShopError: not a zip file, a name is missing, or a member is larger than `max_bytes`.
    """
    try:
        with zipfile.ZipFile(archive) as zip_file:
            for name in names:
                member = require_member(zip_file, archive, name, max_bytes=max_bytes)
                with zip_file.open(member) as packed, (folder / name).open("wb") as file:
                    shutil.copyfileobj(packed, file)
    except zipfile.BadZipFile as error:
        raise ShopError(f"{archive} is not a zip file ({error}); get it again") from error


def require_member(zip_file: zipfile.ZipFile, path: Path, name: str, *, max_bytes: int) -> zipfile.ZipInfo:
    """Return the member of an archive whose path is `name` or ends with `/name`.

    Raises:
        ShopError: there is none, or it unpacks to more than `max_bytes`.
    """
    members = [info for info in zip_file.infolist() if info.filename == name or info.filename.endswith(f"/{name}")]
    if not members:
        found = ", ".join(info.filename for info in zip_file.infolist()[:8])
        raise ShopError(f"{path} does not hold {name}, found {found or 'nothing'}; get the published file")
    if members[0].file_size > max_bytes:
        raise ShopError(f"{path}: {name} unpacks to more than {max_bytes} bytes; this is not the published file")
    return members[0]


def require_file(folder: Path, *names: str) -> Path:
    """Return the first of `names` that lies in `folder`.

    Raises:
        ShopError: none does.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ShopError(f"{folder} holds no {' and no '.join(names)}; give the folder in which the publisher's files lie")


def _chunks(remote: RemoteFile, progress: Progress) -> Generator[bytes, None, None]:
    try:
        with (
            urllib3.PoolManager(timeout=_TIMEOUT, retries=_RETRIES) as pool,
            contextlib.closing(pool.request("GET", remote.url, preload_content=False)) as answer,
        ):
            yield from _checked_chunks(answer, remote, progress)
    except urllib3.exceptions.HTTPError as error:
        raise DownloadError(
            f"cannot download {remote.url}: {_reason(error)}; without a network, get the file elsewhere and use --from"
        ) from error


def _checked_chunks(
    answer: urllib3.BaseHTTPResponse, remote: RemoteFile, progress: Progress
) -> Generator[bytes, None, None]:
    if answer.status != 200:
        raise HttpStatusError(
            f"{remote.url}: the server answered {answer.status} {answer.reason or ''}".rstrip(),
            status_code=answer.status,
        )
    too_large = f"{remote.url}: more than {remote.max_bytes} bytes; this is not the expected file"
    length = answer.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else None
    if total is not None and total > remote.max_bytes:
        raise DownloadTooLargeError(too_large)
    done = 0
    for chunk in answer.stream(_CHUNK_BYTES, decode_content=False):
        if done == 0 and _HTML.match(chunk):
            raise DownloadError(
                f"{remote.url}: the answer is a web page, not the file; download it by hand and import it with --from"
            )
        done += len(chunk)
        if done > remote.max_bytes:
            raise DownloadTooLargeError(too_large)
        progress(remote.name, done, total)
        yield chunk


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    return str(inner if isinstance(inner, Exception) else error).rsplit(": ", 1)[-1]
