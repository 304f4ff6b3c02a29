"""Enrollment of devices: by one-time codes, by keys for many, or openly; their credentials, and which device has which credential."""

import hashlib
import secrets
from dataclasses import dataclass, field

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from sync_server.database.engine import DatabaseService, database_errors_named, read_session, reading, write_session
from sync_server.database.tables.devices import Device, EnrollmentCode, EnrollmentKey
from sync_server.devices.attestation import Attestation
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
    """Which devices may send, in one database.

    Args:
        attestation: judges devices that enroll without a one-time code; None lets all of them pass.
    """

    attestation: Attestation | None = None
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

    def enroll(self, code: str, credential: str, *, attestation: str = "") -> str:
        """Enroll a device by a one-time code, by an enrollment key, or by no code; return its id.

        The same code with the same credential gives the same id again.

        Args:
            code: the code or the key; "" where the caller lets devices enroll without any.
            credential: what the device will prove itself by.
            attestation: the token of the device's platform; a one-time code needs none.

        Raises:
            RequestError: the code is unknown, void, or used up; or the device is not genuine.
            StorageError: the database cannot be written.
        """
        if len(credential) < 32:
            raise RequestError("the credential is too short; update the device's runtime", status_code=400)
        if not self._is_for_many(code):
            with write_session(self.engine) as session:
                return self._by_code(session, code, credential)
        self._check_genuine(attestation, nonce=digest_of(credential))
        with write_session(self.engine) as session:
            device = _device_with(session, credential)
            if device is not None:
                return device.device_id
            if code:
                _take_place(session, digest_of(code), now_s=self.clock_s())
            return self._new_device(session, credential).device_id

    def _is_for_many(self, code: str) -> bool:
        query = select(EnrollmentKey.key_id).where(EnrollmentKey.key_sha256 == digest_of(code))
        with read_session(self.engine) as session:
            return not code or session.scalar(query) is not None

    def _check_genuine(self, token: str, *, nonce: str) -> None:
        if self.attestation is None:
            return
        if not token:
            raise RequestError("the server wants an attestation of this device; update the app", status_code=403)
        verdict = self.attestation.check(token, nonce=nonce)
        if not verdict.is_genuine:
            raise RequestError(f"this device is not enrolled: {verdict.reason}", status_code=403)

    def _by_code(self, session: Session, code: str, credential: str) -> str:
        known = session.get(EnrollmentCode, digest_of(code))
        if known is None or (known.device_id is None and known.expires_at_s < self.clock_s()):
            raise RequestError("the enrollment code is unknown or has expired; ask for a new one", status_code=403)
        device = _device_with(session, credential)
        if known.device_id is not None:
            if device is None or device.device_id != known.device_id:
                raise RequestError("the enrollment code was used already; ask for a new one", status_code=403)
            return known.device_id
        known.device_id = (device or self._new_device(session, credential)).device_id
        return known.device_id

    def _new_device(self, session: Session, credential: str) -> Device:
        device = Device(
            device_id=f"device-{secrets.token_hex(8)}",
            credential_sha256=digest_of(credential),
            enrolled_at_s=self.clock_s(),
        )
        session.add(device)
        session.flush()
        return device

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


def _device_with(session: Session, credential: str) -> Device | None:
    device = session.scalar(select(Device).where(Device.credential_sha256 == digest_of(credential)))
    if device is not None and device.revoked_at_s is not None:
        raise RequestError("this device was revoked; enroll it in a new home", status_code=403)
    return device


def _take_place(session: Session, digest: str, *, now_s: float) -> None:
    """Count one device of an enrollment key; the key's row is locked until the transaction ends."""
    key = session.scalars(select(EnrollmentKey).where(EnrollmentKey.key_sha256 == digest).with_for_update()).one()
    if key.revoked_at_s is not None or key.expires_at_s <= now_s:
        raise RequestError("the enrollment key has expired or was revoked; ask for a new one", status_code=403)
    if key.devices >= key.device_limit:
        raise RequestError(
            f"the enrollment key has enrolled all of its {key.device_limit} devices; ask for a new one", status_code=403
        )
    minute = int(now_s // 60)
    if key.minute != minute:
        key.minute, key.minute_devices = minute, 0
    if key.minute_devices >= key.per_minute:
        raise RequestError("the enrollment key enrolls no more devices in this minute; try again", status_code=429)
    key.devices += 1
    key.minute_devices += 1
