"""The most frequent answer to devices, "nothing is new". It needs neither the database nor Flask."""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from edge_runtime.contract.errors import StorageError
from sync_server.repository.tuf_repository import Repository
from sync_server.rollouts.offers import Offers

PATH = "/v1/tuf/timestamp.json"
_OFFER = re.compile(r"/v1/channels/([a-z0-9][a-z0-9-]{0,39})/offer")

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Served:
    """The timestamp on the disk: `mark` distinguishes one file from the next, `renew_at` is when to renew it."""

    mark: tuple[int, int, int]
    etag: str
    renew_at: datetime


def etag_of(content: bytes) -> str:
    """Return the entity tag of a file's content, as it stands in the header."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


class FreshAnswers:
    """Answers a device that has the newest offer or timestamp, and passes every other request to `inner`.

    Args:
        inner: the application.
        repository: has the timestamp, which is renewed here when due, because most requests end here.
        offers: the offers of the channels.
        clock: gives the time (UTC).
        on_unchanged: is called for each answer.
    """

    def __init__(
        self,
        inner: WSGIApplication,
        *,
        repository: Repository,
        offers: Offers,
        clock: Callable[[], datetime],
        on_unchanged: Callable[[], None],
    ) -> None:
        self._inner = inner
        self._repository = repository
        self._offers = offers
        self._clock = clock
        self._on_unchanged = on_unchanged
        self._served: _Served | None = None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        asked = environ.get("HTTP_IF_NONE_MATCH")
        etag = self._etag(environ["PATH_INFO"]) if asked and environ["REQUEST_METHOD"] == "GET" else None
        if not asked or etag is None or etag not in asked:
            return self._inner(environ, start_response)
        self._on_unchanged()
        headers = [("ETag", etag), ("Cache-Control", "no-cache"), ("X-Content-Type-Options", "nosniff")]
        start_response("304 Not Modified", headers)
        return []

    def _etag(self, path: str) -> str | None:
        """Return the present entity tag of `path`; None when this class does not answer it."""
        if path == PATH:
            served = self._current()
            return served.etag if served is not None else None
        offer = _OFFER.fullmatch(path)
        if offer is None:
            return None
        try:
            made = self._offers.encoded(offer.group(1))
        except StorageError as error:
            _LOG.error("the offer cannot be made: %s", error)
            return None
        return made.etag if made is not None else None

    def _current(self) -> _Served | None:
        path = self._repository.metadata_path("timestamp.json")
        if path is None:
            return None
        served = self._served
        try:
            if served is None or served.mark != _mark(path):
                served = self._read(path)
            if served is not None and self._clock() >= served.renew_at:
                self._repository.renew_if_possible()
                served = self._read(path)
        except (OSError, StorageError) as error:
            _LOG.error("the timestamp cannot be read: %s", error)
            return None
        self._served = served
        return served

    def _read(self, path: Path) -> _Served | None:
        # The mark is read first: a file that is replaced in between is read again at the next request.
        mark = _mark(path)
        renew_at = self._repository.renewal_due()
        if renew_at is None:
            return None
        return _Served(mark=mark, etag=etag_of(path.read_bytes()), renew_at=renew_at)


def _mark(path: Path) -> tuple[int, int, int]:
    status = os.stat(path)  # noqa: PTH116  (half the time of Path.stat, on the path of every request)
    return status.st_ino, status.st_mtime_ns, status.st_size
