"""The command `pocketrec publish`."""

import argparse
import os
import sys

from edge_runtime.cli.commands import JSON, Command, argument, path, show
from pocketrec.cli.places import KEY, TARGET, local_settings, note, publication_target
from pocketrec.publishing.deltas import make_delta
from pocketrec.publishing.key_files import read_passphrase
from pocketrec.publishing.publisher import publish as publish_bundle
from sync_server.repository.releases import KEPT_RELEASES


def _publish(args: argparse.Namespace) -> int:
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
    argument("--keep", type=int, default=KEPT_RELEASES, metavar="N", help="releases that stay signed (%(default)s)"),
    argument("--no-deltas", action="store_true", help="publish whole files only, which is faster"),
    path("--propose", "FILE", "hand over files only; FILE waits for others' keys sign and keys finish"),
    JSON,
)
