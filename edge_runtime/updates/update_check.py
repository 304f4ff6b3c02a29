"""Asks the server for a channel's offer, and gives its signed timestamp to TUF without a second request."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_runtime.contract.atomic_files import read_json, write_json_atomically
from edge_runtime.contract.errors import DownloadError, HttpStatusError
from edge_runtime.contract.offer import MAX_OFFER_BYTES, Offer, check_offer, decode_offer, offer_etag
from edge_runtime.updates.http_transport import Answer, Transport, check_answer, read_limited

_ROOT = re.compile(r"([1-9][0-9]{0,8})\.root\.json")


class KeptOffer(msgspec.Struct, frozen=True):
    """An offer, where it came from, and the tag of its bytes, by which the server knows that the device has it."""

    url: str
    etag: str
    offer: Offer


def ask_for_offer(transport: Transport, *, server_url: str, channel: str, kept_at: Path) -> KeptOffer | None:
    """Return the offer for `channel`; None when the server makes none, which means: the channel's newest release.

    Args:
        transport: the network.
        server_url: address of the server.
        channel: whose offer.
        kept_at: file of the last offer (`keep_offer`), so that the server need not send again what has not changed.

    Raises:
        DownloadError: the network, or an answer that is no offer.
    """
    url = f"{server_url}/v1/channels/{channel}/offer"
    kept = _read_kept(kept_at, url)
    headers = {"If-None-Match": kept.etag} if kept is not None else {}
    try:
        with transport.open("GET", url, headers=headers) as answer:
            if answer.status == 304 and kept is not None:
                return kept
            check_answer(answer, url)
            data = read_limited(answer.chunks, MAX_OFFER_BYTES, what="offer")
            return KeptOffer(url, offer_etag(data), decode_offer(data))
    except HttpStatusError as error:
        if error.status_code != 404:
            raise
        return None


def keep_offer(found: KeptOffer, kept_at: Path) -> None:
    """Remember an offer whose timestamp was found to be genuine; another one must not outlive its request.

    Raises:
        StorageError: the disk is full, read-only or not permitted.
    """
    if _read_kept(kept_at, found.url) != found:
        write_json_atomically(kept_at, found)


def _read_kept(path: Path, url: str) -> KeptOffer | None:
    kept = read_json(path, KeptOffer)
    if kept is None or kept.url != url:
        return None
    try:
        # An older version kept offers that it had not checked.
        check_offer(kept.offer)
    except DownloadError:
        return None
    return kept


@dataclass(frozen=True)
class OfferedMetadata:
    """A Transport that answers for the timestamp and for roots that do not exist from an offer, else asks `transport`.

    The offer is not believed: TUF checks the timestamp's signature, version and expiry as ever, and a server that hides
    a root by a low `root_version` could as well have refused to serve it.
    """

    transport: Transport
    offer: Offer
    metadata_url: str

    @contextlib.contextmanager
    def open(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Iterator[Answer]:
        """Answer a request (see `Transport.open`)."""
        name = url.removeprefix(self.metadata_url)
        root = _ROOT.fullmatch(name)
        if name == "timestamp.json":
            yield Answer(200, {}, iter([self.offer.timestamp.encode()]))
        elif root is not None and int(root.group(1)) > self.offer.root_version:
            yield Answer(404, {}, iter([]))
        else:
            with self.transport.open(method, url, headers=headers, body=body) as answer:
                yield answer
