"""The command `pocketrec serve`."""

import argparse
import dataclasses
import os
import sys
import time

from edge_runtime.cli.commands import JSON, Command, argument, one_of, path, show, show_line
from edge_runtime.settings import load_toml
from pocketrec.cli.places import note, opened_database
from sync_server.config import ServerConfig, with_secrets
from sync_server.devices.enrollment import Enrollment
from sync_server.events.json_lines import export_json_lines
from sync_server.hosting.home import prepare_home
from sync_server.hosting.logs import log_as_json
from sync_server.hosting.serving import serve as serve_forever


def _serve(args: argparse.Namespace) -> int:
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
        return show(args, {"code": code, "valid_days": config.enrollment_code_days}, code)
    if args.export_feedback:
        with opened_database(config) as engine:
            count = export_json_lines(engine, args.export_feedback)
        return show(args, {"events": count}, f"wrote {count} events to {args.export_feedback}")
    log_as_json()
    serve_forever(config, on_ready=lambda url: show_line(args, {"url": url}, f"serving {config.home} on {url}"))
    return 0


serve = Command(
    _serve,
    path("--home", "DIR", "folder with everything that the server keeps (server)"),
    path("--keys", "KEYS", "folder of pocketrec keys init, for the first start"),
    path("--config", "FILE", "settings as TOML; flags win over it"),
    argument("--host", help="address to listen on (127.0.0.1)"),
    argument("--port", type=int, help="port to listen on, 0 for any free one (8080)"),
    argument("--workers", type=int, help="processes (2)"),
    one_of(
        argument("--new-enrollment-code", action="store_true", help="print a one-time code, then stop"),
        path("--export-feedback", "FILE", "write events as JSON lines, then stop"),
    ),
    JSON,
)
