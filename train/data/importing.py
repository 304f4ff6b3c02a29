"""Imports a public data set by its name, from a local path or by download."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.errors import ConfigError
from train.data.importers import esci, movielens, online_retail, wands
from train.data.importers.esci import EsciOptions
from train.data.importers.source_files import Progress, RemoteFile, download, unpack
from train.data.writing import check_target, write_shop
from train.errors import ShopError


@dataclass(frozen=True)
class _Publisher:
    """Where a data set comes from: the files to fetch, what a zip among them holds, and who reads them."""

    files: tuple[RemoteFile, ...]
    members: tuple[str, ...]
    read: Callable[[Path, EsciOptions], dict[str, pa.Table]]


# The published archives unpack to less: one that grows beyond this is damaged or malicious.
_MAX_UNPACKED_BYTES = 2_000_000_000

PUBLISHERS: Mapping[str, _Publisher] = {
    "esci": _Publisher(files=esci.FILES, members=(), read=esci.import_esci),
    "wands": _Publisher(files=wands.FILES, members=(), read=lambda source, _: wands.import_wands(source)),
    "online-retail": _Publisher(
        files=(online_retail.ARCHIVE,),
        members=(online_retail.WORKBOOK,),
        read=lambda source, _: online_retail.import_online_retail(source),
    ),
    "movielens": _Publisher(
        files=(movielens.ARCHIVE,),
        members=movielens.MEMBERS,
        read=lambda source, _: movielens.import_movielens(source),
    ),
}


@dataclass(frozen=True)
class Download:
    """How to fetch the publisher's files.

    Attributes:
        mirror: base address that holds the files under their own names; None is the publisher.
        sha256: file name -> digest that takes the place of the pinned one; the key "" stands for the only file.
    """

    mirror: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)


def import_shop(
    publisher: str,
    source: Path | Download,
    folder: Path,
    *,
    options: EsciOptions | None = None,
    overwrite: bool = False,
    progress: Progress = lambda name, done, total: None,
) -> None:
    """Turn a public data set into the shop `folder`.

    Args:
        publisher: one of `PUBLISHERS`.
        source: a folder (or file) with the publisher's files, or how to download them; downloads are not kept.
        folder: as in `write_shop`.
        options: which part of ESCI; None for the other publishers.
        overwrite: as in `write_shop`.
        progress: called as a download proceeds.

    Raises:
        ConfigError: an unknown publisher, or options that it does not have.
        ShopError: a file is missing or not what its publisher publishes, or `folder` already holds tables.
        DownloadError: the download failed.
        StorageError: the disk is full, read-only or not permitted.
    """
    if publisher not in PUBLISHERS:
        raise ConfigError(f"unknown data set {publisher!r}; known are {', '.join(PUBLISHERS)}")
    if options is not None and publisher != "esci":
        raise ConfigError(f"locale, version, split and pairs choose a part of ESCI; {publisher} has no such parts")
    check_target(folder, overwrite=overwrite)
    read = PUBLISHERS[publisher].read
    if isinstance(source, Path):
        if not source.exists():
            raise ShopError(f"{source} does not exist; give the folder in which the publisher's files lie")
        write_shop(folder, read(source, options or EsciOptions()), overwrite=overwrite)
        return
    with disk_errors_named(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder.parent) as name:
        fetched = Path(name)
        _fetch(PUBLISHERS[publisher], source, fetched, progress)
        write_shop(folder, read(fetched, options or EsciOptions()), overwrite=overwrite)


def _fetch(publisher: _Publisher, source: Download, folder: Path, progress: Progress) -> None:
    names = [remote.name for remote in publisher.files]
    unknown = sorted(set(source.sha256) - {*names, *([""] if len(names) == 1 else [])})
    if unknown:
        raise ConfigError(f"a SHA-256 was given for {unknown[0]!r}; give it as NAME=HEX for {' or '.join(names)}")
    for remote in publisher.files:
        if source.mirror is not None:
            remote = replace(remote, url=f"{source.mirror.rstrip('/')}/{remote.name}")
        digest = source.sha256.get(remote.name, source.sha256.get(""))
        path = download(remote, folder, progress=progress, sha256=digest)
        if publisher.members:
            unpack(path, publisher.members, folder, max_bytes=_MAX_UNPACKED_BYTES)
            path.unlink()
