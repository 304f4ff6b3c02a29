"""Updates a device to its channel's release: ask, verify, download, self-test, switch.

`update_check.py` asks which release, `tuf_client.py` verifies its signatures, `staging.py` assembles the bundle and
`slots.py` switches to it; this file calls them in order.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from tuf.api.metadata import TargetFile

from edge_runtime.contract.atomic_files import (
    disk_errors_named,
    read_json,
    write_bytes_atomically,
    write_json_atomically,
)
from edge_runtime.contract.bundle import MANIFEST_FILE, MAX_MANIFEST_BYTES, Bundle, decode_manifest, open_bundle
from edge_runtime.contract.errors import (
    BundleError,
    BundleFormatError,
    DownloadError,
    InferenceError,
    RollbackError,
    SignatureError,
    UpdateError,
)
from edge_runtime.contract.offer import Assignment, assign
from edge_runtime.contract.release import ReleaseNote, manifest_target
from edge_runtime.updates.crash_guard import CrashGuard
from edge_runtime.updates.downloads import Downloads
from edge_runtime.updates.http_transport import Transport
from edge_runtime.updates.installed_check import is_known_whole, verify_installed
from edge_runtime.updates.slots import Installed, Slots
from edge_runtime.updates.staging import Staged, Stager
from edge_runtime.updates.tuf_client import METADATA_PATH, TrustedTargets, check_clock, check_not_held_back
from edge_runtime.updates.update_check import OfferedMetadata, ask_for_offer, keep_offer

_LOG = logging.getLogger(__name__)
CRASHED = "the last processes that opened it ended while they did"
"""Why a bundle is refused that kills its process."""
_REMEMBERED_REFUSALS = 10  # a channel offers one release at a time, so older ones do not come back

Prove = Callable[[Path], float | None]
"""Opens the bundle in a folder and checks its golden answers on this device; raises a PocketrecError when they differ.

