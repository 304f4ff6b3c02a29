"""Enrollment keys: one secret with which many devices enroll, within a limit, a rate and a time."""

import secrets
from dataclasses import dataclass

import msgspec
from sqlalchemy import select

from edge_runtime.contract.errors import ConfigError
from sync_server.database.engine import DatabaseService, read_session, require_row, struct_of, write_session
from sync_server.database.tables.devices import EnrollmentKey
from sync_server.devices.enrollment import digest_of
from sync_server.operators.audit_log import Details, append

_DAY_S = 86_400.0
# The columns hold 32 bits; ten years are longer than an app is sold.
_MAX_DEVICES, _MAX_DAYS = 1_000_000_000, 3_650


class EnrollmentKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret: how many `devices` it enrolled, and whether it is `active`."""

    key_id: str
    label: str
    devices: int
    device_limit: int
    per_minute: int
    created_at_s: float
    expires_at_s: float
    active: bool


@dataclass(frozen=True)
class NewEnrollmentKey:
    """A new key; its `secret` is shown only once."""

    key_id: str
    secret: str


@dataclass(frozen=True)
class EnrollmentKeys(DatabaseService):
    """The keys in one database."""

    def create(self, label: str, *, devices: int, per_minute: int, valid_days: int, actor: str) -> NewEnrollmentKey:
        """Make a key; the database has only its digest.

        Args:
            label: what the key is for.
            devices: how many it may enroll.
            per_minute: how many of them in one minute.
            valid_days: when it expires.
            actor: for the audit log.

        Raises:
            ConfigError: an argument is malformed.
            StorageError: the database cannot be written.
        """
        if not 1 <= len(label) <= 80 or not label.isprintable():
            raise ConfigError("expected a label of 1 to 80 printable characters, which says what the key is for")
        for name, number, most in (
            ("devices", devices, _MAX_DEVICES),
            ("devices a minute", per_minute, _MAX_DEVICES),
            ("days", valid_days, _MAX_DAYS),
        ):
            if not 1 <= number <= most:
                raise ConfigError(f"expected 1 to {most} {name}, got {number}")
        secret, now = secrets.token_urlsafe(24), self.clock_s()
        row = EnrollmentKey(
            key_id=secrets.token_hex(4),
            key_sha256=digest_of(secret),
            label=label,
            device_limit=devices,
            per_minute=per_minute,
            created_at_s=now,
            expires_at_s=now + valid_days * _DAY_S,
        )
        details: Details = {"label": label, "devices": devices, "per_minute": per_minute, "valid_days": valid_days}
        with write_session(self.engine) as session:
            session.add(row)
            append(session, now, actor, "enrollment key made", row.key_id, details)
            return NewEnrollmentKey(row.key_id, secret)

    def revoke(self, key_id: str, *, actor: str) -> None:
        """Let no more devices enroll with a key; those that did stay enrolled.

        Raises:
            ConfigError: there is no such key.
            StorageError: the database cannot be written.
        """
        with write_session(self.engine) as session:
            missing = ConfigError(f"there is no enrollment key {key_id[:40]!r}; see: pocketrec devices keys")
            row = require_row(session, EnrollmentKey, key_id.replace("\0", ""), missing)
            if row.revoked_at_s is None:
                row.revoked_at_s = self.clock_s()
                append(session, self.clock_s(), actor, "enrollment key revoked", row.key_id, {"label": row.label})

    def every_key(self) -> list[EnrollmentKeyView]:
        """Return all keys, newest first.

        Raises:
            StorageError: the database cannot be read.
        """
        query = select(EnrollmentKey).order_by(EnrollmentKey.created_at_s.desc(), EnrollmentKey.key_id)
        now = self.clock_s()
        with read_session(self.engine) as session:
            return [
                struct_of(row, EnrollmentKeyView, active=row.revoked_at_s is None and row.expires_at_s > now)
                for row in session.scalars(query)
            ]
