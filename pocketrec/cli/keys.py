"""The command `pocketrec keys`: makes, rotates, renews, delegates and checks the keys that sign updates."""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.metadata import Metadata, Root

from edge_runtime.cli.commands import JSON, Actions, AddArguments, Command, argument, path, show
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.text import visible_lines
from pocketrec.cli.places import (
    HOME,
    KEY,
    KEYS,
    OPTIONAL_TARGET,
    SETTINGS,
    TARGET,
    local_settings,
    note,
    publication_target,
    settings_of,
)
from pocketrec.publishing.cosigning import (
    Progress,
    check_proposal,
    describe,
    finished_root,
    read_proposal,
    sign_proposal,
    write_proposal,
)
from pocketrec.publishing.key_files import (
    OFFLINE_ROLES,
    REMEMBERED_TARGETS,
    KeyCounts,
    create_keys,
    create_team_key,
    load_public_key,
    read_passphrase,
)
from pocketrec.publishing.key_push import delegate_channel, push
from pocketrec.publishing.key_rotation import renew_root, retire, rotate
from pocketrec.publishing.key_status import key_status
from sync_server.hosting.home import copy_online_keys, open_repository
from sync_server.repository.delegations import role_of
from sync_server.repository.keys import ONLINE_ROLES, PASSPHRASE_VARIABLE

_WARN_DAYS = 30


_CHANNEL = argument("channel", metavar="CHANNEL", help="name of the channel")
_PROPOSE = path("--propose", "FILE", "write the root to FILE, which waits for keys sign and keys finish")


def _expiry(days: int, what: str) -> AddArguments:
    return argument("--expires-days", type=int, default=days, help=f"validity of {what} ({days})")


def _counts(role: str) -> tuple[AddArguments, AddArguments]:
    return (
        argument(f"--{role}-keys", type=int, default=1, metavar="N", help=f"how many {role} keys (1)"),
        argument(f"--{role}-threshold", type=int, default=1, metavar="M", help="how many of them must sign (1)"),
    )


def _passphrase() -> bytes | None:
    return read_passphrase(os.environ)


def _names_server(args: argparse.Namespace) -> bool:
    return bool(args.server or args.store or args.config)


def _init(args: argparse.Namespace) -> int:
    passphrase = _passphrase()
    root = create_keys(
        args.dir,
        expires_days=args.expires_days,
        passphrase=passphrase,
        now=datetime.now(UTC),
        root_keys=KeyCounts(args.root_keys, args.root_threshold),
        targets_keys=KeyCounts(args.targets_keys, args.targets_threshold),
    )
    if passphrase is None:
        print(
            f"warning: the offline keys are not encrypted; name a passphrase file in {PASSPHRASE_VARIABLE} to encrypt them",
            file=sys.stderr,
        )
    result = {"keys": str(args.dir), "root_expires": root.signed.expires.isoformat(), "encrypted": bool(passphrase)}
    text = (
        f"keys are in {args.dir}: keep offline/ with the builder, give online/ and root.json to the server "
        f"(pocketrec serve --keys), root.json to every device; root.json is valid until {root.signed.expires:%Y-%m-%d}"
    )
    return show(args, result, text)


def _status(args: argparse.Namespace) -> int:
    target = publication_target(args) if _names_server(args) else None
    lines = key_status(args.keys, served=target, passphrase=_passphrase(), more=args.key)
    now, texts, failed = datetime.now(UTC), [], False
    for line in lines:
        expires = f", good until {line.expires_at:%Y-%m-%d %H:%M}" if line.expires_at else ""
        version = f" version {line.version}" if line.version else ""
        texts.append(
            f"{line.role}{version}: {line.threshold} of {len(line.key_ids)} keys sign, {line.keys_here} here "
            f"({', '.join(key_id[:8] for key_id in line.key_ids)}){expires}"
        )
        left = (line.expires_at - now).days if line.expires_at else None
        is_online = line.role in ONLINE_ROLES
        if left is not None and left < (0 if is_online else _WARN_DAYS):
            print(f"warning: {line.role} {'has expired' if left < 0 else f'expires in {left} days'}", file=sys.stderr)
        failed |= args.fail_within is not None and left is not None and not is_online and left < args.fail_within
    show(args, lines, "\n".join(texts))
    return 3 if failed else 0


