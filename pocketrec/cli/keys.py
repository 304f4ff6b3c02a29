"""The command `pocketrec keys`: makes, rotates, renews, delegates and checks the keys that sign updates."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from tuf.api.metadata import Metadata, Root

from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.errors import ConfigError
from pocketrec.publishing.cosigning import (
    Progress,
    check_proposal,
    describe,
    finished_root,
    read_proposal,
    sign_proposal,
    write_proposal,
)
from pocketrec.publishing.key_delivery import delegate_channel, push
from pocketrec.publishing.key_files import (
    OFFLINE_ROLES,
    REMEMBERED_TARGETS,
    KeyCounts,
    create_keys,
    create_team_key,
    load_public_key,
    read_passphrase,
)
from pocketrec.publishing.key_rotation import renew_root, retire, rotate
from pocketrec.publishing.key_status import key_status
from pocketrec.publishing.local_server import add_target, local_settings, note, publication_target
from sync_server.hosting.home import copy_online_keys
from sync_server.repository.delegations import role_of
from sync_server.repository.keys import ONLINE_ROLES, PASSPHRASE_VARIABLE

_WARN_DAYS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pocketrec keys`."""
    actions = parser.add_subparsers(dest="action", required=True)
    init = actions.add_parser("init", help="make the keys and the root.json that devices trust")
    init.add_argument("--dir", required=True, type=Path, metavar="KEYS", help="a new folder for the keys")
    for role in OFFLINE_ROLES:
        init.add_argument(f"--{role}-keys", type=int, default=1, metavar="N", help=f"how many {role} keys (1)")
        init.add_argument(
            f"--{role}-threshold", type=int, default=1, metavar="M", help="how many of them must sign (1)"
        )
    _add_expiry(init, 1825, "validity of root.json (1825: five years)")
    status = actions.add_parser("status", help="which keys are here, what expires when; exit 3 with --fail-within")
    _add_keys(status)
    add_target(status, required=False)
    status.add_argument(
        "--fail-within", type=int, metavar="DAYS", help="fail when something expires within so many days"
    )
    change = actions.add_parser("rotate", help="give a role new keys, in a new root.json; then push it")
    change.add_argument("role", choices=(*OFFLINE_ROLES, *ONLINE_ROLES))
    _add_keys(change)
    change.add_argument(
        "--only", action="append", default=[], metavar="ID", help="replace only the key whose id begins so"
    )
    _add_expiry(change, 1825, "validity of the new root.json (1825)")
    renew = actions.add_parser("renew", help="write a root.json that says the same for longer; then push it")
    _add_keys(renew)
    _add_expiry(renew, 1825, "validity of the new root.json (1825)")
    hand = actions.add_parser("push", help="hand new roots to the server; devices follow")
    _add_keys(hand)
    add_target(hand)
    _add_expiry(hand, 365, "validity of targets that are signed again (365)")
    _add_channel_actions(actions)
    _add_cosigning_actions(actions, (change, renew))
    for action_parser in actions.choices.values():
        action_parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def _add_channel_actions(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    team = actions.add_parser("team", help="make a key for a team that publishes to one channel only")
    team.add_argument("channel", metavar="CHANNEL")
    team.add_argument("--dir", required=True, type=Path, metavar="TEAM", help="the team's own folder of keys")
    team.add_argument("--root", required=True, type=Path, metavar="FILE", help="the fleet's root.json")
    give = actions.add_parser("delegate", help="let the holders of keys publish to one channel")
    give.add_argument("channel", metavar="CHANNEL")
    give.add_argument(
        "--public-key",
        action="append",
        required=True,
        type=Path,
        metavar="FILE",
        help="a team's public key; repeatable",
    )
    give.add_argument("--threshold", type=int, default=1, metavar="M", help="how many of them must sign (1)")
    take = actions.add_parser("undelegate", help="take a channel back from its team")
    take.add_argument("channel", metavar="CHANNEL")
    for action_parser in (give, take):
        _add_keys(action_parser)
        add_target(action_parser)
        _add_expiry(action_parser, 365, "validity of the targets (365)")


def _add_cosigning_actions(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", proposing: Sequence[argparse.ArgumentParser]
) -> None:
    for action_parser in proposing:
        action_parser.add_argument(
            "--propose",
            type=Path,
            metavar="FILE",
            help="write the root to FILE, which waits for keys sign and keys finish",
        )
    sign = actions.add_parser("sign", help="show what a proposal says, and sign it with a key that you hold; no server")
    sign.add_argument("file", type=Path, metavar="FILE", help="of publish --propose, keys rotate --propose or renew")
    _add_keys(sign)
    sign.add_argument("--yes", action="store_true", help="sign without asking")
    sign.add_argument("--show", action="store_true", help="only show it")
    finish = actions.add_parser("finish", help="publish a release, or take over a root, that enough keys have signed")
    finish.add_argument("file", type=Path, metavar="FILE")
    _add_keys(finish)
    add_target(finish, required=False)


def _add_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keys", required=True, type=Path, metavar="KEYS", help="folder of pocketrec keys init")
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a private key that lies elsewhere; repeatable",
    )


def _add_expiry(parser: argparse.ArgumentParser, days: int, text: str) -> None:
    parser.add_argument("--expires-days", type=int, default=days, help=text)


@dataclass(frozen=True)
class _Outcome:
    result: object
    text: str
    exit_code: int = 0


