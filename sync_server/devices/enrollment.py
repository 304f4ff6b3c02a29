"""Enrollment of devices: one-time codes, credentials, and which device has which credential."""

import hashlib
import secrets
from dataclasses import dataclass, field

from sqlalchemy import bindparam, select

from sync_server.database.engine import DatabaseService, database_errors_named, read_session, reading, write_session
from sync_server.database.tables.devices import Device, EnrollmentCode
from sync_server.errors import RequestError

_DAY_S = 86_400.0
# About 200 bytes each, 10 MB in all. For a larger fleet the database is asked more often.
_MAX_SENDERS = 50_000
# Built once: building a statement takes longer than running it.
_DEVICE_OF_CREDENTIAL = select(Device.device_id).where(
    Device.credential_sha256 == bindparam("digest"), Device.revoked_at_s.is_(None)
)


def digest_of(secret: str) -> str:
    """Return the SHA-256 by which a code, a credential or a token is stored; these are random, so they need no salt."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True)
class Enrollment(DatabaseService):
    """Which devices may send, in one database."""

    _senders: dict[str, str] = field(init=False, default_factory=dict)

    def new_code(self, *, valid_days: int) -> str:
        """Make a one-time enrollment code and return it; the database has only its digest.

        Raises:
            StorageError: the database cannot be written.
        """
        code = secrets.token_urlsafe(16)
        now = self.clock_s()
        with write_session(self.engine) as session:
            session.add(
                EnrollmentCode(code_sha256=digest_of(code), created_at_s=now, expires_at_s=now + valid_days * _DAY_S)
            )
        return code

    def enroll(self, code: str, credential: str) -> str:
        """Exchange a code for a device id. The same code with the same credential gives the same id again.

        Raises:
            RequestError: the code is unknown, has expired, or was used by another device.
            StorageError: the database cannot be written.
        """
        if len(credential) < 32:
            raise RequestError("the credential is too short; update the device's runtime", status_code=400)
        with write_session(self.engine) as session:
            known = session.get(EnrollmentCode, digest_of(code))
            device = session.scalar(select(Device).where(Device.credential_sha256 == digest_of(credential)))
            if known is None or (known.device_id is None and known.expires_at_s < self.clock_s()):
                raise RequestError("the enrollment code is unknown or has expired; ask for a new one", status_code=403)
            if device is not None and device.revoked_at_s is not None:
                raise RequestError("this device was revoked; enroll it in a new home", status_code=403)
            if known.device_id is not None:
                if device is None or device.device_id != known.device_id:
                    raise RequestError("the enrollment code was used already; ask for a new one", status_code=403)
                return known.device_id
            if device is None:
                device = Device(
                    device_id=f"device-{secrets.token_hex(8)}",
                    credential_sha256=digest_of(credential),
                    enrolled_at_s=self.clock_s(),
                )
                session.add(device)
                session.flush()
            known.device_id = device.device_id
            return device.device_id

    def device_of(self, credential: str) -> str | None:
        """Return the device with this credential; None when there is none or it was revoked."""
        with database_errors_named(), reading(self.engine).connect() as connection:
            return connection.scalar(_DEVICE_OF_CREDENTIAL, {"digest": digest_of(credential)})

    def sender_of(self, credential: str) -> str | None:
        """Return the device with this credential, from memory when it was asked for before; None when there is none.

        The device may have been revoked since. Use this only for requests that end in `EventIngest.store`, which checks
        that while it locks the device's row.
        """
        digest = digest_of(credential)
        device_id = self._senders.get(digest)
        if device_id is None and (device_id := self.device_of(credential)) is not None:
            if len(self._senders) >= _MAX_SENDERS:
                self._senders.clear()
            self._senders[digest] = device_id
        return device_id

    def check(self) -> None:
        """Check by one small query that the database answers.

        Raises:
            StorageError: it does not answer, or lacks the tables.
        """
        with read_session(self.engine) as session:
            session.scalar(select(Device.device_id).limit(1))