def _rotate(args: argparse.Namespace) -> int:
    done = rotate(
        args.keys,
        args.role,
        expires_days=args.expires_days,
        passphrase=_passphrase(),
        now=datetime.now(UTC),
        only=args.only,
        more=args.key,
        propose=args.propose,
    )
    added = ", ".join(key_id[:8] for key_id in done.added)
    return show(args, done, f"root version {done.root_version} names {args.role} key {added}; {_next_step(args)}")


def _renew(args: argparse.Namespace) -> int:
    root: Metadata[Root] = renew_root(
        args.keys,
        expires_days=args.expires_days,
        passphrase=_passphrase(),
        now=datetime.now(UTC),
        more=args.key,
        propose=args.propose,
    )
    result = {"root_version": root.signed.version, "root_expires": root.signed.expires.isoformat()}
    return show(
        args,
        result,
        f"root version {root.signed.version} is valid until {root.signed.expires:%Y-%m-%d}; {_next_step(args)}",
    )


def _next_step(args: argparse.Namespace) -> str:
    return (
        f"its signers run: pocketrec keys sign {args.propose}"
        if args.propose
        else "hand it over with: pocketrec keys push"
    )


def _sign(args: argparse.Namespace) -> int:
    metadata = read_proposal(args.file)
    check_proposal(metadata, args.keys)
    shown = list(describe(metadata, args.keys))
    print(visible_lines("\n".join(shown)), file=sys.stderr, flush=True)
    if not args.show:
        if not args.yes and not _agreed():
            raise ConfigError("nothing was signed")
        sign_proposal(metadata, args.keys, passphrase=_passphrase(), more=args.key)
        write_proposal(args.file, metadata)
    progress = check_proposal(metadata, args.keys)
    return show(args, {"says": shown, "progress": progress}, _progress_text(args.file, progress))


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise ConfigError("nobody is here to ask; read what --show prints, then sign with --yes")
    print("sign this? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _progress_text(file: Path, progress: Progress) -> str:
    signed = ", ".join(key_id[:8] for key_id in progress.signed) or "nobody"
    if not progress.missing:
        return f"signed by {signed}: enough; pocketrec keys finish {file} hands it over"
    others = ", ".join(key_id[:8] for key_id in progress.unsigned)
    return f"signed by {signed}; {progress.missing} more needed, of {others}"


def _finish(args: argparse.Namespace) -> int:
    metadata = read_proposal(args.file)
    progress = check_proposal(metadata, args.keys)
    if progress.missing:
        raise ConfigError(f"{args.file} is {_progress_text(args.file, progress)}")
    if isinstance(metadata.signed, Root):
        for role, gone in finished_root(metadata, args.keys):
            retire(args.keys, gone, _passphrase(), online=role in ONLINE_ROLES)
        return show(
            args,
            progress,
            f"root version {progress.version} is the newest here; hand it over with: pocketrec keys push",
        )
    if not _names_server(args):
        raise ConfigError("targets are published: name the server by --server, --store or --config")
    target, data = publication_target(args), metadata.to_bytes()
    target.publish(data)
    write_bytes_atomically(args.keys / REMEMBERED_TARGETS, data)
    here = local_settings(args)
    if here is not None:
        note(here, "targets published", f"version {progress.version}", {})
    return show(args, progress, f"targets version {progress.version} are published")


def _push(args: argparse.Namespace) -> int:
    target, here = publication_target(args), local_settings(args)
    if here is not None:
        copy_online_keys(args.keys, here.home)
    done = push(args.keys, target, passphrase=_passphrase(), expires_days=args.expires_days, more=args.key)
    anew = ", targets signed again" if done.targets_signed_anew else ""
    return show(args, done, f"the server has root version {done.root_version} ({done.new_roots} new{anew})")


def _raise(args: argparse.Namespace) -> int:
    config = settings_of(args)
    raised = open_repository(config).raise_versions(args.version)
    text = (
        f"timestamp and snapshot have version {args.version}"
        if raised
        else "the timestamp's version is as high already"
    )
    return show(args, {"raised": raised, "version": args.version}, text)


def _team(args: argparse.Namespace) -> int:
    public = create_team_key(args.dir, role_of(args.channel), root=args.root, passphrase=_passphrase())
    text = (
        f"give {public} to the fleet's owner (pocketrec keys delegate {args.channel} --public-key); keep offline/ here"
    )
    return show(args, {"channel": args.channel, "public_key": str(public)}, text)


def _delegate(args: argparse.Namespace) -> int:
    giving = args.action == "delegate"
    version = delegate_channel(
        args.keys,
        publication_target(args),
        args.channel,
        public_keys=[load_public_key(path) for path in args.public_key] if giving else [],
        threshold=args.threshold if giving else 1,
        passphrase=_passphrase(),
        expires_days=args.expires_days,
        more=args.key,
    )
    text = f"channel {args.channel} is {'given to its team' if giving else 'taken back'} by targets version {version}"
    return show(args, {"channel": args.channel, "delegated": giving, "targets_version": version}, text)


keys = Actions(
    {
        "init": Command(
            _init,
            path("--dir", "KEYS", "a new folder for the keys", required=True),
            *(add for role in OFFLINE_ROLES for add in _counts(role)),
            _expiry(1825, "root.json, five years"),
            about="make the keys and the root.json that devices trust",
        ),
        "status": Command(
            _status,
            KEYS,
            KEY,
            OPTIONAL_TARGET,
            argument("--fail-within", type=int, metavar="DAYS", help="fail when something expires within so many days"),
            about="which keys are here, what expires when; exit 3 with --fail-within",
        ),
        "rotate": Command(
            _rotate,
            argument("role", choices=(*OFFLINE_ROLES, *ONLINE_ROLES), help="whose keys are replaced"),
            KEYS,
            KEY,
            argument("--only", action="append", default=[], metavar="ID", help="only the key whose id begins so"),
            _expiry(1825, "the new root.json"),
            _PROPOSE,
            about="give a role new keys, in a new root.json; then push it",
        ),
        "renew": Command(
            _renew,
            KEYS,
            KEY,
            _expiry(1825, "the new root.json"),
            _PROPOSE,
            about="write a root.json that says the same for longer; then push it",
        ),
        "push": Command(
            _push,
            KEYS,
            KEY,
            TARGET,
            _expiry(365, "targets that are signed again"),
            about="hand new roots to the server; devices follow",
        ),
        "raise": Command(
            _raise,
            argument("version", type=int, metavar="N", help="above the version that devices have seen"),
            HOME,
            SETTINGS,
            about="sign timestamp and snapshot with a higher version, so that devices follow a server that was set back",
        ),
        "team": Command(
            _team,
            _CHANNEL,
            path("--dir", "TEAM", "the team's own folder of keys", required=True),
            path("--root", "FILE", "the fleet's root.json", required=True),
            about="make a key for a team that publishes to one channel only",
        ),
        "delegate": Command(
            _delegate,
            _CHANNEL,
            path("--public-key", "FILE", "a team's public key; repeatable", action="append", required=True),
            argument("--threshold", type=int, default=1, metavar="M", help="how many of them must sign (1)"),
            KEYS,
            KEY,
            TARGET,
            _expiry(365, "the targets"),
            about="let the holders of keys publish to one channel",
        ),
        "undelegate": Command(
            _delegate,
            _CHANNEL,
            KEYS,
            KEY,
            TARGET,
            _expiry(365, "the targets"),
            about="take a channel back from its team",
        ),
        "sign": Command(
            _sign,
            path("file", "FILE", "of publish --propose, keys rotate --propose or renew"),
            KEYS,
            KEY,
            argument("--yes", action="store_true", help="sign without asking"),
            argument("--show", action="store_true", help="only show it"),
            about="show what a proposal says, and sign it with a key that you hold; no server",
        ),
        "finish": Command(
            _finish,
            path("file", "FILE", "a proposal that enough have signed"),
            KEYS,
            KEY,
            OPTIONAL_TARGET,
            about="publish a release, or take over a root, that enough keys have signed",
        ),
    },
    JSON,
)
