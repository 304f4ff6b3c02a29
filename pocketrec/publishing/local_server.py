"""A server on this machine, opened by a command: its settings, its database, and publishing into its home."""

import argparse
import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine

from edge_runtime.contract.errors import ConfigError
from edge_runtime.settings import load_toml
from pocketrec.publishing.publish_client import TOKEN_VARIABLE, HttpTarget, read_token
from pocketrec.publishing.publisher import LocalTarget
from sync_server.config import ServerConfig, with_secrets
from sync_server.database.engine import migrate, open_database
from sync_server.hosting.home import open_repository, require_home
from sync_server.operators.accounts import COMMAND_LINE
from sync_server.operators.audit_log import AuditLog, Details


def add_home(parser: argparse.ArgumentParser) -> None:
    """Add `--home` and `--config`, which `settings_of` reads."""
    parser.add_argument("--home", type=Path, metavar="DIR", help="the server's home (server)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the server's settings as TOML")


def add_target(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add `--server`, `--store` and `--config`, of which one names where to publish, and what a connection needs."""
    place = parser.add_mutually_exclusive_group(required=required)
    place.add_argument("--server", metavar="URL", help="the server's address")
    place.add_argument("--store", type=Path, metavar="DIR", help="the server's home, when it is on this machine")
    place.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the server's settings as TOML, when it is on this machine and has any",
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help=f"file with an API key ({TOKEN_VARIABLE})")
    parser.add_argument("--allow-plain-http", action="store_true", help="accept an unprotected connection")


def settings_of(*, home: Path | None, config: Path | None) -> ServerConfig:
    """Return the settings of a server that was started on this machine.

    Args:
        home: wins over the home of the settings; None for theirs.
        config: TOML; None for the defaults.

    Raises:
        ConfigError: the settings are malformed, or the home is no server's.
    """
    found = load_toml(config, ServerConfig) if config else ServerConfig()
    if home is not None:
        found = dataclasses.replace(found, home=home)
    found = with_secrets(found, os.environ)
    require_home(found)
    return found


@contextlib.contextmanager
def opened_database(config: ServerConfig) -> Iterator[Engine]:
    """Give the server's database, brought up to date; its connections end afterwards.

    Raises:
        StorageError: it cannot be used.
    """
    engine = open_database(config.database)
    try:
        migrate(engine)
        yield engine
    finally:
        engine.dispose()


def local_settings(args: argparse.Namespace) -> ServerConfig | None:
    """Return the settings of the server that `--store` or `--config` names; None when it is another machine's.

    Raises:
        ConfigError: no server's home, or one whose database lies where only its settings say.
    """
    if not (args.store or args.config):
        return None
    config = settings_of(home=args.store, config=args.config)
    if isinstance(config.database, Path) and not config.database.exists():
        raise ConfigError(
            f"{config.home} has no database, so its server has settings that say where: name them with --config "
            "instead of --store"
        )
    return config


def publication_target(args: argparse.Namespace) -> HttpTarget | LocalTarget:
    """Return where the options of `add_target` publish to.

    Raises:
        ConfigError: no server's home, no API key, or plain http to another machine.
    """
    config = local_settings(args)
    if config is not None:
        return LocalTarget(repository=open_repository(config), max_file_bytes=config.max_file_bytes)
    token_file = args.token_file or os.environ.get(TOKEN_VARIABLE)
    if not token_file:
        raise ConfigError(f"name the file with an API key by --token-file or in {TOKEN_VARIABLE}")
    return HttpTarget(args.server, token=read_token(Path(token_file)), allow_plain_http=args.allow_plain_http)


def note(config: ServerConfig, action: str, subject: str, details: Details) -> None:
    """Add a line to the server's audit log."""
    with opened_database(config) as engine:
        AuditLog(engine, time.time).record(actor=COMMAND_LINE, action=action, subject=subject, details=details)