Gives the milliseconds that a golden query took, or None when it does not measure.
"""


@dataclass(frozen=True)
class UpdateReport:
    """What one update did; `from_bundle_id == to_bundle_id` and no bytes when there was nothing new.

    `reason` and `variant` say by which rollout or experiment this device has the release; `latency_ms` is what a golden
    query took in the self-test of the bundle.
    """

    from_bundle_id: str | None
    to_bundle_id: str
    release: int
    bytes_downloaded: int
    files_downloaded: int
    files_reused: int
    deltas_applied: int = 0
    reason: str | None = None
    variant: str | None = None
    latency_ms: float | None = None
    reassigned: bool = False
    """Whether the device has the release for another reason than before, without a switch."""

    @property
    def switched(self) -> bool:
        """Whether another bundle answers now, or the same one mended."""
        return self.bytes_downloaded > 0 or self.from_bundle_id != self.to_bundle_id


class _Refusal(msgspec.Struct, frozen=True):
    """Why a bundle is refused, and as which release it was offered."""

    reason: str
    release: int


class Updater:
    """Keeps the bundle in a device's home at the release of one channel.

    Args:
        home: the device's folder; slots and TUF metadata lie under it.
        trusted_root: bytes of the root.json that came with the device.
        server_url: address of the server, without a trailing slash.
        channel: which channel's release to follow.
        device_id: decides this device's place in rollouts and experiments.
        transport: the network.
        prove: called with the staged folder before the switch.
        clock: gives the time that is recorded (UTC).
        on_bytes: called with the length of each piece that arrives.
    """

    def __init__(
        self,
        *,
        home: Path,
        trusted_root: bytes,
        server_url: str,
        channel: str,
        device_id: str,
        transport: Transport,
        prove: Prove,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.slots = Slots(home)
        self.crashes = CrashGuard(home / "starts")
        self._metadata = home / "metadata"
        self._refused = home / "refused.json"
        self._offer = home / "offer.json"
        self._checked = home / "checked.json"
        self._root = trusted_root
        self._server_url = server_url
        self.channel = channel
        self._device_id = device_id
        self._transport = transport
        self._downloads = Downloads(transport, on_bytes)
        self._prove = prove
        self.attempted: Installed | None = None
        """What the last update was to install, once it was known."""
        self.was_refused_before = False
        """Whether it was not tried, because it had failed here before."""
        self._clock = clock

    def update(self) -> UpdateReport:
        """Install the channel's release unless it answers already.

        Whatever fails and wherever it is stopped, the bundle that answered before goes on answering. Downloads that
        broke off are continued by the next call. A damaged installed bundle is mended.

        Raises:
            SignatureError, RollbackError: the release is not to be trusted.
            ExpiredReleaseError: it is out of date, or it cannot be fetched and what is known here is out of date.
            DownloadError: the network or the server.
            BundleError, InferenceError: the release does not work on this device; it is remembered and not tried again.
            StorageError: the disk is full, read-only or not permitted.
            UpdateError: no release in the channel, or another process is updating.
        """
        with self.slots.locked():
            try:
                return self._update()
            except DownloadError as error:
                check_not_held_back(self._metadata, self._clock(), error)
                raise
            finally:
                self.slots.clear_staging()

    def _update(self) -> UpdateReport:
        self.slots.mend_link()
        self.slots.remove_left_over(self._clock().timestamp())
        installed = self.slots.installed
        trusted, assignment = self._ask(installed)
        target, note = self._release(trusted, assignment)
        record = Installed(
            bundle_id=note.bundle_id,
            channel=self.channel,
            release=note.release,
            installed_at=self._clock().isoformat(timespec="seconds"),
            reason=assignment.reason,
            variant=assignment.variant,
        )
        self.attempted, self.was_refused_before = record, False
        self._check_not_older(trusted, note, installed, assignment)
        if installed is not None and installed.bundle_id == note.bundle_id and self._current_is_whole():
            return self._unchanged(record, installed)
        self._check_not_refused(record)
        staged = self._stage(trusted, target, note)
        latency_ms = self._prove_staged(record)
        self.slots.adopt_staging(record)
        self.slots.remove_unused()
        self.crashes.keep_only([one.bundle_id for one in (record, installed) if one is not None])
        return _report(installed, record, staged, latency_ms=latency_ms)

    def _unchanged(self, record: Installed, installed: Installed) -> UpdateReport:
        """Report that nothing is new; a bundle that another release or assignment names now is noted down."""
        reassigned = record != msgspec.structs.replace(installed, installed_at=record.installed_at)
        if reassigned:
            self.slots.note_again(record)
        return _report(installed, record, Staged(), reassigned=reassigned)

    def _ask(self, installed: Installed | None) -> tuple[TrustedTargets, Assignment]:
        found = ask_for_offer(self._transport, server_url=self._server_url, channel=self.channel, kept_at=self._offer)
        transport, assignment = self._transport, Assignment()
        if found is not None:
            transport = OfferedMetadata(self._transport, found.offer, f"{self._server_url}{METADATA_PATH}")
            here = installed.release if installed and installed.channel == self.channel else None
            assignment = assign(found.offer, device_id=self._device_id, installed_release=here)
        trusted = TrustedTargets(
            metadata_folder=self._metadata,
            trusted_root=self._root,
            server_url=self._server_url,
            transport=transport,
            channel=self.channel,
        )
        trusted.refresh()
        if found is not None:
            keep_offer(found, self._offer)
        return trusted, assignment

    def _release(self, trusted: TrustedTargets, assignment: Assignment) -> tuple[TargetFile, ReleaseNote]:
        target = trusted.find(manifest_target(self.channel, assignment.release))
        if target is None:
            which = f" {assignment.release}" if assignment.release is not None else ""
            raise UpdateError(
                f"the server has no release{which} in channel {self.channel!r}; publish one, or choose another"
            )
        note = ReleaseNote.from_target(target.unrecognized_fields.get("custom"), channel=self.channel)
        if target.hashes.get("sha256") != note.bundle_id:
            raise SignatureError(f"the release in channel {self.channel!r} names a bundle that is not its manifest")
        check_clock(note.published_at, self._clock())
        return target, note

    def _check_not_older(
        self, trusted: TrustedTargets, note: ReleaseNote, installed: Installed | None, assignment: Assignment
    ) -> None:
        """Let a device go back only where the server asks for it and both releases are still signed.

        What is signed is the publisher's choice, so a stolen server cannot bring back a release that was withdrawn.
        """
        if not installed or installed.channel != self.channel or note.release >= installed.release:
            return
        if assignment.release is None or trusted.find(manifest_target(self.channel, installed.release)) is None:
            raise RollbackError(
                f"channel {self.channel!r} offers release {note.release}, this device has {installed.release}; "
                "to go back, publish the older bundle as a new release"
            )

    def verify(self) -> Bundle:
        """Compare every file of the installed bundle with its digest; the next update mends one that is damaged.

        Raises:
            BundleFormatError: no bundle is installed.
            BundleError: it is damaged.
            UpdateError: another process is updating.
        """
        with self.slots.locked():
            current = self.slots.current
            if current is None:
                raise BundleFormatError("this device has no bundle yet; sync it first")
            return verify_installed(current, self._checked, now_s=self._clock().timestamp())

    def _current_is_whole(self) -> bool:
        current, now_s = self.slots.current, self._clock().timestamp()
        if current is None:
            return False
        if is_known_whole(current, self._checked, now_s=now_s):
            return True
        try:
            return bool(verify_installed(current, self._checked, now_s=now_s))
        except BundleError as error:
            _LOG.warning("the installed bundle is damaged and will be mended: %s", error)
            return False

    def _stage(self, trusted: TrustedTargets, target: TargetFile, note: ReleaseNote) -> Staged:
        data = self._downloads.to_memory(target, trusted.url(target), max_bytes=MAX_MANIFEST_BYTES)
        manifest = decode_manifest(data, source=f"the manifest of release {note.release}")
        staged = Stager(self.slots, self._downloads, trusted).stage(manifest)
        staged.bytes_downloaded += len(data)
        write_bytes_atomically(self.slots.staging / MANIFEST_FILE, data)
        return staged

    def _prove_staged(self, record: Installed) -> float | None:
        open_bundle(self.slots.staging, on_device=True)
        try:
            with self.crashes.opening(record.bundle_id):
                latency_ms = self._prove(self.slots.staging)
        except (BundleError, InferenceError) as error:
            self.refuse(record, str(error))
            raise
        self.crashes.clear(record.bundle_id)
        return latency_ms

    def _refused_bundles(self) -> dict[str, str | _Refusal]:
        # A text alone is what devices wrote before they noted the release.
        return read_json(self._refused, dict[str, str | _Refusal]) or {}

    def refuse(self, record: Installed, reason: str) -> None:
        """Remember that a bundle does not work on this device: it is installed again only as a newer release.

        Raises:
            StorageError: the disk is full, read-only or not permitted.
        """
        others = [item for item in self._refused_bundles().items() if item[0] != record.bundle_id]
        recent = dict(others[-_REMEMBERED_REFUSALS + 1 :])
        write_json_atomically(self._refused, {**recent, record.bundle_id: _Refusal(reason, record.release)})

    def is_refused(self, bundle_id: str) -> bool:
        """Tell whether a bundle did not work on this device."""
        return bundle_id in self._refused_bundles()

    def forget_refusals(self) -> None:
        """Let the next update try every bundle again.

        Raises:
            StorageError: the disk is read-only or not permitted.
        """
        with disk_errors_named(self._refused):
            self._refused.unlink(missing_ok=True)

    def _check_not_refused(self, record: Installed) -> None:
        if self.crashes.crashed(record.bundle_id):
            self.refuse(record, CRASHED)
            self.crashes.clear(record.bundle_id)
            raise BundleError(f"bundle {record.bundle_id[:12]} is not tried again: {CRASHED}")
        refusal = self._refused_bundles().get(record.bundle_id)
        if refusal is None or (isinstance(refusal, _Refusal) and refusal.release < record.release):
            return
        self.was_refused_before = True
        reason = refusal.reason if isinstance(refusal, _Refusal) else refusal
        raise BundleError(
            f"bundle {record.bundle_id[:12]} did not work on this device before and is not tried again ({reason}); "
            "publish a better one, or the same as a new release; `pocketrec node sync --retry-refused` tries it once more"
        )


def _report(
    before: Installed | None,
    after: Installed,
    staged: Staged,
    *,
    latency_ms: float | None = None,
    reassigned: bool = False,
) -> UpdateReport:
    return UpdateReport(
        from_bundle_id=before.bundle_id if before else None,
        to_bundle_id=after.bundle_id,
        release=after.release,
        reason=after.reason,
        variant=after.variant,
        latency_ms=latency_ms,
        reassigned=reassigned,
        **asdict(staged),
    )
