"""API keys, by which programs prove their role. A key is shown once; the server stores only its digest."""

import secrets
from dataclasses import dataclass
from typing import cast

import msgspec
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from edge_runtime.contract.errors import ConfigError
from sync_server.database.engine import DatabaseService, read_session, require_row, struct_of, write_session
from sync_server.database.tables.operators import ApiKey, Operator
from sync_server.devices.enrollment import digest_of
from sync_server.operators.accounts import ROLES, Principal, Role
from sync_server.operators.audit_log import append

_DAY_S = 86_400.0
# Ten years. Who wants more wants a key that never expires.
_MAX_DAYS = 3_650
# The time of the last use is written every five minutes at most, not with every request.
_USED_STEP_S = 300.0
_SERVER_KEY_LABEL = "publisher.token"


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret; `active` says whether it works now."""

    key_id: str
    operator: str | None
    role: Role
    label: str
    created_at_s: float
    expires_at_s: float | None
    used_at_s: float | None
    active: bool


@dataclass(frozen=True)
class NewKey:
    """A new key; its `secret` is shown only once."""

    key_id: str
    secret: str


@dataclass(frozen=True)
class ApiKeys(DatabaseService):
    """The keys in one database."""

    def create(self, operator: str, *, role: Role, label: str, actor: str, valid_days: int | None = None) -> NewKey:
        """Make a key for an operator; its rights are those of the lower of its own role and the operator's role.

        Raises:
            ConfigError: no such operator, or the label is malformed.
            StorageError: the database cannot be written.
        """
        if not 1 <= len(label) <= 80 or not label.isprintable():
            raise ConfigError("expected a label of 1 to 80 printable characters, which says what the key is for")
        if valid_days is not None and not 1 <= valid_days <= _MAX_DAYS:
            raise ConfigError(
                f"expected a validity of 1 to {_MAX_DAYS} days; leave it out for a key that never expires"
            )
        secret = secrets.token_urlsafe(32)
        expires = self.clock_s() + valid_days * _DAY_S if valid_days else None
        with write_session(self.engine) as session:
            missing = ConfigError(f"there is no operator {operator!r}; see: pocketrec operators list")
            require_row(session, Operator, operator, missing)
            row = self._add(session, secret, operator=operator, role=role, label=label, expires_at_s=expires)
            append(
                session,
                self.clock_s(),
                actor,
                "API key made",
                row.key_id,
                {"operator": operator, "role": role, "label": label},
            )
            return NewKey(row.key_id, secret)

    def adopt_server_key(self, secret: str) -> None:
        """Make the token in the server's home a key of the role publisher; a known or revoked one stays as it is.

        Raises:
            StorageError: the database cannot be written.
        """
        with write_session(self.engine) as session:
            if session.scalar(select(ApiKey.key_id).where(ApiKey.key_sha256 == digest_of(secret))) is None:
                row = self._add(session, secret, role="publisher", label=_SERVER_KEY_LABEL)
                append(
                    session,
                    self.clock_s(),
                    "server",
                    "API key made",
                    row.key_id,
                    {"role": row.role, "label": row.label},
                )

    def revoke(self, key_id: str, *, actor: str) -> None:
        """Make a key void.

        Raises:
            ConfigError: there is no such key.
            StorageError: the database cannot be written.
        """
        with write_session(self.engine) as session:
            missing = ConfigError(f"there is no API key {key_id[:40]!r}; see: pocketrec operators keys")
            row = require_row(session, ApiKey, key_id, missing)
            if row.revoked_at_s is None:
                row.revoked_at_s = self.clock_s()
                append(session, self.clock_s(), actor, "API key revoked", key_id, {"label": row.label})

    def every_key(self) -> list[KeyView]:
        """Return all keys, newest first."""
        query = select(ApiKey, Operator).outerjoin(Operator, Operator.name == ApiKey.operator)
        with read_session(self.engine) as session:
            found = session.execute(query.order_by(ApiKey.created_at_s.desc(), ApiKey.key_id))
            return [self._view(key, operator) for key, operator in found]

    def principal_of(self, secret: str) -> Principal | None:
        """Return what the holder of this key may do; None when it is unknown, void, or its operator is disabled."""
        now, query = self.clock_s(), select(ApiKey, Operator).outerjoin(Operator, Operator.name == ApiKey.operator)
        with read_session(self.engine) as session:
            found = session.execute(query.where(ApiKey.key_sha256 == digest_of(secret))).first()
            if found is None:
                return None
            key, operator = found
            if not self._view(key, operator).active:
                return None
            limit = cast("Role", operator.role) if operator else cast("Role", key.role)
            role = min(cast("Role", key.role), limit, key=ROLES.index)
            principal = Principal(f"{key.operator or 'server'} (key {key.key_id})", role)
            stale = key.used_at_s is None or now - key.used_at_s > _USED_STEP_S
            key_id = key.key_id
        if stale:
            with write_session(self.engine) as session:
                session.execute(update(ApiKey).where(ApiKey.key_id == key_id).values(used_at_s=now))
        return principal

    def _add(self, session: Session, secret: str, **columns: str | float | None) -> ApiKey:
        digest, now = digest_of(secret), self.clock_s()
        row = ApiKey(key_id=secrets.token_hex(4), key_sha256=digest, created_at_s=now, **columns)
        session.add(row)
        return row

    def _view(self, key: ApiKey, operator: Operator | None) -> KeyView:
        expired = key.expires_at_s is not None and key.expires_at_s <= self.clock_s()
        disabled = operator is not None and operator.disabled_at_s is not None
        return struct_of(key, KeyView, active=key.revoked_at_s is None and not expired and not disabled)
