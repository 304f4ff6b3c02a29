"""Reports of devices about their bundles: installed, failed, crashed, rolled back. They contain no user and no query."""

from typing import Literal

import msgspec

from edge_runtime.contract.errors import EventRejectedError

MAX_REPORTS = 100
"""So many wait on a device; one that syncs daily makes a few a month."""
MAX_REPORT_CHARS = 200
"""As ids of events (events.py: `MAX_ID_CHARS`)."""

ReportKind = Literal["installed", "install_failed", "proof_failed", "crashed", "went_back"]


class DeviceReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One thing that happened to a bundle on one device.

    Attributes:
        number: counts the device's reports, never used twice.
        kind: what happened.
        channel: of the release.
        release: which release it happened to.
        bundle_id: of that release.
        timestamp_s: seconds since 1970 by the device's clock.
        reason: the rollout or experiment by which the device has the release.
        variant: the variant of the experiment.
        latency_ms: of a golden query while the bundle proved itself (`installed`).
        error: the class of the error.
    """

    number: int
    kind: ReportKind
    channel: str
    release: int
    bundle_id: str
    timestamp_s: float
    reason: str | None = None
    variant: str | None = msgspec.field(default=None, name="arm")
    latency_ms: float | None = None
    error: str | None = None


class ReportBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request of a device: reports in rising number. Sending a batch again is harmless."""

    version: Literal[1]
    device_id: str
    reports: list[DeviceReport]


class ReportReceipt(msgspec.Struct, frozen=True):
    """The server's answer: every report up to number `acknowledged` is stored; `stored` of them were new."""

    acknowledged: int
    stored: int


def check_report(report: DeviceReport) -> None:
    """Refuse a report that cannot mean anything.

    Raises:
        EventRejectedError: names the field and what was expected.
    """
    texts = (report.channel, report.bundle_id, report.reason or "", report.variant or "", report.error or "")
    if any(len(text) > MAX_REPORT_CHARS or "\x00" in text for text in texts):
        raise EventRejectedError(f"expected texts of at most {MAX_REPORT_CHARS} characters without NUL")
    if report.number < 1 or report.release < 1 or max(report.number, report.release) > 2**53:
        raise EventRejectedError("number and release: expected at least 1")
    if not -1e12 < report.timestamp_s < 1e12:
        raise EventRejectedError(f"timestamp_s: expected seconds since 1970, got {report.timestamp_s}")
    if report.latency_ms is not None and not 0 <= report.latency_ms < 1e9:
        raise EventRejectedError(f"latency_ms: expected milliseconds, got {report.latency_ms}")
