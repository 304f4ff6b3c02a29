"""Shows which keys sign what, how many of them are in this folder, and when what they signed expires."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from tuf.api.metadata import Metadata, Role, Root, Snapshot, Targets, Timestamp

from pocketrec.publishing.key_files import REMEMBERED_TARGETS, offline_places
from pocketrec.publishing.signing import ServedMetadata
from sync_server.repository.delegations import delegated_channels, role_of
from sync_server.repository.keys import ONLINE_ROLES, ROOT_FILE, find_signers, load_root


class RoleStatus(msgspec.Struct, frozen=True):
    """One role: its keys and its newest known metadata."""

    role: str
    key_ids: list[str]
    threshold: int
    keys_here: int
    version: int | None = None
    expires_at: datetime | None = None


def key_status(
    keys: Path, *, served: ServedMetadata | None, passphrase: bytes | None, more: Sequence[Path] = ()
) -> list[RoleStatus]:
    """Return every role of a key folder, and what the server serves when it is asked.

    Raises:
        ConfigError, SignatureError: the folder has no root.json that holds.
        DownloadError: the server cannot be reached.
    """
    root = load_root(keys / ROOT_FILE)
    remembered = keys / REMEMBERED_TARGETS
    data = served.targets() if served else remembered.read_bytes() if remembered.exists() else None
    top = Metadata[Targets].from_bytes(data).signed if data else None
    newest: dict[str, Root | Targets | Snapshot | Timestamp | None] = {Root.type: root.signed, Targets.type: top}
    if served is not None:
        newest |= _served_online(served)
    lines = [
        _line(role, root.signed.roles[role], newest.get(role), _places(keys, role, more), passphrase)
        for role in (Root.type, Targets.type, *ONLINE_ROLES)
    ]
    for channel, role in delegated_channels(top).items() if top else ():
        own = served.targets(role_of(channel)) if served else None
        signed = Metadata[Targets].from_bytes(own).signed if own else None
        lines.append(_line(role_of(channel), role, signed, offline_places(keys, more), passphrase))
    return lines


def _served_online(served: ServedMetadata) -> dict[str, Root | Targets | Snapshot | Timestamp | None]:
    data = served.metadata("timestamp.json")
    if data is None:
        return {}
    timestamp = Metadata[Timestamp].from_bytes(data).signed
    data = served.metadata(f"{timestamp.snapshot_meta.version}.snapshot.json")
    return {Timestamp.type: timestamp, Snapshot.type: Metadata[Snapshot].from_bytes(data).signed if data else None}


def _places(keys: Path, role: str, more: Sequence[Path]) -> list[Path]:
    return [keys / "online"] if role in ONLINE_ROLES else offline_places(keys, more)


def _line(
    name: str,
    role: Role,
    signed: Root | Targets | Snapshot | Timestamp | None,
    places: list[Path],
    passphrase: bytes | None,
) -> RoleStatus:
    here = find_signers(places, trusted=role, name=name, passphrase=passphrase, needed=0)
    return RoleStatus(
        role=name,
        key_ids=list(role.keyids),
        threshold=role.threshold,
        keys_here=len(here),
        version=signed.version if signed else None,
        expires_at=signed.expires if signed else None,
    )
