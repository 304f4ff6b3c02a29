"""A device: recommender, updater and feedback queue over one home folder.

HOME/node.json        NodeSettings, written by `enroll`
HOME/root.json        the keys that this device trusts
HOME/credential       the secret that authenticates the device; mode 0600
HOME/consent.jsonl    every choice of a privacy level, with its time
HOME/feedback.sqlite  the queue (lasting_queue.py); counts.sqlite instead at privacy level counts
HOME/reports.json     reports about bundles that wait to be sent (bundle_reports.py)
HOME/starts/          processes that died while they opened a bundle (crash_guard.py)
HOME/checked.json     when the installed bundle was hashed last (installed_check.py)
HOME/current …        the installed bundle (slots.py)
"""

import contextlib
import hashlib
import logging
import os
import random
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from edge_runtime.contract.atomic_files import disk_errors_named, write_bytes_atomically
from edge_runtime.contract.bundle import Bundle
from edge_runtime.contract.errors import ConfigError, PocketrecError, QueueDamagedError, StorageError
from edge_runtime.contract.events import ErasureReceipt, FeedbackEvent
from edge_runtime.contract.release import EnrollmentAnswer, EnrollmentRequest, check_channel
from edge_runtime.feedback.collector import NodeFeedback
from edge_runtime.feedback.event_queue import QueueStatus, SendReport
from edge_runtime.feedback.exploration import LoggingPolicy, ShownList, new_list_id, show_page
from edge_runtime.feedback.privacy import PrivacyLevel
from edge_runtime.feedback.server_client import ServerClient, decode_answer, request
from edge_runtime.node_settings import SETTINGS_FILE, NodeSettings, check_level_works, read_settings, save_settings
from edge_runtime.products.filters import Where
from edge_runtime.recommender import Recommender
from edge_runtime.updates.active_bundle import ActiveBundle
from edge_runtime.updates.http_transport import HttpTransport, Transport, check_server_url
from edge_runtime.updates.slots import Installed
from edge_runtime.updates.updater import Prove, Updater, UpdateReport

_LOG = logging.getLogger(__name__)
_ROOT_FILE = "root.json"
_CREDENTIAL_FILE = "credential"
_MAX_EXPORT_BYTES = 1_000_000_000
"""Longest export that is read: some two million events, far more than one device sends in its life."""


@dataclass(frozen=True)
class SyncReport:
    """What one sync did: `update` brought the bundle up to date, `feedback` sent what waited."""

    update: UpdateReport
    feedback: SendReport


@dataclass(frozen=True)
class NodeStatus:
    """How a device stands, without asking the server; `queue` is None when its file cannot be opened."""

    settings: NodeSettings
    installed: Installed | None
    previous: Installed | None
    queue: QueueStatus | None


def prove_bundle(folder: Path) -> float:
    """Open the bundle in `folder` and check its golden answers on this device; return milliseconds for each.

    Raises:
        BundleError, InferenceError: it does not work here.
    """
    with contextlib.closing(Recommender.open(folder)) as recommender:
        started = time.perf_counter()
        proof = recommender.prove()
        return (time.perf_counter() - started) * 1_000 / proof.answers


# Visible ASCII, as a header may have it.
_CREDENTIAL = re.compile(rb"[!-~]+")


def enroll(
    home: Path,
    *,
    server_url: str,
    trusted_root: bytes,
    code: str,
    channel: str = "stable",
    privacy: PrivacyLevel = "events",
    transport: Transport | None = None,
    allow_plain_http: bool = False,
    attestation: Callable[[str], str] | None = None,
) -> NodeSettings:
    """Make `home` the home of a device that the server knows.

    Stopped halfway, the same call with the same code carries on.

    Args:
        home: folder of the device; made when missing.
        server_url: https address of the server; plain http only to this machine, or when `allow_plain_http`.
        trusted_root: bytes of the root.json that `pocketrec keys init` made.
        code: the one-time code or the enrollment key that the server's operator handed out; "" where it needs none.
        channel: which channel's releases to follow.
        privacy: what may leave the device.
        transport: the network; the real one by default.
        allow_plain_http: send the credential over an unprotected connection.
        attestation: gives the token of the device's platform for a nonce, which is the SHA-256 (hex) of the credential.

    Raises:
        ConfigError: the home is enrolled already, or an argument is malformed.
        HttpStatusError: the server does not know the code, or it was used by another device.
        DownloadError: the network.
        StorageError: the disk is full, read-only or not permitted.
    """
    if is_enrolled(home):
        raise ConfigError(f"{home} is enrolled already; use another home for another device")
    url = check_server_url(server_url, allow_plain_http=allow_plain_http)
    check_channel(channel)
    check_level_works(privacy)
    with disk_errors_named(home):
        home.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(home / _ROOT_FILE, trusted_root)
    credential = _own_credential(home / _CREDENTIAL_FILE)
    token = attestation(hashlib.sha256(credential.encode()).hexdigest()) if attestation else ""
    body = msgspec.json.encode(EnrollmentRequest(code.strip(), credential, token))
    what = "answer to the enrollment"
    data = request(transport or HttpTransport(), "POST", f"{url}/v1/devices/enroll", what=what, body=body)
    device_id = decode_answer(data, EnrollmentAnswer, what=what, remedy="check the server's address").device_id
    settings = NodeSettings(
        server_url=url, device_id=device_id, channel=channel, privacy=privacy, consented_at_s=time.time()
    )
    save_settings(home, settings)
    return settings


