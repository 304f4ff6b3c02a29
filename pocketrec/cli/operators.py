"""The commands `pocketrec operators`, `pocketrec devices` and `pocketrec audit`, on the server's own machine."""

import argparse
import contextlib
import getpass
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from sqlalchemy import Engine

from edge_runtime.contract.errors import ConfigError
from pocketrec.cli.feedback import add_device_actions, run_device_action
from pocketrec.publishing.local_server import add_home, opened_database, settings_of
from sync_server.devices.registry import DeviceRegistry
from sync_server.operators.accounts import COMMAND_LINE, MIN_PASSWORD_CHARS, ROLES, Operators
from sync_server.operators.api_keys import ApiKeys
from sync_server.operators.audit_log import AuditEntry, AuditLog, Head, check_chain, read_export


def _add_home(parser: argparse.ArgumentParser) -> None:
    add_home(parser)
    parser.add_argument("--json", action="store_true", help="print results as JSON")


def _add_password(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="first line is the password; asked for when left out"
    )


def add_operators_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pocketrec operators`."""
    actions = parser.add_subparsers(dest="action", required=True)
    add = actions.add_parser("add", help="make an account")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--role", required=True, choices=ROLES)
    _add_password(add)
    actions.add_parser("list", help="all accounts")
    for action, text in (
        ("disable", "end an account's sessions and keys, and let it log in no more"),
        ("enable", "let a disabled account log in again"),
        ("reset", "give an account another password, end its sessions, lift a lock"),
    ):
        actions.add_parser(action, help=text).add_argument("name", metavar="NAME")
    _add_password(actions.choices["reset"])
    role = actions.add_parser("role", help="give an account another role")
    role.add_argument("name", metavar="NAME")
    role.add_argument("role", choices=ROLES)
    key = actions.add_parser("key", help="make an API key for an account; it is shown once")
    key.add_argument("name", metavar="NAME")
    key.add_argument("--role", required=True, choices=ROLES)
    key.add_argument("--label", required=True, help="what the key is for")
    key.add_argument("--valid-days", type=int, help="when it expires (never)")
    actions.add_parser("keys", help="all API keys, without their secrets")
    actions.add_parser("revoke-key", help="make an API key void").add_argument("key_id", metavar="KEY_ID")
    for action_parser in actions.choices.values():
        _add_home(action_parser)


def run_operators(args: argparse.Namespace) -> int:
    """Run `pocketrec operators`."""
    with _database(args) as engine:
        operators, keys = Operators(engine, time.time), ApiKeys(engine, time.time)
        match args.action:
            case "add":
                operators.add(args.name, role=args.role, password=_password(args), actor=COMMAND_LINE)
                _show(args, {"name": args.name, "role": args.role}, f"{args.name} may log in as {args.role}")
            case "list":
                accounts = operators.everyone()
                _show_rows(args, accounts, ("name", "role", "disabled", "locked"))
            case "disable":
                operators.disable(args.name, actor=COMMAND_LINE)
                _show(args, {"name": args.name, "disabled": True}, f"{args.name} is disabled")
            case "enable":
                operators.enable(args.name, actor=COMMAND_LINE)
                _show(args, {"name": args.name, "disabled": False}, f"{args.name} may log in again")
            case "reset":
                operators.set_password(args.name, password=_password(args), actor=COMMAND_LINE)
                _show(args, {"name": args.name, "reset": True}, f"{args.name} has a new password; sessions are ended")
            case "role":
                operators.set_role(args.name, role=args.role, actor=COMMAND_LINE)
                _show(args, {"name": args.name, "role": args.role}, f"{args.name} is {args.role} now")
            case "key":
                new = keys.create(
                    args.name, role=args.role, label=args.label, valid_days=args.valid_days, actor=COMMAND_LINE
                )
                _show(args, new, new.secret)
            case "keys":
                _show_rows(args, keys.every_key(), ("key_id", "operator", "role", "label", "active"))
            case "revoke-key":
                keys.revoke(args.key_id, actor=COMMAND_LINE)
                _show(args, {"key_id": args.key_id, "revoked": True}, f"key {args.key_id} is void")
    return 0


def add_devices_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pocketrec devices`."""
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="devices by name")
    listing.add_argument("--search", default="", help="only those whose name contains this")
    listing.add_argument("--after", default="", metavar="NAME", help="continue after this name")
    revoke = actions.add_parser("revoke", help="make a device's credential void for good")
    revoke.add_argument("device_id", metavar="DEVICE")
    add_device_actions(actions)
    for action_parser in actions.choices.values():
        _add_home(action_parser)


def run_devices(args: argparse.Namespace) -> int:
    """Run `pocketrec devices`."""
    with _database(args) as engine:
        registry = DeviceRegistry(engine, time.time)
        if args.action == "revoke":
            registry.revoke(args.device_id, actor=COMMAND_LINE)
            _show(args, {"device_id": args.device_id, "revoked": True}, f"{args.device_id} is revoked")
            return 0
        if args.action in {"export", "erase"}:
            return run_device_action(args, engine, actor=COMMAND_LINE)
        page = registry.page(search=args.search, after=args.after, count=500)
        _show_rows(args, page.devices, ("device_id", "enrolled_at_s", "last_feedback_at_s", "revoked_at_s"))
        if page.after:
            print(f"there are more: --after {page.after}", file=sys.stderr)
    return 0


def add_audit_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pocketrec audit`."""
    actions = parser.add_subparsers(dest="action", required=True)
    show = actions.add_parser("show", help="the newest lines")
    show.add_argument("--count", type=int, default=50, help="how many (50)")
    verify = actions.add_parser("verify", help="check that no line was changed or removed; exit 3 when one was")
    verify.add_argument("--head", metavar="NUMBER:SHA256", help="a head that was noted earlier and must still be there")
    verify.add_argument("--file", type=Path, metavar="FILE", help="check an export instead of the server's database")
    actions.add_parser("export", help="write the whole log as JSON lines").add_argument("out", type=Path, metavar="OUT")
    for action_parser in actions.choices.values():
        _add_home(action_parser)


