"""The active bundle of a device: opens it under the crash guard, switches it, reports to the server."""

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from edge_runtime.contract.bundle import Bundle
from edge_runtime.contract.errors import (
    BundleError,
    BundleFormatError,
    DownloadError,
    InferenceError,
    PocketrecError,
    StorageError,
    UpdateError,
)
from edge_runtime.contract.events import FeedbackEvent
from edge_runtime.contract.reports import DeviceReport, ReportKind
from edge_runtime.feedback.bundle_reports import ReportLog
from edge_runtime.feedback.server_client import ServerClient
from edge_runtime.recommender import Recommender
from edge_runtime.updates.slots import Installed, Slots, SwitchMark
from edge_runtime.updates.updater import CRASHED, Updater, UpdateReport

_LOG = logging.getLogger(__name__)
_REPORTS_FILE = "reports.json"
_LOOK_EVERY_S = 0.5
"""How often a process that answers looks whether another one has switched: a second later at most, it answers as well."""

OpenBundle = Callable[[Path], Recommender]


class ActiveBundle:
    """The installed bundle of the device in `home`.

    Args:
        home: the device's folder.
        updater: brings the next bundle.
        open_bundle: opens a bundle's folder.
        clock_s: gives seconds since 1970.
        monotonic_s: gives seconds that only grow.
    """

    def __init__(
        self,
        home: Path,
        *,
        updater: Updater,
        open_bundle: OpenBundle,
        clock_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slots = Slots(home)
        self.reports = ReportLog(home / _REPORTS_FILE, clock_s=clock_s)
        self._updater = updater
        self._open_bundle = open_bundle
        self._clock_s = clock_s
        self._monotonic_s = monotonic_s
        self._looked_at_s = 0.0
        self._switch: SwitchMark | None = None
        self._recommender: Recommender | None = None
        self._readers: Counter[Recommender] = Counter()
        self._lock = threading.RLock()

    @property
    def recommender(self) -> Recommender:
        """The recommender of the installed bundle; an update that switches closes it, unless `reading` holds it.

        An update by another process is noticed within a second. A bundle that no longer opens, or that ended the last
        processes that opened it, is replaced by the one before it.

        Raises:
            BundleFormatError: no bundle is installed yet.
            BundleError, InferenceError: neither bundle works.
        """
        with self._lock:
            if self._recommender is None:
                self._switch = self.slots.switch_mark
                self._recommender = self._open()
            else:
                self._follow(self._recommender)
            return self._recommender

    def _follow(self, answering: Recommender) -> None:
        """Open the bundle to which another process has switched, if one has; where it does not open, this one stays."""
        now_s = self._monotonic_s()
        if now_s - self._looked_at_s < _LOOK_EVERY_S:
            return
        self._looked_at_s = now_s
        switch = self.slots.switch_mark
        if switch is None or switch == self._switch:
            return
        self._switch = switch
        try:
            self._recommender = self._open()
        except (BundleError, InferenceError) as error:
            _LOG.warning("the bundle that another process installed does not open; the one before answers: %s", error)
            return
        self._close_unread(answering)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Recommender]:
        """Give the recommender, which stays open until the end although an update switches meanwhile.

        Raises:
            BundleError, InferenceError: as `recommender`.
        """
        with self._lock:
            held = self.recommender
            self._readers[held] += 1
        try:
            yield held
        finally:
            with self._lock:
                self._readers[held] -= 1
                if not self._readers[held]:
                    del self._readers[held]
                    if held is not self._recommender:
                        held.close()

    def _close_unread(self, replaced: Recommender) -> None:
        if not self._readers[replaced]:
            replaced.close()

    def _open(self) -> Recommender:
        folder, installed = self.slots.current, self.slots.installed
        if folder is None:
            raise BundleFormatError("this device has no bundle yet; sync it first")
        if installed is not None and self._updater.crashes.crashed(installed.bundle_id):
            before = self._go_back(installed, CRASHED)
            if before is not None:
                return self._open_guarded(before)
        try:
            return self._open_guarded(folder)
        except (BundleError, InferenceError) as error:
            before = self._go_back(installed, str(error), error=error)
            if before is None:
                raise
            return self._open_guarded(before)

    def _open_guarded(self, folder: Path) -> Recommender:
        name = folder.name  # begins as the bundle id does
        with self._updater.crashes.opening(name):
            opened = self._open_bundle(folder)
        self._updater.crashes.clear(name)
        return opened

    def _go_back(self, bad: Installed | None, reason: str, *, error: PocketrecError | None = None) -> Path | None:
        """Let the bundle before answer again; return its folder, or None when there is none that works.

        Where the disk cannot be written, or another process is updating, it answers for this process alone.
        """
        folder, before = self.slots.previous_folder, self.slots.previous
        if folder is None or before is None or self._updater.is_refused(before.bundle_id):
            _LOG.warning("the installed bundle does not work, and there is none before it: %s", reason)
            return None
        _LOG.warning("the installed bundle does not work, going back to the one before: %s", reason)
        try:
            with self.slots.locked():
                if self.slots.installed != bad:  # another process went back, or brought a new one
                    return self.slots.current or folder
                self.slots.roll_back()
                self._switch = self.slots.switch_mark
        except (UpdateError, StorageError) as problem:
            _LOG.warning("only this process goes back: %s", problem)
            return folder
        if bad is not None:
            self._give_up(bad, reason, error)
        return folder

    def _give_up(self, bad: Installed, reason: str, error: PocketrecError | None) -> None:
        self._report("crashed", bad, error=error)
        if error is not None:
            return  # a damaged bundle is mended by the next sync
        try:
            self._updater.refuse(bad, reason)
        except StorageError as problem:
            _LOG.warning("the next sync will try the bundle again: %s", problem)
        self._updater.crashes.clear(bad.bundle_id)

    def update(self, *, retry_refused: bool = False) -> UpdateReport:
        """Bring the channel's release; what comes of it waits to be reported.

        Args:
            retry_refused: try a bundle again that did not work here before.

        Raises:
            UpdateError, BundleError, InferenceError, StorageError: as `Updater.update`.
        """
        before = self.slots.installed
        self._updater.attempted = None
        if retry_refused:
            self._updater.forget_refusals()
        try:
            done = self._updater.update()
        except PocketrecError as error:
            self._report_failure(error)
            raise
        if (done.switched or done.reassigned) and self._updater.attempted is not None:
            kind: ReportKind = "went_back" if before is not None and done.release < before.release else "installed"
            self._report(kind, self._updater.attempted, latency_ms=done.latency_ms)
        if done.switched:
            with self._lock:
                if self._switch != self.slots.switch_mark:
                    self.drop()
        return done

    def verify(self) -> Bundle:
        """Compare every file of the installed bundle with its digest.

        Raises:
            BundleError, UpdateError: as `Updater.verify`.
        """
        return self._updater.verify()

    def _report_failure(self, error: PocketrecError) -> None:
        """Keep what is the bundle's own failure, once: neither the network's nor that of the owner's disk."""
        attempted = self._updater.attempted
        if attempted is None or isinstance(error, (DownloadError, StorageError)):
            return
        failed: ReportKind = "proof_failed" if isinstance(error, (BundleError, InferenceError)) else "install_failed"
        known = {(report.kind, report.bundle_id) for report in self.reports.waiting()}
        if (failed, attempted.bundle_id) not in known and not self._updater.was_refused_before:
            self._report(failed, attempted, error=error)

    def _report(
        self,
        kind: ReportKind,
        bundle: Installed,
        *,
        latency_ms: float | None = None,
        error: PocketrecError | None = None,
    ) -> None:
        report = DeviceReport(
            number=1,
            kind=kind,
            channel=self._updater.channel,
            release=bundle.release,
            bundle_id=bundle.bundle_id,
            timestamp_s=self._clock_s(),
            reason=bundle.reason,
            variant=bundle.variant,
            latency_ms=latency_ms,
            error=type(error).__name__ if error is not None else None,
        )
        with contextlib.suppress(PocketrecError):
            self.reports.add(report)

    def tagged(self, event: FeedbackEvent) -> FeedbackEvent:
        """Return `event` with the experiment and the variant by which this device has the event's bundle, if any."""
        if event.experiment is not None:
            return event
        # What happens to a page after a switch is still about the bundle that ranked it.
        known = (one for one in (self.slots.installed, self.slots.previous) if one is not None)
        had = next((one for one in known if one.bundle_id == event.bundle_id), None)
        if had is None or had.variant is None:
            return event
        return msgspec.structs.replace(event, experiment=had.reason, variant=had.variant)

    def send_reports(self, server: ServerClient) -> None:
        """Send what waits; a failure is logged and tried again at the next sync."""
        try:
            self.reports.send(server)
        except PocketrecError as error:
            _LOG.warning("the reports were not sent and wait for the next sync: %s", error)

    def drop(self) -> None:
        """Free the model, once nobody reads it; the next use opens the installed bundle again."""
        with self._lock:
            dropped, self._recommender = self._recommender, None
            if dropped is not None:
                self._close_unread(dropped)
