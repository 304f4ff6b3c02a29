"""Channels that a team signs with its own key. The targets role delegates them, and can take them back.

A delegated role may name only targets under `channels/<channel>/`: the channel's manifests, and its files and deltas as
`channels/<channel>/files/…` and `channels/<channel>/deltas/…`. A team's key therefore cannot sign anything of another
channel, not even a file that both use. Devices look there first, then among the targets that the targets role signed.
"""

import re
from collections.abc import Callable, Iterable
from datetime import datetime

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Delegations, TargetFile, Targets

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.release import check_channel

_ROLE = re.compile(r"channel-([a-z0-9][a-z0-9-]{0,39})")


def role_of(channel: str) -> str:
    """Return the name of the role that signs a delegated channel.

    Raises:
        ConfigError: the name is not valid for a channel.
    """
    return f"channel-{check_channel(channel)}"


def channel_of(role: str) -> str | None:
    """Return the channel that a role signs; None for a role of another kind."""
    match = _ROLE.fullmatch(role)
    return match.group(1) if match else None


def delegated_channels(targets: Targets) -> dict[str, DelegatedRole]:
    """Return the delegated channels with their roles."""
    roles = (targets.delegations.roles or {}) if targets.delegations else {}
    return {channel: role for name, role in roles.items() if (channel := channel_of(name)) is not None}


def delegate(base: Targets | None, channel: str, *, keys: Iterable[Key], threshold: int, expires: datetime) -> Targets:
    """Return targets that give a channel to the holders of `keys`; delegating it again replaces its keys.

    Raises:
        ConfigError: the threshold is not from 1 to the number of keys, or the channel has releases of the targets role.
    """
    given = {key.keyid: key for key in keys}
    if not 1 <= threshold <= len(given):
        raise ConfigError(f"expected a threshold from 1 to the number of keys, got {threshold} of {len(given)}")
    old = base.targets if base else {}
    if any(path.startswith(f"channels/{channel}/") for path in old):
        raise ConfigError(
            f"channel {channel} has releases already, and a team's would count from 1 again; give the team a new channel"
        )
    roles = {name: role for name, role in _roles(base).items() if name != role_of(channel)}
    patterns = [f"channels/{channel}/*", f"channels/{channel}/*/*"]
    roles[role_of(channel)] = DelegatedRole(role_of(channel), list(given), threshold, terminating=True, paths=patterns)
    return _with_roles(base, roles, given, expires)


def undelegate(base: Targets | None, channel: str, *, expires: datetime) -> Targets:
    """Return targets that take a channel back: the team's signatures are void, and devices keep their bundle.

    Raises:
        ConfigError: the channel is not delegated.
    """
    roles = _roles(base)
    if role_of(channel) not in roles:
        raise ConfigError(f"channel {channel} is not delegated; see: pocketrec keys status")
    return _with_roles(base, {name: role for name, role in roles.items() if name != role_of(channel)}, {}, expires)


def _roles(base: Targets | None) -> dict[str, DelegatedRole]:
    return dict(base.delegations.roles or {}) if base and base.delegations else {}


def _with_roles(
    base: Targets | None, roles: dict[str, DelegatedRole], more: dict[str, Key], expires: datetime
) -> Targets:
    known = {**(base.delegations.keys if base and base.delegations else {}), **more}
    used = {keyid for role in roles.values() for keyid in role.keyids}
    delegations = Delegations({keyid: key for keyid, key in known.items() if keyid in used}, roles) if roles else None
    return Targets(
        version=base.version + 1 if base else 1,
        expires=expires,
        targets=dict(base.targets) if base else {},
        delegations=delegations,
    )


def scoped(targets: Targets, channel: str) -> Targets:
    """Return `targets` with its files and deltas named under the channel, as a team signs them."""
    return _renamed(targets, lambda path: path if path.startswith("channels/") else f"channels/{channel}/{path}")


def plain(targets: Targets, channel: str) -> Targets:
    """Return the targets that `scoped` got: the inverse of `scoped`."""
    prefix = f"channels/{channel}/"

    def name(path: str) -> str:
        rest = path.removeprefix(prefix)
        return rest if rest != path and rest.startswith(("files/", "deltas/")) else path

    return _renamed(targets, name)


def _renamed(targets: Targets, name: Callable[[str], str]) -> Targets:
    renamed = {}
    for path, target in targets.targets.items():
        new = name(path)
        renamed[new] = TargetFile(target.length, target.hashes, new, target.unrecognized_fields)
    return Targets(version=targets.version, expires=targets.expires, targets=renamed, delegations=targets.delegations)