def run(args: argparse.Namespace) -> int:
    """Run `pocketrec keys`."""
    outcome = _ACTIONS[args.action](args, read_passphrase(os.environ))
    print(msgspec.json.encode(outcome.result).decode() if args.json else outcome.text, flush=True)
    return outcome.exit_code


def _init(args: argparse.Namespace, passphrase: bytes | None) -> _Outcome:
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
    return _Outcome(result, text)


def _status(args: argparse.Namespace, passphrase: bytes | None) -> _Outcome:
    target = publication_target(args) if args.server or args.store or args.config else None
    lines = key_status(args.keys, served=target, passphrase=passphrase, more=args.key)
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
    return _Outcome(lines, "\n".join(texts), 3 if failed else 0)


def _rotate(args: argparse.Namespace, passphrase: bytes | None) -> _Outcome:
    done = rotate(
        args.keys,
        args.role,
        expires_days=args.expires_days,
        passphrase=passphrase,
        now=datetime.now(UTC),
        only=args.only,
        more=args.key,
        propose=args.propose,
    )
    added = ", ".join(key_id[:8] for key_id in done.added)
    return _Outcome(done, f"root version {done.root_version} names {args.role} key {added}; {_next_step(args)}")


def _renew(args: argparse.Namespace, passphrase: bytes | None) -> _Outcome:
    root: Metadata[Root] = renew_root(
        args.keys,
        expires_days=args.expires_days,
        passphrase=passphrase,
        now=datetime.now(UTC),
        more=args.key,
        propose=args.propose,
    )
    result = {"root_version": root.signed.version, "root_expires": root.signed.expires.isoformat()}
    return _Outcome(
        result,
        f"root version {root.signed.version} is valid until {root.signed.expires:%Y-%m-%d}; {_next_step(args)}",
    )


def _next_step(args: argparse.Namespace) -> str:
    return (
        f"its signers run: pocketrec keys sign {args.propose}"
        if args.propose
        else "hand it over with: pocketrec keys push"
    )


def _sign(args: argparse.Namespace, passphrase: bytes | None) -> _Outcome:
    metadata = read_proposal(args.file)
    check_proposal(metadata, args.keys)
    shown = list(describe(metadata, args.keys))
    print("\n".join(shown), file=sys.stderr, flush=True)
    if not args.show:
        if not args.yes and not _agreed():
            raise ConfigError("nothing was signed")
        sign_proposal(metadata, args.keys, passphrase=passphrase, more=args.key)
        write_proposal(args.file, metadata)
    progress = check_proposal(metadata, args.keys)
    return _Outcome({"says": shown, "progress": progress}, _progress_text(args.file, progress))


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


def _finish(args: argparse.Namespace, passphrase: bytes | None) -> _Outcome:
    metadata = read_proposal(args.file)
    progress = check_proposal(metadata, args.keys)
    if progress.missing:
        raise ConfigError(f"{args.file} is {_progress_text(args.file, progress)}")
    if isinstance(metadata.signed, Root):
        for role, gone in finished_root(metadata, args.keys):
            retire(args.keys, gone, passphrase, online=role in ONLINE_ROLES)
        return _Outcome(
            progress, f"root version {progress.version} is the newest here; hand it over with: pocketrec keys push"
        )
    if not (args.server or args.store or args.config):
        raise ConfigError("targets are published: name the server by --server, --store or --config")
    target, data = publication_target(args), metadata.to_bytes()
    target.publish(data)
    write_bytes_atomically(args.keys / REMEMBERED_TARGETS, data)
    here = local_settings(args)
    if here is not None:
        note(here, "targets published", f"version {progress.version}", {})
    return _Outcome(progress, f"targets version {progress.version} are published")


def _push(args: argparse.Namespace, passphrase: bytes | None) -> _Outcome:
    target, here = publication_target(args), local_settings(args)
    if here is not None:
        copy_online_keys(args.keys, here.home)
    done = push(args.keys, target, passphrase=passphrase, expires_days=args.expires_days, more=args.key)
    anew = ", targets signed again" if done.targets_signed_anew else ""
    return _Outcome(done, f"the server has root version {done.root_version} ({done.new_roots} new{anew})")


def _team(args: argparse.Namespace, passphrase: bytes | None) -> _Outcome:
    public = create_team_key(args.dir, role_of(args.channel), root=args.root, passphrase=passphrase)
    text = (
        f"give {public} to the fleet's owner (pocketrec keys delegate {args.channel} --public-key); keep offline/ here"
    )
    return _Outcome({"channel": args.channel, "public_key": str(public)}, text)


def _delegate(args: argparse.Namespace, passphrase: bytes | None) -> _Outcome:
    giving = args.action == "delegate"
    version = delegate_channel(
        args.keys,
        publication_target(args),
        args.channel,
        public_keys=[load_public_key(path) for path in args.public_key] if giving else [],
        threshold=args.threshold if giving else 1,
        passphrase=passphrase,
        expires_days=args.expires_days,
        more=args.key,
    )
    text = f"channel {args.channel} is {'given to its team' if giving else 'taken back'} by targets version {version}"
    return _Outcome({"channel": args.channel, "delegated": giving, "targets_version": version}, text)


_ACTIONS: dict[str, Callable[[argparse.Namespace, bytes | None], _Outcome]] = {
    "init": _init,
    "status": _status,
    "rotate": _rotate,
    "renew": _renew,
    "push": _push,
    "team": _team,
    "delegate": _delegate,
    "undelegate": _delegate,
    "sign": _sign,
    "finish": _finish,
}
