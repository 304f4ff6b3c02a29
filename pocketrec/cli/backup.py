"""The commands `pocketrec backup` and `pocketrec restore`."""

import argparse
import sys

from edge_runtime.cli.commands import JSON, Command, argument, path, show
from pocketrec.cli.places import HOME, SETTINGS, settings_of
from sync_server.hosting.backup import BackupReport, back_up
from sync_server.hosting.backup import restore as restore_backup
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


backup = Command(_backup, path("folder", "BACKUP", "a new folder for the backup"), HOME, SETTINGS, JSON)
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
