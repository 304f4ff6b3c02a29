"""The commands `pocketrec backup` and `pocketrec restore`."""

import argparse
import sys

from edge_runtime.cli.commands import JSON, Command, path, show
from pocketrec.cli.places import HOME, SETTINGS, settings_of
from sync_server.hosting.backup import BackupReport, back_up
from sync_server.hosting.backup import restore as restore_backup
from sync_server.operators.audit_log import read_export


def _backup(args: argparse.Namespace) -> int:
    config = settings_of(args, started=False)
    print(f"copying the database and {config.home} ...", file=sys.stderr, flush=True)
    return _show(args, back_up(config, args.folder), f"backup is in {args.folder}; keys are not in it")


def _restore(args: argparse.Namespace) -> int:
    config = settings_of(args, started=False)
    print(f"checking {args.folder} ...", file=sys.stderr, flush=True)
    entries = list(read_export(args.erasures)) if args.erasures else []
    report = restore_backup(config, args.folder, erasures=entries)
    return _show(args, report, f"restored into {config.home}; start the server there with --keys once")


def _show(args: argparse.Namespace, report: BackupReport, text: str) -> int:
    return show(args, report, f"{text} ({report.files} files, {report.bytes / 1e6:.1f} MB)")


backup = Command(_backup, path("folder", "BACKUP", "a new folder for the backup"), HOME, SETTINGS, JSON)
restore = Command(
    _restore,
    path("folder", "BACKUP", "folder that pocketrec backup wrote"),
    path("--erasures", "FILE", "an export of the audit log; erases again what was erased since the backup"),
    HOME,
    SETTINGS,
    JSON,
)
