"""The commands `pocketrec backup` and `pocketrec restore`."""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

import msgspec

from edge_runtime.settings import load_toml
from sync_server.config import ServerConfig, with_secrets
from sync_server.hosting.backup import BackupReport, back_up, restore


def add_backup_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pocketrec backup`."""
    _add_arguments(parser, "a new folder for the backup")


def add_restore_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pocketrec restore`."""
    _add_arguments(parser, "folder that pocketrec backup wrote")


def _add_arguments(parser: argparse.ArgumentParser, folder: str) -> None:
    parser.add_argument("folder", type=Path, metavar="BACKUP", help=folder)
    parser.add_argument("--home", type=Path, metavar="DIR", help="the server's home (server)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the server's settings; --home wins over them")
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def run_backup(args: argparse.Namespace) -> int:
    """Run `pocketrec backup`."""
    print(f"copying the database and {_config(args).home} ...", file=sys.stderr, flush=True)
    return _show(args, back_up(_config(args), args.folder), f"backup is in {args.folder}; keys are not in it")


def run_restore(args: argparse.Namespace) -> int:
    """Run `pocketrec restore`."""
    config = _config(args)
    print(f"checking {args.folder} ...", file=sys.stderr, flush=True)
    report = restore(config, args.folder)
    return _show(args, report, f"restored into {config.home}; start the server there with --keys once")


def _config(args: argparse.Namespace) -> ServerConfig:
    config = load_toml(args.config, ServerConfig) if args.config else ServerConfig()
    if args.home is not None:
        config = dataclasses.replace(config, home=args.home)
    return with_secrets(config, os.environ)


def _show(args: argparse.Namespace, report: BackupReport, text: str) -> int:
    line = f"{text} ({report.files} files, {report.bytes / 1e6:.1f} MB)"
    print(msgspec.json.encode(report).decode() if args.json else line, flush=True)
    return 0


COMMANDS = {"backup": (add_backup_arguments, run_backup), "restore": (add_restore_arguments, run_restore)}
