"""The client of python-tuf: which targets the trusted keys have signed; failures become our errors."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, TargetFile, Timestamp
from tuf.ngclient import Updater as TufUpdater
from tuf.ngclient import UpdaterConfig

from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.errors import (
    DownloadError,
    DownloadTooLargeError,
    ExpiredReleaseError,
    HttpStatusError,
    RollbackError,
    SignatureError,
    UpdateError,
)
from edge_runtime.updates.http_transport import Transport, TufFetcher

_CLOCK_TOLERANCE = timedelta(days=1)  # covers a clock that is set to another time zone
METADATA_PATH = "/v1/tuf/"
"""Where a server has its TUF metadata."""


def tuf_error_as_ours(error: Exception) -> UpdateError:
    """Return our error for one of python-tuf's."""
    if isinstance(error.__cause__, UpdateError):
        return error.__cause__
    match error:
        case tuf_errors.DownloadHTTPError():
            return HttpStatusError(f"the server answered: {error}", status_code=error.status_code)
        case tuf_errors.DownloadLengthMismatchError():
            return DownloadTooLargeError(f"the server sent more than was signed or allowed ({error}); it was not read")
        case tuf_errors.DownloadError():
            return DownloadError(f"cannot download the release ({error}); try again later")
        case tuf_errors.ExpiredMetadataError():
            return ExpiredReleaseError(
                f"the release's signatures are out of date ({error}); the server must renew them, "
                "or this device's clock is wrong"
            )
        case tuf_errors.BadVersionNumberError():
            return RollbackError(f"the server offers something older than was seen before ({error}); it was refused")
        case tuf_errors.UnsignedMetadataError():
            return SignatureError(f"the release is not signed by the keys that this device trusts ({error})")
        case tuf_errors.LengthOrHashMismatchError():
            return SignatureError(f"the server sent something else than what was signed ({error}); it was refused")
    return DownloadError(f"the server's answer is not a release ({error}); check the address, or try again later")


@contextlib.contextmanager
def _tuf_errors_named(folder: Path) -> Iterator[None]:
    try:
        with disk_errors_named(folder):
            yield
    except (tuf_errors.RepositoryError, tuf_errors.DownloadError) as error:
        raise tuf_error_as_ours(error) from error


def check_content(target: TargetFile, content: bytes | IO[bytes]) -> None:
    """Compare content with the length and SHA-256 that were signed.

    Raises:
        SignatureError: they differ.
    """
    try:
        target.verify_length_and_hashes(content)
    except tuf_errors.LengthOrHashMismatchError as error:
        raise tuf_error_as_ours(error) from error


def check_clock(published_at: str, now: datetime) -> None:
    """Refuse to judge what is out of date by a clock that cannot be right.

    A device that believes to live before the release was published would take any old metadata for fresh.

    Args:
        published_at: from the signed release note.
        now: the device's time (UTC).

    Raises:
        ExpiredReleaseError: the clock is more than a day behind the release.
        UpdateError: `published_at` is no time.
    """
    try:
        published = datetime.fromisoformat(published_at)
    except ValueError as error:
        raise UpdateError("the release note says no time of publication; publish again") from error
    if published.tzinfo is None:
        published = published.replace(tzinfo=UTC)
    if now < published - _CLOCK_TOLERANCE:
        raise ExpiredReleaseError(
            f"this device's clock says {now:%Y-%m-%d}, but the release was published on {published:%Y-%m-%d}: "
            "with a wrong clock no release can be recognized as current; set the clock, then try again"
        )


def check_not_held_back(metadata_folder: Path, now: datetime, failure: UpdateError) -> None:
    """Report metadata that has expired, although no newer was to be had: a network may keep a device from its updates.

    Args:
        metadata_folder: of `TrustedTargets`.
        now: the device's time (UTC).
        failure: why nothing newer was received.

    Raises:
        ExpiredReleaseError: the newest timestamp that this device has seen is out of date.
    """
    try:
        timestamp = Metadata[Timestamp].from_bytes((metadata_folder / "timestamp.json").read_bytes())
    except (OSError, tuf_errors.RepositoryError):
        return
    expires = timestamp.signed.expires
    if now > expires:
        raise ExpiredReleaseError(
            f"{failure}; the newest signatures that this device received expired on {expires:%Y-%m-%d %H:%M} UTC, so it may "
            "be held back from newer releases"
        ) from failure


class TrustedTargets:
    """The targets of a server that the trusted keys have signed.

    Args:
        metadata_folder: keeps the newest metadata seen, which is what makes a rollback visible; made when missing.
        trusted_root: bytes of the root.json that came with the device.
        server_url: address of the server, without a trailing slash.
        transport: the network.
        channel: whose releases are looked for; a team that signs this channel alone names its files under it.
    """

    def __init__(
        self,
        *,
        metadata_folder: Path,
        trusted_root: bytes,
        server_url: str,
        transport: Transport,
        channel: str | None = None,
    ) -> None:
        self._folder = metadata_folder
        self._channel = channel
        self._base_url = f"{server_url}{METADATA_PATH}"
        with _tuf_errors_named(metadata_folder):
            metadata_folder.mkdir(parents=True, exist_ok=True)
            self._tuf = TufUpdater(
                metadata_dir=str(metadata_folder),
                metadata_base_url=self._base_url,
                fetcher=TufFetcher(transport),
                config=UpdaterConfig(),
                bootstrap=trusted_root,
            )

    def refresh(self) -> None:
        """Fetch and check root, timestamp, snapshot and targets.

        Stopped halfway, the folder holds only metadata that was checked.

        Raises:
            SignatureError, RollbackError, ExpiredReleaseError: the metadata is not to be trusted.
            DownloadError: the network, or an answer that is no metadata.
            StorageError: the disk is full, read-only or not permitted.
        """
        with _tuf_errors_named(self._folder):
            try:
                self._tuf.refresh()
            except tuf_errors.DownloadHTTPError as error:
                if error.status_code != 404:
                    raise
                raise HttpStatusError(
                    "the server has published nothing yet; publish a bundle, or check the address", status_code=404
                ) from error

    def find(self, path: str) -> TargetFile | None:
        """Return length, hashes and custom fields of the target `path`, or None when no target of that name is signed.

        Raises:
            UpdateError: as for `refresh`.
        """
        with _tuf_errors_named(self._folder):
            if self._channel is not None and not path.startswith("channels/"):
                own = self._tuf.get_targetinfo(f"channels/{self._channel}/{path}")
                if own is not None:
                    return own
            return self._tuf.get_targetinfo(path)

    def url(self, target: TargetFile) -> str:
        """Return where the content of `target` is downloaded."""
        folder, _, name = target.path.rpartition("/")
        return f"{self._base_url}targets/{folder}/{target.hashes['sha256']}.{name}"
