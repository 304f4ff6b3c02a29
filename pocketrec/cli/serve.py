"""The commands `pocketrec publish` and `pocketrec serve`."""

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path

import msgspec

from edge_runtime.settings import load_toml
from pocketrec.publishing.delta_making import make_delta
from pocketrec.publishing.key_files import read_passphrase
from pocketrec.publishing.local_server import add_target, local_settings, note, opened_database, publication_target
from pocketrec.publishing.publisher import publish
from sync_server.config import ServerConfig, with_secrets
from sync_server.devices.enrollment import Enrollment
from sync_server.events.json_lines import export_json_lines
from sync_server.hosting.home import prepare_home
from sync_server.hosting.logs import log_as_json
from sync_server.hosting.serving import serve
from sync_server.repository.releases import KEPT_RELEASES


def add_publish_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pocketrec publish`."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--channel", default="stable", help="which devices get it (stable)")
    parser.add_argument(
        "--keys", required=True, type=Path, metavar="KEYS", help="folder of pocketrec keys init, or of keys team"
    )
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a private key that lies elsewhere; repeatable",
    )
    add_target(parser)
    parser.add_argument("--expires-days", type=int, default=365, help="devices refuse the release after (365)")
    parser.add_argument(
        "--staged", action="store_true", help="only devices that a rollout or an experiment chooses install it"
    )
    parser.add_argument(
        "--keep", type=int, default=KEPT_RELEASES, metavar="N", help=f"releases that stay signed ({KEPT_RELEASES})"
    )
    parser.add_argument("--no-deltas", action="store_true", help="publish whole files only, which is faster")
    parser.add_argument(
        "--propose",
        type=Path,
        metavar="FILE",
        help="hand over files only; FILE waits for others' keys sign and keys finish",
    )
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def run_publish(args: argparse.Namespace) -> int:
    """Run `pocketrec publish`."""
    publication = publish(
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
        _show(args, publication, text)
        return 0
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
    _show(args, publication, text)
    return 0


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pocketrec serve`."""
    parser.add_argument(
        "--home", type=Path, metavar="DIR", help="folder with everything that the server keeps (server)"
    )
    parser.add_argument("--keys", type=Path, metavar="KEYS", help="folder of pocketrec keys init, for the first start")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML; flags win over it")
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on, 0 for any free one (8080)")
    parser.add_argument("--workers", type=int, help="processes (2)")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--new-enrollment-code", action="store_true", help="print a one-time code, then stop")
    instead.add_argument("--export-feedback", type=Path, metavar="FILE", help="write events as JSON lines, then stop")
    parser.add_argument("--json", action="store_true", help="print results as lines of JSON")


def run_serve(args: argparse.Namespace) -> int:
    """Run `pocketrec serve`."""
    config = load_toml(args.config, ServerConfig) if args.config else ServerConfig()
    flags = {name: getattr(args, name) for name in ("home", "host", "port", "workers")}
    config = dataclasses.replace(config, **{name: value for name, value in flags.items() if value is not None})
    config = with_secrets(config, os.environ)
    home = prepare_home(config, keys=args.keys)
    if home.token_is_new:
        print(f"the publisher's token is in {home.token_path}", file=sys.stderr, flush=True)
    if home.keys_note:
        print(f"warning: {home.keys_note}", file=sys.stderr, flush=True)
    if args.new_enrollment_code:
        with opened_database(config) as engine:
            code = Enrollment(engine, time.time).new_code(valid_days=config.enrollment_code_days)
        note(config, "enrollment code made", "", {"valid_days": config.enrollment_code_days})
        _show(args, {"code": code, "valid_days": config.enrollment_code_days}, code)
        return 0
    if args.export_feedback:
        with opened_database(config) as engine:
            count = export_json_lines(engine, args.export_feedback)
        _show(args, {"events": count}, f"wrote {count} events to {args.export_feedback}")
        return 0
    log_as_json()
    serve(config, on_ready=lambda url: _show(args, {"url": url}, f"serving {config.home} on {url}"))
    return 0


def _show(args: argparse.Namespace, result: object, text: str) -> None:
    print(msgspec.json.encode(result).decode() if args.json else text, flush=True)


COMMANDS = {
    "publish": (add_publish_arguments, run_publish),
    "serve": (add_serve_arguments, run_serve),
}
