"""The commands `pocketrec backup`, `pocketrec restore` and `pocketrec gc`."""

import argparse
import sys
import time

from edge_runtime.cli.commands import JSON, Command, argument, path, show
from pocketrec.cli.places import HOME, SETTINGS, opened_database, settings_of
from sync_server.hosting.backup import BackupReport, back_up
from sync_server.hosting.backup import restore as restore_backup
from sync_server.hosting.garbage import OLDER_THAN_DAYS, collect_garbage
from sync_server.operators.audit_log import read_export


def _backup(args: argparse.Namespace) -> int:
    config = settings_of(args, started=False)
    print(f"copying the database and {config.home} ...", file=sys.stderr, flush=True)
    report = back_up(config, args.folder)
    return show(args, report, f"backup is in {args.folder}; keys are not in it{_size(report)}")


def _restore(args: argparse.Namespace) -> int:
    config = settings_of(args, started=False)
    print(f"checking {args.folder} ...", file=sys.stderr, flush=True)
    entries = list(read_export(args.erasures)) if args.erasures else []
    restored = restore_backup(config, args.folder, erasures=entries, least_version=args.timestamp_version)
    text = f"restored into {config.home}{_size(restored)}; start the server there with --keys once"
    if restored.timestamp_version is not None:
        text += (
            f"\nthe backup is of {restored.made_at}: that start raises the timestamp's version to "
            f"{restored.timestamp_version}, so that devices follow; if a release was published since, publish it again"
        )
    return show(args, restored, text)


def _size(report: BackupReport) -> str:
    return f" ({report.files} files, {report.bytes / 1e6:.1f} MB)"


def _collect(args: argparse.Namespace) -> int:
    config = settings_of(args)
    # The rows that are counted are in tables of this version.
    with opened_database(config):
        done = collect_garbage(config, now_s=time.time(), older_than_days=args.older_than_days, is_dry_run=args.dry_run)
    text = (
        f"{'would remove' if args.dry_run else 'removed'} {done.files} files ({done.file_bytes / 1e6:.1f} MB), "
        f"{done.metadata} old metadata files ({done.metadata_bytes / 1e6:.1f} MB), {done.codes} enrollment codes, "
        f"{done.keys} enrollment keys, {done.guardrail_points} points of finished rollouts"
    )
    return show(args, done, text)


backup = Command(_backup, path("folder", "BACKUP", "a new folder for the backup"), HOME, SETTINGS, JSON)
gc = Command(
    _collect,
    argument("--dry-run", action="store_true", help="only say what would be removed"),
    argument(
        "--older-than-days",
        type=int,
        default=OLDER_THAN_DAYS,
        metavar="DAYS",
        help=f"keep what was current or uploaded within so many days ({OLDER_THAN_DAYS})",
    ),
    HOME,
    SETTINGS,
    JSON,
)
restore = Command(
    _restore,
    path("folder", "BACKUP", "folder that pocketrec backup wrote"),
    path("--erasures", "FILE", "an export of the audit log; erases again what was erased since the backup"),
    argument(
        "--timestamp-version",
        type=int,
        metavar="N",
        help="version of the timestamp from then on (above all that devices can have)",
    ),
    HOME,
    SETTINGS,
    JSON,
)