def is_enrolled(home: Path) -> bool:
    """Tell whether `home` is the home of an enrolled device."""
    return (home / SETTINGS_FILE).exists()


def _read_credential(path: Path) -> str:
    # The message must not repeat what the file has, nor may an error of the network, which would show its header.
    credential = path.read_bytes().strip()
    if not _CREDENTIAL.fullmatch(credential):
        raise ConfigError(f"{path} is damaged; restore it from a backup, or enroll this device in a new home folder")
    return credential.decode()


def _own_credential(path: Path) -> str:
    with disk_errors_named(path), contextlib.suppress(FileNotFoundError):
        if path.stat().st_size:
            return _read_credential(path)
    credential = secrets.token_urlsafe(32)
    with disk_errors_named(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(credential)
            file.flush()
            os.fsync(file.fileno())
    return credential


class EdgeNode:
    """Recommender, updater and feedback queue of one device; `EdgeNode.open` makes it."""

    def __init__(
        self, *, settings: NodeSettings, bundles: ActiveBundle, feedback: NodeFeedback, server: ServerClient
    ) -> None:
        self.settings = settings
        self._bundles = bundles
        self._feedback = feedback
        self._server = server
        self._keeps_impressions = True

    @classmethod
    def open(
        cls,
        home: Path | str,
        *,
        transport: Transport | None = None,
        prove: Prove = prove_bundle,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> "EdgeNode":
        """Open an enrolled device; needs no network and loads no model yet.

        Args:
            home: folder of the device.
            transport: the network; the real one by default.
            prove: how a new bundle is checked before it may answer.
            on_bytes: called with the length of each piece that a sync downloads.

        Raises:
            ConfigError: the home is not enrolled, or its settings are malformed.
        """
        home = Path(home)
        network = transport or HttpTransport()
        try:
            settings = read_settings(home)
            root = (home / _ROOT_FILE).read_bytes()
            credential = _read_credential(home / _CREDENTIAL_FILE)
        except OSError as error:
            raise ConfigError(
                f"{home} is not the home of an enrolled device: cannot read {error.filename} ({error.strerror}); "
                "enroll it with: pocketrec node enroll"
            ) from error
        updater = Updater(
            home=home,
            trusted_root=root,
            server_url=settings.server_url,
            channel=settings.channel,
            device_id=settings.device_id,
            transport=network,
            prove=prove,
            on_bytes=on_bytes,
        )
        server = ServerClient(network, settings.server_url, settings.device_id, credential)
        return cls(
            settings=settings,
            bundles=ActiveBundle(home, updater=updater, open_bundle=Recommender.open),
            feedback=NodeFeedback(home, settings, server),
            server=server,
        )

    def __enter__(self) -> "EdgeNode":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the model and close the queue; what was recorded stays."""
        self._bundles.drop()
        self._feedback.close()

    @property
    def recommender(self) -> Recommender:
        """The recommender of the installed bundle, closed by a sync that brings another: threads use `reading` instead.

        What another process's sync brings answers within a second. A bundle that no longer opens, or that ended three
        processes in a row while they opened it, is replaced by the one before it.

        Raises:
            BundleFormatError: no bundle is installed yet.
            BundleError, InferenceError: neither bundle works.
        """
        return self._bundles.recommender

    def reading(self) -> contextlib.AbstractContextManager[Recommender]:
        """Give the recommender for a `with`: one bundle until its end, whatever another thread's sync brings meanwhile.

        Raises:
            BundleError, InferenceError: as `recommender`.
        """
        return self._bundles.reading()

    def record(self, event: FeedbackEvent) -> int | None:
        """Keep what the privacy level permits of `event` until it is sent; return its number (`NodeFeedback.record`).

        The experiment and the variant by which the device has its bundle are filled in where the event names none.

        Raises:
            EventRejectedError: the event is malformed, or of an unknown kind.
            QueueFullError: the queue is full and holds no impression that could make room.
            StorageError: the disk is full, read-only or not permitted.
        """
        return self._feedback.record(self._bundles.tagged(event))

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        where: Where | None = None,
        policy: LoggingPolicy | None = None,
        chance: random.Random | None = None,
    ) -> ShownList:
        """Rank the catalogue for a query, randomize the page a little, and record an impression of each product on it.

        Where impressions cannot be kept (a full disk), the page is returned all the same; the log says so once.

        What happens to a product of the page is recorded by `record(page.action("click", product_id, time.time()))`.

        Args:
            query: what a person typed.
            k: places of the page, at least 1.
            where: filter (edge_runtime/products/filters.py).
            policy: how to randomize; the device's settings by default.
            chance: the source of random numbers; the system's by default.

        Returns:
            The page: at most `k` products with place, rank, score and probabilities; fewer when fewer are eligible.

        Raises:
            ConfigError, BundleError, InferenceError: as `Recommender.search`.
        """
        policy = policy or self.settings.logging
        with self.reading() as recommender:
            found = recommender.search(query, k=policy.candidates(k), where=where)
            bundle_id = recommender.bundle.bundle_id
        scores = dict(zip(found.product_ids, map(float, found.scores), strict=True))
        page = show_page(found.product_ids, k, policy, chance or random.SystemRandom())
        shown = ShownList(
            list_id=new_list_id(),
            bundle_id=bundle_id,
            query=query,
            products=tuple(replace(one, score=scores[one.product_id]) for one in page),
        )
        self._keep([self._bundles.tagged(event) for event in shown.impressions(time.time())])
        return shown

    def _keep(self, impressions: list[FeedbackEvent]) -> None:
        try:
            self._feedback.record_all(impressions)
        except (StorageError, QueueDamagedError) as error:
            if self._keeps_impressions:
                _LOG.warning("impressions are not kept: %s", error)
            self._keeps_impressions = False
        else:
            self._keeps_impressions = True

    def forget(self) -> ErasureReceipt:
        """Remove the waiting feedback here, then have the server erase what it holds of this device.

        Returns:
            How many events and how many reports of counts the server erased.

        Raises:
            DownloadError: the server was not reached; data on this device is deleted already; call again for the rest.
            StorageError: the disk is full, read-only or not permitted.
        """
        self._feedback.forget_here()
        what = "answer to the erasure"
        # Another process may be sending: events with numbers up to the last one are not stored after the erasure.
        last = self._feedback.status().last_sequence
        data = self._server.request("DELETE", f"/v1/feedback?through={last}", what=what)
        return decode_answer(data, ErasureReceipt, what=what, remedy="ask again")

    def export_data(self) -> bytes:
        """Return all that the server holds of this device: UTF-8, one JSON object a line, 1 GB at most.

        Raises:
            DownloadError: the network.
        """
        what = "answer about this device's data"
        return self._server.request("GET", "/v1/feedback", what=what, max_bytes=_MAX_EXPORT_BYTES)

    def sync(self, *, retry_refused: bool = False) -> SyncReport:
        """Send the waiting feedback, then bring the bundle up to date; a failure of one does not stop the other.

        Args:
            retry_refused: try a bundle again that did not work on this device before.

        Raises:
            UpdateError, BundleError, InferenceError, StorageError: as `Updater.update` and `send_feedback`. When both
                fail, the update's error is raised and the other one is logged.
        """
        update: UpdateReport | None = None
        feedback: SendReport | None = None
        failures: list[PocketrecError] = []
        try:
            feedback = self._feedback.send()
        except PocketrecError as error:
            failures.append(error)
        try:
            update = self._bundles.update(retry_refused=retry_refused)
        except PocketrecError as error:
            failures.append(error)
        if self.settings.privacy != "off":
            self._bundles.send_reports(self._server)
        for earlier in failures[:-1]:
            _LOG.warning("feedback was not sent either: %s", earlier)
        if update is None or feedback is None:
            raise failures[-1]
        return SyncReport(update=update, feedback=feedback)

    def verify(self) -> Bundle:
        """Compare every file of the installed bundle with its digest; the next sync mends one that is damaged.

        Raises:
            BundleFormatError: no bundle is installed yet.
            BundleError: it is damaged.
            UpdateError: another process is updating.
        """
        return self._bundles.verify()

    def status(self) -> NodeStatus:
        """Return settings, installed bundles and the state of the queue, without the network."""
        queue: QueueStatus | None = None
        with contextlib.suppress(StorageError):  # the log said so when the device was opened
            queue = self._feedback.status()
        return NodeStatus(
            settings=self.settings,
            installed=self._bundles.slots.installed,
            previous=self._bundles.slots.previous,
            queue=queue,
        )
