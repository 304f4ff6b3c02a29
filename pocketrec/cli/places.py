"""Which server a command speaks of: the arguments that name it, its settings and database, and where to publish."""

import argparse
import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine

from edge_runtime.cli.commands import AddArguments, all_of, argument, one_of, path
from edge_runtime.contract.errors import ConfigError
from edge_runtime.settings import load_toml
from pocketrec.publishing.api_client import TOKEN_VARIABLE, ApiClient, read_token
from pocketrec.publishing.publisher import LocalTarget
from sync_server.config import ServerConfig, with_secrets
from sync_server.database.engine import migrate, open_database
from sync_server.hosting.home import open_repository, require_home
from sync_server.operators.accounts import COMMAND_LINE
from sync_server.operators.audit_log import AuditLog, Details

HOME = path("--home", "DIR", "the server's home (server)")
SETTINGS = path("--config", "FILE", "the server's settings as TOML")
KEYS = path("--keys", "KEYS", "folder of pocketrec keys init", required=True)
KEY = path("--key", "FILE", "a private key that lies elsewhere; repeatable", action="append", default=[])
PLAIN_HTTP = argument("--allow-plain-http", action="store_true", help="accept an unprotected connection")
TOKEN = path("--token-file", "FILE", f"file with an API key of role publisher ({TOKEN_VARIABLE})")


def _target(*, required: bool) -> AddArguments:
    place = one_of(
        argument("--server", metavar="URL", help="the server's address"),
        path("--store", "DIR", "the server's home, when it is on this machine"),
        path("--config", "FILE", "the server's settings as TOML, when it is on this machine and has any"),
        required=required,
    )
    return all_of(place, TOKEN, PLAIN_HTTP)


TARGET = _target(required=True)
OPTIONAL_TARGET = _target(required=False)


def settings_of(args: argparse.Namespace, *, home: Path | None = None, started: bool = True) -> ServerConfig:
    """Return the settings that `--config` names, or the defaults, with the home of `--home`, or `home`, over them.

    Raises:
        ConfigError: the settings are malformed, or the home is no server's although one was `started` on this machine.
    """
    found = load_toml(args.config, ServerConfig) if args.config else ServerConfig()
    home = home or getattr(args, "home", None)
    if home is not None:
        found = dataclasses.replace(found, home=home)
    found = with_secrets(found, os.environ)
    if started:
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
    config = settings_of(args, home=args.store)
    if isinstance(config.database, Path) and not config.database.exists():
        raise ConfigError(
            f"{config.home} has no database, so its server has settings that say where: name them with --config "
            "instead of --store"
        )
    return config


def publication_target(args: argparse.Namespace) -> ApiClient | LocalTarget:
    """Return where the options of `TARGET` publish to.

    Raises:
        ConfigError: no server's home, no API key, or plain http to another machine.
    """
    config = local_settings(args)
    if config is not None:
        return LocalTarget(repository=open_repository(config), max_file_bytes=config.max_file_bytes)
    return server_api(args)


def server_api(args: argparse.Namespace) -> ApiClient:
    """Return the server over the network that `--server`, `--token-file` and `--allow-plain-http` name.

    Raises:
        ConfigError: no API key, or plain http to another machine.
    """
    token_file = args.token_file or os.environ.get(TOKEN_VARIABLE)
    if not token_file:
        raise ConfigError(f"name the file with an API key by --token-file or in {TOKEN_VARIABLE}")
    return ApiClient(args.server, token=read_token(Path(token_file)), allow_plain_http=args.allow_plain_http)


def note(config: ServerConfig, action: str, subject: str, details: Details) -> None:
    """Add a line to the server's audit log."""
    with opened_database(config) as engine:
        AuditLog(engine, time.time).record(actor=COMMAND_LINE, action=action, subject=subject, details=details)
