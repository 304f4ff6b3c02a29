"""The accounts of the people who run the fleet: roles, passwords, logins and sessions."""

import re
import secrets
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, cast, get_args

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from edge_runtime.contract.errors import ConfigError
from sync_server.database.engine import DatabaseService, read_session, require_row, struct_of, write_session
from sync_server.database.tables.operators import Operator, OperatorSession
from sync_server.devices.enrollment import digest_of
from sync_server.errors import LoginError
from sync_server.operators.audit_log import append

Role = Literal["viewer", "publisher", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
# NIST SP 800-63B asks for 8 characters or more. The upper limit bounds the work of one hash.
MIN_PASSWORD_CHARS, MAX_PASSWORD_CHARS = 12, 1_000
COMMAND_LINE = "command line"

_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
# Five typing errors are common, a sixth is rare. Locks of 15 minutes leave a guesser about 100 attempts a day.
_FREE_ATTEMPTS = 5
_FIRST_LOCK_S, _LONGEST_LOCK_S = 30.0, 900.0
# The time of the last request is written once a minute at most, not with every request.
_SEEN_STEP_S = 60.0


@dataclass(frozen=True)
class Principal:
    """Who sends a request: the name for the audit log, and the role."""

    name: str
    role: Role

    def may(self, needed: Role) -> bool:
        """Tell whether this role includes `needed`: publisher includes viewer, admin includes both."""
        return ROLES.index(self.role) >= ROLES.index(needed)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An operator as others may see it."""

    name: str
    role: Role
    created_at_s: float
    disabled: bool
    locked: bool


@dataclass(frozen=True)
class Operators(DatabaseService):
    """The accounts in one database.

    Args:
        session_s: a login ends after so long.
        idle_s: a login ends after so long without a request.
        hasher: Argon2id with the parameters of its library.
    """

    session_s: float = 12 * 3_600.0
    idle_s: float = 3_600.0
    hasher: PasswordHasher = field(default_factory=PasswordHasher)

    def add(self, name: str, *, role: Role, password: str, actor: str) -> None:
        """Add an account.

        Raises:
            ConfigError: the name is taken or malformed, or the password too short.
            StorageError: the database cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name[:80]!r}: expected 1 to 64 lower-case letters, digits and . _ @ - as a name")
        hashed = self._hash(password)
        with write_session(self.engine) as session:
            if session.get(Operator, name) is not None:
                raise ConfigError(f"there is an operator {name} already; choose another name")
            unlocked = {"failed_logins": 0, "locked_until_s": 0.0}
            now = self.clock_s()
            session.add(Operator(name=name, role=role, password_hash=hashed, created_at_s=now, **unlocked))
            append(session, self.clock_s(), actor, "operator added", name, {"role": role})

    def everyone(self) -> list[Account]:
        """Return all accounts by name."""
        with read_session(self.engine) as session:
            rows = session.scalars(select(Operator).order_by(Operator.name))
            return [self._account(row) for row in rows]

    def disable(self, name: str, *, actor: str) -> None:
        """End the account's sessions and forbid it to log in; its API keys stop working too.

        Raises:
            ConfigError: there is no such operator.
        """
        with write_session(self.engine) as session:
            self._row(session, name).disabled_at_s = self.clock_s()
            session.execute(delete(OperatorSession).where(OperatorSession.operator == name))
            append(session, self.clock_s(), actor, "operator disabled", name)

    def enable(self, name: str, *, actor: str) -> None:
        """Let a disabled account log in again.

        Raises:
            ConfigError: there is no such operator.
        """
        with write_session(self.engine) as session:
            self._row(session, name).disabled_at_s = None
            append(session, self.clock_s(), actor, "operator enabled", name)

    def set_role(self, name: str, *, role: Role, actor: str) -> None:
        """Give the account another role; its next request has that role.

        Raises:
            ConfigError: there is no such operator.
        """
        with write_session(self.engine) as session:
            self._row(session, name).role = role
            append(session, self.clock_s(), actor, "operator's role changed", name, {"role": role})

    def set_password(self, name: str, *, password: str, actor: str) -> None:
        """Give the account another password, end its sessions, and unlock it.

        Raises:
            ConfigError: there is no such operator, or the password is too short.
        """
        hashed = self._hash(password)
        with write_session(self.engine) as session:
            row = self._row(session, name)
            row.password_hash, row.failed_logins, row.locked_until_s = hashed, 0, 0.0
            session.execute(delete(OperatorSession).where(OperatorSession.operator == name))
            append(session, self.clock_s(), actor, "operator's password reset", name)

    def log_in(self, name: str, password: str) -> str:
        """Check name and password; return the token of a new session.

        Every attempt is counted before the password is checked, so attempts in parallel are counted too. After five wrong
        passwords in a row the account is locked, and longer after each further one.

        Raises:
            LoginError: name or password is wrong, or the account is disabled or locked.
            StorageError: the database cannot be written.
        """
        known = self._start_attempt(name)
        # An unknown name takes as much time as a wrong password, so that the time does not show which names exist.
        matches = self._matches(known or self._unmatched_hash, password)
        if known is None or not matches:
            raise LoginError("name or password is wrong", status_code=403)
        token = secrets.token_urlsafe(32)
        now = self.clock_s()
        with write_session(self.engine) as session:
            row = self._row(session, name)
            row.failed_logins, row.locked_until_s = 0, 0.0
            if self.hasher.check_needs_rehash(known):
                row.password_hash = self.hasher.hash(password)
            session.execute(delete(OperatorSession).where(OperatorSession.created_at_s < now - self.session_s))
            session.add(OperatorSession(token_sha256=digest_of(token), operator=name, created_at_s=now, seen_at_s=now))
            append(session, self.clock_s(), name, "logged in")
        return token

    def log_out(self, token: str) -> None:
        """End a session; copies of the token are void too."""
        with write_session(self.engine) as session:
            row = session.get(OperatorSession, digest_of(token))
            if row is not None:
                session.delete(row)
                append(session, self.clock_s(), row.operator, "logged out")

    def principal_of(self, token: str) -> Principal | None:
        """Return whose session this is; None when it has ended or never was."""
        now, digest = self.clock_s(), digest_of(token)
        with read_session(self.engine) as session:
            query = select(OperatorSession, Operator).join(Operator, Operator.name == OperatorSession.operator)
            found = session.execute(query.where(OperatorSession.token_sha256 == digest)).first()
            if found is None:
                return None
            login, operator = found
            ended = now - login.created_at_s > self.session_s or now - login.seen_at_s > self.idle_s
            if ended or operator.disabled_at_s is not None:
                return None
            principal = Principal(operator.name, cast("Role", operator.role))
            stale = now - login.seen_at_s > _SEEN_STEP_S
        if stale:
            with write_session(self.engine) as session:
                seen = update(OperatorSession).where(OperatorSession.token_sha256 == digest)
                session.execute(seen.values(seen_at_s=now))
        return principal

    def _start_attempt(self, name: str) -> str | None:
        if not _NAME.fullmatch(name):
            return None
        now = self.clock_s()
        with write_session(self.engine) as session:
            row = session.get(Operator, name, with_for_update=True)
            if row is None or row.disabled_at_s is not None:
                return None
            if row.locked_until_s > now:
                wait_s = int(row.locked_until_s - now) + 1
                raise LoginError(f"too many attempts; try again in {wait_s} s", status_code=429)
            row.failed_logins += 1
            if row.failed_logins >= _FREE_ATTEMPTS:
                lock_s = min(_FIRST_LOCK_S * 2.0 ** min(row.failed_logins - _FREE_ATTEMPTS, 20), _LONGEST_LOCK_S)
                row.locked_until_s = now + lock_s
                append(
                    session,
                    self.clock_s(),
                    name,
                    "login locked",
                    name,
                    {"attempts": row.failed_logins, "seconds": lock_s},
                )
            return row.password_hash

    @cached_property
    def _unmatched_hash(self) -> str:
        """A hash that no password fits. It is made once, because making one takes as long as checking a password."""
        return self._hash(secrets.token_hex(16))

    def _matches(self, hashed: str, password: str) -> bool:
        try:
            return self.hasher.verify(hashed, password[:MAX_PASSWORD_CHARS])
        except (VerificationError, InvalidHashError):
            return False

    def _hash(self, password: str) -> str:
        if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
            raise ConfigError(f"expected a password of at least {MIN_PASSWORD_CHARS} characters")
        return self.hasher.hash(password)

    def _account(self, row: Operator) -> Account:
        locked = row.locked_until_s > self.clock_s()
        return struct_of(row, Account, disabled=row.disabled_at_s is not None, locked=locked)

    @staticmethod
    def _row(session: Session, name: str) -> Operator:
        missing = ConfigError(f"there is no operator {name!r}; see: pocketrec operators list")
        return require_row(session, Operator, name, missing, to_change=True)
