"""The commands `pocketrec operators`, `pocketrec devices` and `pocketrec audit`, on the server's own machine."""

import argparse
import getpass
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
from sqlalchemy import Engine

from edge_runtime.cli.commands import JSON, Actions, Command, Run, argument, path, show
from edge_runtime.contract.atomic_files import PRIVATE_MODE, write_bytes_atomically
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.text import visible
from pocketrec.cli.places import HOME, SETTINGS, opened_database, settings_of
from sync_server.devices.enrollment_keys import EnrollmentKeys
from sync_server.devices.registry import DeviceRegistry
from sync_server.events.data_requests import device_data, erase_device
from sync_server.operators.accounts import COMMAND_LINE, MIN_PASSWORD_CHARS, ROLES, Operators
from sync_server.operators.api_keys import ApiKeys
from sync_server.operators.audit_log import AuditEntry, AuditLog, Head, check_chain, read_export

_NAME = argument("name", metavar="NAME", help="of the account")
_ROLE = argument("--role", required=True, choices=ROLES, help="what the account or key may do")
_PASSWORD = path("--password-file", "FILE", "first line is the password; asked for when left out")
_DEVICE = argument("device_id", metavar="DEVICE", help="name of the device")
_PLACE = (HOME, SETTINGS, JSON)


def _on_database(run: Callable[[argparse.Namespace, Engine], int]) -> Run:
    def run_there(args: argparse.Namespace) -> int:
        with opened_database(settings_of(args)) as engine:
            return run(args, engine)

    return run_there


def _on_account(change: Callable[[argparse.Namespace, Operators], tuple[dict[str, object], str]]) -> Run:
    """Return what changes an account and says so: `change` gives what else is printed beside its name."""

    def run(args: argparse.Namespace, engine: Engine) -> int:
        result, text = change(args, Operators(engine, time.time))
        return show(args, {"name": args.name, **result}, f"{args.name} {text}")

    return _on_database(run)


def _add(args: argparse.Namespace, operators: Operators) -> tuple[dict[str, object], str]:
    operators.add(args.name, role=args.role, password=_typed_password(args), actor=COMMAND_LINE)
    return {"role": args.role}, f"may log in as {args.role}"


def _disable(args: argparse.Namespace, operators: Operators) -> tuple[dict[str, object], str]:
    operators.disable(args.name, actor=COMMAND_LINE)
    return {"disabled": True}, "is disabled"


def _enable(args: argparse.Namespace, operators: Operators) -> tuple[dict[str, object], str]:
    operators.enable(args.name, actor=COMMAND_LINE)
    return {"disabled": False}, "may log in again"


def _reset(args: argparse.Namespace, operators: Operators) -> tuple[dict[str, object], str]:
    operators.set_password(args.name, password=_typed_password(args), actor=COMMAND_LINE)
    return {"reset": True}, "has a new password; sessions are ended"


def _set_role(args: argparse.Namespace, operators: Operators) -> tuple[dict[str, object], str]:
    operators.set_role(args.name, role=args.role, actor=COMMAND_LINE)
    return {"role": args.role}, f"is {args.role} now"


def _list_operators(args: argparse.Namespace, engine: Engine) -> int:
    return _show_rows(args, Operators(engine, time.time).everyone(), ("name", "role", "disabled", "locked"))


def _make_key(args: argparse.Namespace, engine: Engine) -> int:
    new = ApiKeys(engine, time.time).create(
        args.name, role=args.role, label=args.label, valid_days=args.valid_days, actor=COMMAND_LINE
    )
    return show(args, new, new.secret)


def _list_keys(args: argparse.Namespace, engine: Engine) -> int:
    keys = ApiKeys(engine, time.time).every_key()
    return _show_rows(args, keys, ("key_id", "operator", "role", "label", "active"))


def _revoke_key(args: argparse.Namespace, engine: Engine) -> int:
    ApiKeys(engine, time.time).revoke(args.key_id, actor=COMMAND_LINE)
    return show(args, {"key_id": args.key_id, "revoked": True}, f"key {args.key_id} is void")


operators = Actions(
    {
        "add": Command(_on_account(_add), _NAME, _ROLE, _PASSWORD, about="make an account"),
        "list": Command(_on_database(_list_operators), about="all accounts"),
        "disable": Command(
            _on_account(_disable), _NAME, about="end an account's sessions and keys, and let it log in no more"
        ),
        "enable": Command(_on_account(_enable), _NAME, about="let a disabled account log in again"),
        "reset": Command(
            _on_account(_reset),
            _NAME,
            _PASSWORD,
            about="give an account another password, end its sessions, lift a lock",
        ),
        "role": Command(
            _on_account(_set_role),
            _NAME,
            argument("role", choices=ROLES, help="what it may do from now on"),
            about="give an account another role",
        ),
        "key": Command(
            _on_database(_make_key),
            _NAME,
            _ROLE,
            argument("--label", required=True, help="what the key is for"),
            argument("--valid-days", type=int, help="when it expires (never)"),
            about="make an API key for an account; it is shown once",
        ),
        "keys": Command(_on_database(_list_keys), about="all API keys, without their secrets"),
        "revoke-key": Command(
            _on_database(_revoke_key),
            argument("key_id", metavar="KEY_ID", help="from pocketrec operators keys"),
            about="make an API key void",
        ),
    },
    *_PLACE,
)


def _list_devices(args: argparse.Namespace, engine: Engine) -> int:
    page = DeviceRegistry(engine, time.time).page(search=args.search, after=args.after, count=500)
    _show_rows(args, page.devices, ("device_id", "enrolled_at_s", "last_feedback_at_s", "revoked_at_s"))
    if page.after:
        print(f"there are more: --after {page.after}", file=sys.stderr)
    return 0


