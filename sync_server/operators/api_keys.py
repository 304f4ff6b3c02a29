"""API keys: how programs prove what they may do. A key is shown once; the server keeps its digest."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from edge_runtime.contract.errors import ConfigError
from sync_server.database.engine import database_errors_named, reading
from sync_server.database.tables.operators import ApiKey, Operator
from sync_server.devices.enrollment import digest_of
from sync_server.operators import audit_log
from sync_server.operators.accounts import ROLES, Principal, Role

_DAY_S = 86_400.0
_USED_STEP_S = 300.0
_SERVER_KEY_LABEL = "publisher.token"


@dataclass(frozen=True)
class KeyView:
    """A key as others may see it; `active` when it works now."""

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
    """A key that was just made; `secret` is shown this once."""

    key_id: str
    secret: str


@dataclass(frozen=True)
class ApiKeys:
    """The keys in one database.

    Args:
        engine: the database.
        clock_s: gives seconds since 1970.
    """

    engine: Engine
    clock_s: Callable[[], float]

    def create(self, operator: str, *, role: Role, label: str, actor: str, valid_days: int | None = None) -> NewKey:
        """Make a key for an operator; it may do what both its own role and the operator's allow.

        Raises:
            ConfigError: no such operator, or the label is malformed.
            StorageError: the database cannot be written.
        """
        if not 1 <= len(label) <= 80 or not label.isprintable():
            raise ConfigError("expected a label of 1 to 80 printable characters, which says what the key is for")
        if valid_days is not None and valid_days < 1:
            raise ConfigError(f"expected a validity of at least one day, got {valid_days}")
        secret, now = secrets.token_urlsafe(32), self.clock_s()
        expires = now + valid_days * _DAY_S if valid_days else None
        with database_errors_named(), Session(self.engine) as session, session.begin():
            if session.get(Operator, operator) is None:
                raise ConfigError(f"there is no operator {operator!r}; see: pocketrec operators list")
            row = _row(secret, operator=operator, role=role, label=label, created_at_s=now, expires_at_s=expires)
            session.add(row)
            self._note(session, actor, "API key made", row.key_id, {"operator": operator, "role": role, "label": label})
            return NewKey(row.key_id, secret)

    def adopt_server_key(self, secret: str) -> None:
        """Make the token in the server's home a publisher's key; one that is known already, or revoked, stays as it is.

        Raises:
            StorageError: the database cannot be written.
        """
        with database_errors_named(), Session(self.engine) as session, session.begin():
            if session.scalar(select(ApiKey.key_id).where(ApiKey.key_sha256 == digest_of(secret))) is None:
                row = _row(
                    secret,
                    operator=None,
                    role="publisher",
                    label=_SERVER_KEY_LABEL,
                    created_at_s=self.clock_s(),
                    expires_at_s=None,
                )
                session.add(row)
                self._note(session, "server", "API key made", row.key_id, {"role": row.role, "label": row.label})

    def revoke(self, key_id: str, *, actor: str) -> None:
        """Make a key void.

        Raises:
            ConfigError: there is no such key.
            StorageError: the database cannot be written.
        """
        with database_errors_named(), Session(self.engine) as session, session.begin():
            row = session.get(ApiKey, key_id)
            if row is None:
                raise ConfigError(f"there is no API key {key_id[:40]!r}; see: pocketrec operators keys")
            if row.revoked_at_s is None:
                row.revoked_at_s = self.clock_s()
                self._note(session, actor, "API key revoked", key_id, {"label": row.label})

    def every_key(self) -> list[KeyView]:
        """Return all keys, newest first."""
        query = select(ApiKey, Operator).outerjoin(Operator, Operator.name == ApiKey.operator)
        with database_errors_named(), Session(reading(self.engine)) as session:
            found = session.execute(query.order_by(ApiKey.created_at_s.desc(), ApiKey.key_id))
            return [self._view(key, operator) for key, operator in found]

    def principal_of(self, secret: str) -> Principal | None:
        """Return what the holder of this key may do; None when it is unknown, void, or its operator is disabled."""
        now, query = self.clock_s(), select(ApiKey, Operator).outerjoin(Operator, Operator.name == ApiKey.operator)
        with database_errors_named(), Session(reading(self.engine)) as session:
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
            with database_errors_named(), Session(self.engine) as session, session.begin():
                session.execute(update(ApiKey).where(ApiKey.key_id == key_id).values(used_at_s=now))
        return principal

    def _view(self, key: ApiKey, operator: Operator | None) -> KeyView:
        expired = key.expires_at_s is not None and key.expires_at_s <= self.clock_s()
        disabled = operator is not None and operator.disabled_at_s is not None
        return KeyView(
            key_id=key.key_id,
            operator=key.operator,
            role=cast("Role", key.role),
            label=key.label,
            created_at_s=key.created_at_s,
            expires_at_s=key.expires_at_s,
            used_at_s=key.used_at_s,
            active=key.revoked_at_s is None and not expired and not disabled,
        )

    def _note(self, session: Session, actor: str, action: str, subject: str, details: audit_log.Details) -> None:
        audit_log.append(session, at_s=self.clock_s(), actor=actor, action=action, subject=subject, details=details)


def _row(
    secret: str, *, operator: str | None, role: Role, label: str, created_at_s: float, expires_at_s: float | None
) -> ApiKey:
    return ApiKey(
        key_id=secrets.token_hex(4),
        key_sha256=digest_of(secret),
        operator=operator,
        role=role,
        label=label,
        created_at_s=created_at_s,
        expires_at_s=expires_at_s,
    )
