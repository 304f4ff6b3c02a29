"""The command `pocketrec publish`."""

import argparse
import os
import sys
import time
from typing import Any

import msgspec

from edge_runtime.cli.commands import JSON, Command, argument, path, show
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.text import visible_lines
from pocketrec.cli.places import (
    KEY,
    TARGET,
    local_settings,
    note,
    opened_database,
    publication_target,
    server_api,
)
from pocketrec.publishing.deltas import make_delta
from pocketrec.publishing.key_files import read_passphrase
from pocketrec.publishing.publisher import publish as publish_bundle
from sync_server.hosting.home import open_repository
from sync_server.repository.releases import KEPT_RELEASES
from sync_server.rollouts.service import Rollouts


def _rollouts(args: argparse.Namespace) -> list[dict[str, Any]]:
    config = local_settings(args)
    if config is None:
        found: list[dict[str, Any]] = server_api(args).ask("GET", "rollouts")["rollouts"]
        return found
    with opened_database(config) as engine:
        rollouts = Rollouts(engine, time.time, open_repository(config)).all()
    return [msgspec.to_builtins(rollout) for rollout in rollouts]


def _check_no_rollout(args: argparse.Namespace) -> None:
    """Refuse to publish to all devices while a rollout tries a release on some, unless a person agrees.

    Raises:
        ConfigError: a rollout is under way in this channel.
    """
    if args.staged or args.despite_rollout:
        return
    ours = [one for one in _rollouts(args) if one["channel"] == args.channel]
    running = next((one for one in ours if one["state"] in ("running", "paused")), None)
    if running is None:
        return
    reason = visible_lines(
        f"rollout {running['id']} of release {running['release']} of channel {args.channel} is {running['state']}: a release "
        "that is not staged goes to all devices at once, untried, and ends it"
    )
    if not (sys.stdin.isatty() and _agreed(reason)):
        raise ConfigError(f"{reason}; publish it with --staged, or with --despite-rollout; nothing was published")


def _agreed(reason: str) -> bool:
    print(f"{reason}. Publish? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _publish(args: argparse.Namespace) -> int:
    _check_no_rollout(args)
    publication = publish_bundle(
        args.bundle,
        channel=args.channel,
        keys=args.keys,
        target=publication_target(args),
        passphrase=read_passphrase(os.environ),
        more_keys=args.key,
        expires_days=args.expires_days,
        staged=args.staged,
        keep=args.keep,
        make=None if args.no_deltas else make_delta,
        on_file=lambda name, length: print(f"uploading {name} ({length / 1e6:.1f} MB)", file=sys.stderr, flush=True),
        propose=args.propose,
    )
    if args.propose is not None:
        text = (
            f"{args.propose} proposes bundle {publication.bundle_id[:12]} as release {publication.release} of channel "
            f"{publication.channel}; the holders of keys run: pocketrec keys sign {args.propose}"
        )
        return show(args, publication, text)
    here = local_settings(args)
    if here is not None:
        note(
            here,
            "targets published",
            f"version {publication.targets_version}",
            {publication.channel: f"release {publication.release}, bundle {publication.bundle_id[:12]}"},
        )
    text = (
        f"published bundle {publication.bundle_id[:12]} as release {publication.release} of channel "
        f"{publication.channel}{' (staged)' if publication.staged else ''}: {publication.files_uploaded} files, "
        f"{publication.bytes_uploaded} bytes uploaded, {len(publication.deltas)} of them deltas"
    )
    return show(args, publication, text)


publish = Command(
    _publish,
    path("bundle", "BUNDLE", "folder of the bundle"),
    argument("--channel", default="stable", help="which devices get it (stable)"),
    path("--keys", "KEYS", "folder of pocketrec keys init, or of keys team", required=True),
    KEY,
    TARGET,
    argument("--expires-days", type=int, default=365, help="devices refuse the release after (365)"),
    argument("--staged", action="store_true", help="only devices that a rollout or an experiment chooses install it"),
    argument("--despite-rollout", action="store_true", help="publish to all devices although a rollout is under way"),
    argument("--keep", type=int, default=KEPT_RELEASES, metavar="N", help="releases that stay signed (%(default)s)"),
    argument("--no-deltas", action="store_true", help="publish whole files only, which is faster"),
    path("--propose", "FILE", "hand over files only; FILE waits for others' keys sign and keys finish"),
    JSON,
)
