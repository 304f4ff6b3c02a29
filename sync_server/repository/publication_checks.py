"""The checks of targets before the server serves them."""

from datetime import datetime

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import DeserializationError

from edge_runtime.contract.errors import SignatureError
from edge_runtime.contract.release import file_target
from sync_server.errors import PublicationError
from sync_server.repository.delegations import channel_of, plain
from sync_server.repository.file_store import FileStore
from sync_server.repository.releases import all_releases


def checked_targets(
    data: bytes, *, role: str, root: Metadata[Root], top: Metadata[Targets] | None, now: datetime
) -> Metadata[Targets]:
    """Return targets that are well formed, signed by enough keys of their role, and name only what the role may.

    Args:
        data: bytes of the metadata.
        role: targets, or the role of a delegated channel.
        root: the current root.
        top: the current targets of the targets role, which delegate the others.
        now: the time (UTC).

    Raises:
        SignatureError: not signed by the keys of this role.
        PublicationError: malformed, expired, or about another channel.
    """
    try:
        metadata = Metadata[Targets].from_bytes(data)
    except DeserializationError as error:
        raise PublicationError("the body is not a targets.json; nothing was published") from error
    if metadata.signed.type != Targets.type:
        raise PublicationError(f"expected targets metadata, got {metadata.signed.type}; nothing was published")
    try:
        delegator = root.signed if role == Targets.type else _delegator(top, role)
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        raise SignatureError(
            f"the targets are not signed by the {role} keys that this server's root.json trusts; nothing was published"
        ) from error
    if metadata.signed.is_expired(now):
        raise PublicationError("the targets have expired already; nothing was published")
    channel = channel_of(role)
    if channel is not None:
        _check_paths(metadata.signed, channel)
    return metadata


def _delegator(top: Metadata[Targets] | None, role: str) -> Targets:
    if top is None or top.signed.delegations is None or role not in (top.signed.delegations.roles or {}):
        raise PublicationError(f"the role {role} is not delegated; nothing was published")
    return top.signed


def _check_paths(targets: Targets, channel: str) -> None:
    if targets.delegations is not None:
        raise PublicationError("a team cannot delegate its channel further; nothing was published")
    strays = [path for path in targets.targets if not path.startswith(f"channels/{channel}/")]
    if strays:
        raise PublicationError(f"the key of channel {channel} may not sign {strays[0][:100]}; nothing was published")


def check_files(targets: Targets, *, role: str, files: FileStore) -> None:
    """Check that the server has every file that targets name, and that releases name signed files only.

    Raises:
        PublicationError: a file is missing or not signed.
        UpdateError: a release note is malformed.
    """
    for path, target in targets.targets.items():
        stored = files.path(target.hashes.get("sha256", ""))
        if stored is None or stored.stat().st_size != target.length:
            raise PublicationError(f"the signed file {path} was not uploaded; nothing was published")
    own = channel_of(role)
    unscoped = plain(targets, own) if own else targets
    notes = [(channel, note) for channel, found in all_releases(unscoped).items() for note in found.values()]
    for channel, note in notes:
        missing = [digest for digest in note.files if file_target(digest) not in unscoped.targets]
        if missing:
            raise PublicationError(
                f"channel {channel} names {len(missing)} files that are not signed; nothing was published"
            )
