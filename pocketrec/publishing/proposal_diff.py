"""Lists in words what a new root or new targets change, for the key holder who is asked to sign them.

A change that is missing in the list would be signed unseen. So everything that a device acts on is compared as a whole.
Ids and digests are shown in full, because an attacker could choose one that starts like another.
"""

from collections.abc import Iterable, Iterator, Mapping

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Root, TargetFile, Targets

from sync_server.repository.delegations import channel_of
from sync_server.repository.releases import all_releases


def root_changes(old: Root, new: Root) -> Iterator[str]:
    """Yield a line for each change of a key, of a threshold and of how metadata is served."""
    changes = [*_changed_keys(old.keys, new.keys), *_changed_roles(old, new)]
    if old.consistent_snapshot != new.consistent_snapshot:
        changes.append(f"CHANGES consistent snapshots to {new.consistent_snapshot}")
    yield from changes or ["no key changes: it says the same for longer"]


def targets_changes(old: Targets | None, new: Targets) -> Iterator[str]:
    """Yield a line for each release, file and delegation that comes, goes or changes; `old` is None for the first.

    Raises:
        UpdateError: a release note is malformed.
    """
    yield from _changed_releases(old, new)
    yield from _changed_files(old.targets if old else {}, new.targets)
    yield from _changed_delegations(old, new)


def _changed_roles(old: Root, new: Root) -> Iterator[str]:
    for role, now in new.roles.items():
        was = old.roles[role]
        yield from (f"removes {role} key {keyid}" for keyid in _without(was.keyids, now.keyids))
        yield from (f"adds {role} key {keyid}" for keyid in _without(now.keyids, was.keyids))
        if now.threshold != was.threshold:
            yield f"{role}: {now.threshold} of {len(now.keyids)} keys must sign, until now {was.threshold}"


def _changed_keys(old: Mapping[str, Key], new: Mapping[str, Key]) -> Iterator[str]:
    """An id is a name that metadata chooses: the key behind it may be exchanged."""
    for keyid in old.keys() & new.keys():
        if old[keyid] != new[keyid]:
            yield f"CHANGES what key {keyid} is, under the same id"


def _changed_releases(old: Targets | None, new: Targets) -> Iterator[str]:
    before, after = all_releases(old) if old else {}, all_releases(new)
    for channel in sorted({*before, *after}):
        was, now = before.get(channel, {}), after.get(channel, {})
        for number in sorted(now.keys() - was.keys()):
            staged = ", only where a rollout gives it" if now[number].staged else ""
            yield f"channel {channel}: adds release {number}, bundle {now[number].bundle_id}{staged}"
        for number in sorted(was.keys() - now.keys()):
            yield f"channel {channel}: removes release {number}, bundle {was[number].bundle_id}"
        for number in sorted(number for number in was.keys() & now.keys() if was[number] != now[number]):
            yield f"channel {channel}: CHANGES release {number}, bundle {now[number].bundle_id}"


def _changed_files(old: Mapping[str, TargetFile], new: Mapping[str, TargetFile]) -> Iterator[str]:
    for path in sorted(new):
        if path not in old:
            yield f"adds file {_file(path, new[path])}"
        elif old[path] != new[path]:
            yield f"CHANGES file {_file(path, new[path])}"
    yield from (f"removes file {path}" for path in sorted(old.keys() - new.keys()))


def _file(path: str, target: TargetFile) -> str:
    digests = ", ".join(f"{name} {value}" for name, value in sorted(target.hashes.items()))
    return f"{path}: {target.length:,} bytes, {digests}"


def _changed_delegations(old: Targets | None, new: Targets) -> Iterator[str]:
    was, now = _roles(old), _roles(new)
    for name in sorted({*was, *now}):
        place = f"channel {channel}" if (channel := channel_of(name)) else f"role {name}"
        role = now.get(name)
        if role is None:
            yield f"{place}: is taken back"
        elif role != was.get(name):
            keys, paths = ", ".join(role.keyids), ", ".join(role.paths or role.path_hash_prefixes or ())
            yield f"{place}: is given to {role.threshold} of the keys {keys}, for {paths}"
    bins = [one.delegations.succinct_roles if one and one.delegations else None for one in (old, new)]
    if bins[0] != bins[1]:
        yield "CHANGES delegations to hashed bins, which no command of Pocketrec makes"
    yield from _changed_keys(*(one.delegations.keys if one and one.delegations else {} for one in (old, new)))


def _roles(targets: Targets | None) -> Mapping[str, DelegatedRole]:
    return (targets.delegations.roles or {}) if targets and targets.delegations else {}


def _without(ids: Iterable[str], others: Iterable[str]) -> list[str]:
    kept = set(others)
    return [one for one in ids if one not in kept]