def run_audit(args: argparse.Namespace) -> int:
    """Run `pocketrec audit`."""
    if args.action == "verify" and args.file:
        head = check_chain(read_export(args.file), known=_noted_head(args))
        _show(args, head, f"{head.number} lines, whole; head {head}")
        return 0
    with _database(args) as engine:
        log = AuditLog(engine, time.time)
        match args.action:
            case "show":
                lines = log.newest(args.count)
                if args.json:
                    print(msgspec.json.encode(lines).decode())
                for entry in () if args.json else reversed(lines):
                    print(_line(entry))
            case "verify":
                head = log.verify(known=_noted_head(args))
                _show(args, head, f"{head.number} lines, whole; head {head}")
            case "export":
                head = log.export(args.out)
                _show(args, head, f"wrote {head.number} lines to {args.out}; head {head}")
    return 0


def _noted_head(args: argparse.Namespace) -> Head | None:
    return Head.parse(args.head) if args.head else None


def _line(entry: AuditEntry) -> str:
    details = "" if entry.details == "{}" else f"  {entry.details}"
    return f"{entry.number:>5}  {entry.at}  {entry.actor}: {entry.action} {entry.subject}{details}"


def _database(args: argparse.Namespace) -> contextlib.AbstractContextManager[Engine]:
    return opened_database(settings_of(home=args.home, config=args.config))


def _password(args: argparse.Namespace) -> str:
    if args.password_file:
        try:
            text = args.password_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the password in {args.password_file} ({error})") from error
        return str(text.split("\n", 1)[0])
    if not sys.stdin.isatty():
        raise ConfigError("name the file with the password by --password-file, or run this in a terminal")
    first = getpass.getpass(f"password for {args.name} (at least {MIN_PASSWORD_CHARS} characters): ")
    if getpass.getpass("again: ") != first:
        raise ConfigError("the two passwords differ; nothing was changed")
    return first


def _show(args: argparse.Namespace, result: object, text: str) -> None:
    print(msgspec.json.encode(result).decode() if args.json else text, flush=True)


def _show_rows(args: argparse.Namespace, rows: Sequence[object], columns: tuple[str, ...]) -> None:
    if args.json:
        print(msgspec.json.encode(rows).decode())
        return
    cells = [columns, *([_cell(name, getattr(row, name)) for name in columns] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(name: str, value: object) -> str:
    if name.endswith("_at_s") and isinstance(value, float):
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


COMMANDS = {
    "operators": (add_operators_arguments, run_operators),
    "devices": (add_devices_arguments, run_devices),
    "audit": (add_audit_arguments, run_audit),
}
