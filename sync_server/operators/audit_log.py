"""The audit log: who did what. A chain of digests shows when a line was changed or removed.

Each line's SHA-256 covers its own content and the digest of the line before it. Whoever can write the database can compute
the whole chain again. Therefore each new head also goes to the server's log and to the console, and an operator can note it
elsewhere: `pocketrec audit verify --head NUMBER:SHA256` proves that the log still contains it.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from edge_runtime.contract.atomic_files import PRIVATE_MODE, write_bytes_atomically
from edge_runtime.contract.errors import ConfigError
from sync_server.database.engine import DatabaseService, every_row, read_session, struct_of, write_session
from sync_server.database.tables.operators import AuditHead, AuditRow
from sync_server.errors import AuditError

_LOG = logging.getLogger(__name__)
_START = "0" * 64

Details = Mapping[str, str | int | float | bool | None]


class AuditEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the log; `details` is JSON, `at` is UTC."""

    number: int
    at: str
    actor: str
    action: str
    subject: str
    details: str
    previous: str
    sha256: str

    def digest(self) -> str:
        """Return the SHA-256 of this line's content."""
        words = [self.number, self.at, self.actor, self.action, self.subject, self.details, self.previous]
        return hashlib.sha256(msgspec.json.encode(words)).hexdigest()


@dataclass(frozen=True)
class Head:
    """The end of the log: number and digest of its last line; number 0 before the first."""

    number: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.number}:{self.sha256}"

    @staticmethod
    def parse(text: str) -> "Head":
        """Read NUMBER:SHA256.

        Raises:
            ConfigError: it is something else.
        """
        number, _, sha256 = text.strip().partition(":")
        if not number.isdecimal() or len(sha256) != 64:
            raise ConfigError(f"expected a head like 12:3f2a… with 64 hexadecimal digits, got {text[:100]!r}")
        return Head(int(number), sha256.lower())


def append(
    session: Session, at_s: float, actor: str, action: str, subject: str = "", details: Details | None = None
) -> None:
    """Add a line in the same transaction as the action that it describes: both are stored, or neither.

    Args:
        session: an open transaction that may write.
        at_s: seconds since 1970.
        actor: who did it: an operator's name, a device's id, "server" or "command line".
        action: what was done, like "device revoked".
        subject: what it was done to.
        details: more facts about it; no secrets.
    """
    head = session.scalars(select(AuditHead).where(AuditHead.id == 1).with_for_update()).one_or_none()
    if head is None:
        head = AuditHead(id=1, number=0, sha256=_START)
        session.add(head)
    entry = AuditEntry(
        number=head.number + 1,
        at=datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds"),
        actor=actor,
        action=action,
        subject=subject,
        details=msgspec.json.encode(dict(details or {}), order="sorted").decode(),
        previous=head.sha256,
        sha256="",
    )
    entry = msgspec.structs.replace(entry, sha256=entry.digest())
    session.add(AuditRow(**msgspec.structs.asdict(entry)))
    head.number, head.sha256 = entry.number, entry.sha256
    _LOG.info("audit", extra={"fields": {"audit": msgspec.structs.asdict(entry)}})


def check_chain(entries: Iterable[AuditEntry], *, known: Head | None = None) -> Head:
    """Walk the whole log and return its head.

    Args:
        entries: every line, from number 1.
        known: a head that was noted earlier and must still be part of the log.

    Raises:
        AuditError: a line is missing, was changed, or `known` is no longer in the log.
    """
    head = Head(0, _START)
    for entry in entries:
        if entry.number != head.number + 1:
            raise AuditError(f"audit line {head.number + 1} is missing: after {head.number} comes {entry.number}")
        if entry.previous != head.sha256 or entry.sha256 != entry.digest():
            raise AuditError(f"audit line {entry.number} was changed: its digest does not fit what it says")
        head = Head(entry.number, entry.sha256)
        if known and known.number == head.number and known.sha256 != head.sha256:
            raise AuditError(f"audit line {head.number} is not the one that was noted: the log was rewritten")
    if known and known.number > head.number:
        raise AuditError(
            f"the audit log ends at line {head.number}, but line {known.number} was noted: lines are missing"
        )
    return head


def read_export(path: Path) -> Iterator[AuditEntry]:
    """Give the lines of a file that `AuditLog.export` wrote.

    Raises:
        ConfigError: the file cannot be read.
        AuditError: a line is no audit line.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        try:
            yield msgspec.json.decode(line, type=AuditEntry)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise AuditError(f"{path}: line {number} is not a line of the audit log ({error})") from error


@dataclass(frozen=True)
class AuditLog(DatabaseService):
    """The audit log of one server."""

    def record(self, *, actor: str, action: str, subject: str = "", details: Details | None = None) -> None:
        """Add a line about an action outside the database.

        Raises:
            StorageError: the database cannot be written.
        """
        with write_session(self.engine) as session:
            append(session, self.clock_s(), actor, action, subject, details)

    def head(self) -> Head:
        """Return the head that the database names, without checking the log.

        Raises:
            StorageError: the database cannot be read.
        """
        with read_session(self.engine) as session:
            row = session.scalars(select(AuditHead)).one_or_none()
            return Head(row.number, row.sha256) if row else Head(0, _START)

    def entries(self) -> Iterator[AuditEntry]:
        """Give every line, oldest first.

        Raises:
            StorageError: the database cannot be read.
        """
        return (struct_of(row, AuditEntry) for row in every_row(self.engine, AuditRow, AuditRow.number))

    def newest(self, count: int, *, before: int | None = None) -> list[AuditEntry]:
        """Return up to `count` lines, newest first, all of them older than line `before`.

        Raises:
            StorageError: the database cannot be read.
        """
        query = select(AuditRow).order_by(AuditRow.number.desc()).limit(count)
        if before is not None:
            query = query.where(AuditRow.number < before)
        with read_session(self.engine) as session:
            return [struct_of(row, AuditEntry) for row in session.scalars(query)]

    def verify(self, *, known: Head | None = None) -> Head:
        """Check the whole log against its own head and against a noted one; return the head.

        Raises:
            AuditError: a line is missing or was changed.
            StorageError: the database cannot be read.
        """
        claimed = self.head()
        head = check_chain(self.entries(), known=known)
        if claimed.number > head.number:
            raise AuditError(
                f"the audit log ends at line {head.number}, but it had {claimed.number}: lines are missing"
            )
        return head

    def export(self, path: Path) -> Head:
        """Check the log, write it to `path` as JSON lines, and return the head.

        Stopped halfway, `path` holds its old content.

        Raises:
            AuditError: a line is missing or was changed; nothing is written.
            ConfigError: the folder does not exist.
            StorageError: the disk is full, read-only or not permitted.
        """
        if not path.parent.is_dir():
            raise ConfigError(f"cannot write {path}: {path.parent} is not a folder; make it first")
        head = self.verify()
        lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry in self.entries())
        write_bytes_atomically(path, lines, mode=PRIVATE_MODE)
        return head
