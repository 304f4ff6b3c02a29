"""Tables of the people who run the fleet: accounts, their sessions and API keys, and the audit log."""

from sqlalchemy import Double, ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from sync_server.database.tables.base import Base


class Operator(Base):
    """An account. `failed_logins` counts since the last success; until `locked_until_s` no login is tried."""

    __tablename__ = "operators"

    name: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    password_hash: Mapped[str] = mapped_column(Text)
    created_at_s: Mapped[float] = mapped_column(Double)
    disabled_at_s: Mapped[float | None] = mapped_column(Double)
    failed_logins: Mapped[int]
    locked_until_s: Mapped[float] = mapped_column(Double)


class OperatorSession(Base):
    """A login that is under way, by the SHA-256 of the token in its cookie."""

    __tablename__ = "operator_sessions"

    token_sha256: Mapped[str] = mapped_column(primary_key=True)
    operator: Mapped[str] = mapped_column(ForeignKey("operators.name"), index=True)
    created_at_s: Mapped[float] = mapped_column(Double)
    seen_at_s: Mapped[float] = mapped_column(Double)


class ApiKey(Base):
    """A key for programs, by its SHA-256; without an operator it belongs to the server's own publisher.token."""

    __tablename__ = "api_keys"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    key_sha256: Mapped[str] = mapped_column(unique=True)
    operator: Mapped[str | None] = mapped_column(ForeignKey("operators.name"))
    role: Mapped[str]
    label: Mapped[str] = mapped_column(Text)
    created_at_s: Mapped[float] = mapped_column(Double)
    expires_at_s: Mapped[float | None] = mapped_column(Double)
    used_at_s: Mapped[float | None] = mapped_column(Double)
    revoked_at_s: Mapped[float | None] = mapped_column(Double)


class AuditRow(Base):
    """One line of the audit log; `sha256` covers the line and, through `previous`, all lines before it."""

    __tablename__ = "audit_log"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[str]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str] = mapped_column(Text)
    details: Mapped[str] = mapped_column(Text)
    previous: Mapped[str]
    sha256: Mapped[str]


class AuditHead(Base):
    """The one row that says where the audit log ends. Each append locks it first, so the numbers have no gaps."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int]
    sha256: Mapped[str]