def _revoke_device(args: argparse.Namespace, engine: Engine) -> int:
    DeviceRegistry(engine, time.time).revoke(args.device_id, actor=COMMAND_LINE)
    return show(args, {"device_id": args.device_id, "revoked": True}, f"{args.device_id} is revoked")


def _export_device(args: argparse.Namespace, engine: Engine) -> int:
    lines = list(device_data(engine, args.device_id))
    write_bytes_atomically(args.out, b"".join(lines), mode=PRIVATE_MODE)
    return show(args, {"lines": len(lines), "out": str(args.out)}, f"wrote {len(lines)} lines to {args.out}")


def _erase_device(args: argparse.Namespace, engine: Engine) -> int:
    gone = erase_device(engine, args.device_id, actor=COMMAND_LINE, now_s=time.time())
    text = f"erased {gone.events} events and {gone.count_reports} count reports of {args.device_id}"
    return show(args, {"device_id": args.device_id, **msgspec.to_builtins(gone)}, text)


def _make_enrollment_key(args: argparse.Namespace, engine: Engine) -> int:
    new = EnrollmentKeys(engine, time.time).create(
        args.label, devices=args.devices, per_minute=args.per_minute, valid_days=args.valid_days, actor=COMMAND_LINE
    )
    return show(args, new, new.secret)


def _list_enrollment_keys(args: argparse.Namespace, engine: Engine) -> int:
    keys = EnrollmentKeys(engine, time.time).every_key()
    return _show_rows(
        args, keys, ("key_id", "label", "devices", "device_limit", "per_minute", "expires_at_s", "active")
    )


def _revoke_enrollment_key(args: argparse.Namespace, engine: Engine) -> int:
    EnrollmentKeys(engine, time.time).revoke(args.key_id, actor=COMMAND_LINE)
    return show(args, {"key_id": args.key_id, "revoked": True}, f"no more devices enroll with key {args.key_id}")


devices = Actions(
    {
        "key": Command(
            _on_database(_make_enrollment_key),
            argument("--label", required=True, help="what the key is for"),
            argument("--devices", type=int, required=True, metavar="N", help="how many devices it may enroll"),
            argument("--per-minute", type=int, default=600, metavar="N", help="how many of them in one minute (600)"),
            argument("--valid-days", type=int, default=90, metavar="DAYS", help="when it expires (90)"),
            about="make a key with which many devices enroll; it is shown once",
        ),
        "keys": Command(_on_database(_list_enrollment_keys), about="all enrollment keys, without their secrets"),
        "revoke-key": Command(
            _on_database(_revoke_enrollment_key),
            argument("key_id", metavar="KEY_ID", help="from pocketrec devices keys"),
            about="let no more devices enroll with a key; those that did stay enrolled",
        ),
        "list": Command(
            _on_database(_list_devices),
            argument("--search", default="", help="only those whose name contains this"),
            argument("--after", default="", metavar="NAME", help="continue after this name"),
            about="devices by name",
        ),
        "revoke": Command(_on_database(_revoke_device), _DEVICE, about="make a device's credential void for good"),
        "export": Command(
            _on_database(_export_device),
            path("--out", "FILE", "lines of JSON", required=True),
            _DEVICE,
            about="write all that is kept of one device",
        ),
        "erase": Command(_on_database(_erase_device), _DEVICE, about="erase what one device sent; it stays enrolled"),
    },
    *_PLACE,
)


def _show_log(args: argparse.Namespace, engine: Engine) -> int:
    lines = AuditLog(engine, time.time).newest(args.count)
    if args.json or lines:
        show(args, lines, "\n".join(map(_line, reversed(lines))))
    return 0


def _verify_log(args: argparse.Namespace) -> int:
    known = Head.parse(args.head) if args.head else None
    if args.file:
        head = check_chain(read_export(args.file), known=known)
    else:
        with opened_database(settings_of(args)) as engine:
            head = AuditLog(engine, time.time).verify(known=known)
    return show(args, head, f"{head.number} lines, whole; head {head}")


def _export_log(args: argparse.Namespace, engine: Engine) -> int:
    head = AuditLog(engine, time.time).export(args.out)
    return show(args, head, f"wrote {head.number} lines to {args.out}; head {head}")


def _line(entry: AuditEntry) -> str:
    details = "" if entry.details == "{}" else f"  {entry.details}"
    return f"{entry.number:>5}  {entry.at}  {entry.actor}: {entry.action} {entry.subject}{details}"


audit = Actions(
    {
        "show": Command(
            _on_database(_show_log),
            argument("--count", type=int, default=50, help="how many (50)"),
            about="the newest lines",
        ),
        "verify": Command(
            _verify_log,
            argument("--head", metavar="NUMBER:SHA256", help="a head that was noted earlier and must still be there"),
            path("--file", "FILE", "check an export instead of the server's database"),
            about="check that no line was changed or removed; exit 3 when one was",
        ),
        "export": Command(
            _on_database(_export_log), path("out", "OUT", "a new file"), about="write the whole log as JSON lines"
        ),
    },
    *_PLACE,
)


def _typed_password(args: argparse.Namespace) -> str:
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


def _show_rows(args: argparse.Namespace, rows: Sequence[object], columns: tuple[str, ...]) -> int:
    if args.json:
        return show(args, rows, "")
    cells = [columns, *([_cell(name, getattr(row, name)) for name in columns] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0


def _cell(name: str, value: object) -> str:
    if name.endswith("_at_s") and isinstance(value, float):
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else visible(str(value))
