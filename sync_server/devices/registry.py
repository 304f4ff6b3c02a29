"""The registry of devices: which are enrolled, when each last sent feedback, and revoking one."""

from dataclasses import dataclass

import msgspec
from sqlalchemy import ColumnElement, func, select, true

from edge_runtime.contract.errors import ConfigError
from sync_server.database.engine import DatabaseService, read_session, require_row, struct_of, write_session
from sync_server.database.tables.devices import Device
from sync_server.operators.audit_log import append

# Longer than any device's name.
MAX_SEARCH_CHARS = 100


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """A device as an operator sees it; times are seconds since 1970."""

    device_id: str
    enrolled_at_s: float
    last_feedback_at_s: float | None
    revoked_at_s: float | None
    bundle_id: str | None


@dataclass(frozen=True)
class DevicePage:
    """One page of devices; `after` continues the list, None at its end."""

    devices: list[DeviceView]
    after: str | None


@dataclass(frozen=True)
class DeviceRegistry(DatabaseService):
    """The devices in one database."""

    def page(self, *, search: str = "", after: str = "", count: int = 50) -> DevicePage:
        """Return devices by name, those whose name contains `search`, from the one that follows `after`.

        Raises:
            StorageError: the database cannot be read.
        """
        query = select(Device).where(_contains(search), Device.device_id > _plain(after))
        with read_session(self.engine) as session:
            rows = list(session.scalars(query.order_by(Device.device_id).limit(count + 1)))
            views = [struct_of(row, DeviceView) for row in rows[:count]]
        return DevicePage(views, views[-1].device_id if len(rows) > count else None)

    def count(self, *, search: str = "") -> int:
        """Return how many devices have a name that contains `search`.

        Raises:
            StorageError: the database cannot be read.
        """
        with read_session(self.engine) as session:
            return session.scalar(select(func.count()).select_from(Device).where(_contains(search))) or 0

    def count_active(self, *, since_s: float) -> int:
        """Return how many devices that are not revoked sent something since `since_s`.

        Raises:
            StorageError: the database cannot be read.
        """
        query = select(func.count()).select_from(Device).where(Device.last_feedback_at_s >= since_s)
        with read_session(self.engine) as session:
            return session.scalar(query.where(Device.revoked_at_s.is_(None))) or 0

    def find(self, device_id: str) -> DeviceView | None:
        """Return one device, or None.

        Raises:
            StorageError: the database cannot be read.
        """
        with read_session(self.engine) as session:
            row = session.get(Device, _plain(device_id))
            return struct_of(row, DeviceView) if row else None

    def revoke(self, device_id: str, *, actor: str) -> None:
        """Make a device's credential void for good: the server accepts nothing from it any more.

        The device can enroll again with a new code, and gets another name.

        Raises:
            ConfigError: there is no such device.
            StorageError: the database cannot be written.
        """
        with write_session(self.engine) as session:
            missing = ConfigError(f"there is no device {device_id[:80]!r}; see: pocketrec devices list")
            row = require_row(session, Device, _plain(device_id), missing)
            if row.revoked_at_s is None:
                row.revoked_at_s = self.clock_s()
                append(session, self.clock_s(), actor, "device revoked", row.device_id)


def _contains(search: str) -> ColumnElement[bool]:
    text = _plain(search)[:MAX_SEARCH_CHARS]
    # Without autoescape, % and _ in the search would be wildcards.
    return Device.device_id.contains(text, autoescape=True) if text else true()


def _plain(text: str) -> str:
    # PostgreSQL takes no NUL in a text, and no name has one.
    return text.replace("\0", "")
