"""The pages of the console."""

import functools
import hashlib
import logging
from pathlib import Path
from typing import cast

import msgspec
from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as PlainResponse

from edge_runtime.contract.errors import ConfigError, PocketrecError, StorageError
from sync_server.console import access
from sync_server.console.access import check_forgery, needs, operator, signed_in, to_login
from sync_server.console.charts import Chart, stacked
from sync_server.errors import AuditError, RequestError
from sync_server.events.flow import feedback_flow
from sync_server.operators.accounts import ROLES
from sync_server.operators.api_keys import NewKey
from sync_server.services import services

blueprint = Blueprint("console", __name__, url_prefix="/console", template_folder="templates")

_LOG = logging.getLogger(__name__)
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_OPEN_VIEWS = {"access.log_in_page", "access.log_in", "access.log_out"}
_STATIC = Path(__file__).with_name("static")
_ASSETS = {"console.css": "text/css", "console.js": "text/javascript", "console.svg": "image/svg+xml"}
# The chart has eight colors: six bundles, the others together, and the limit of a chart with intervals.
_SHOWN_VERSIONS = 6
# One page to read.
_AUDIT_LINES = 50
# Of a number in a form: more than any has a meaning for.
_MAX_DIGITS = 9
_DAY_S = 86_400.0

Page = str | PlainResponse | tuple[str, int]


def protect() -> PlainResponse | None:
    """Run before every page: refuse forged forms, and redirect visitors who are not logged in to the login."""
    if request.endpoint == "console.asset":
        return None
    check_forgery()
    return None if signed_in() or request.endpoint in _OPEN_VIEWS else to_login()


def harden(answer: Response) -> Response:
    """Run after every page: limit what the browser may load and run."""
    answer.headers["Content-Security-Policy"] = _POLICY
    # The check of forged forms needs the referrer over https.
    answer.headers["Referrer-Policy"] = "same-origin"
    return answer


def show_error(error: Exception) -> Page:
    """Show an error of a page as a sentence."""
    if isinstance(error, HTTPException):
        if error.response is not None:
            return cast("PlainResponse", error.response)
        return _error_page(error.description or error.name, error.code or 500)
    if isinstance(error, RequestError):
        return _error_page(str(error), error.status_code)
    if isinstance(error, StorageError):
        _LOG.error("%s", error)
        return _error_page("the server cannot use its disk or database; try again later", 503)
    return _error_page(str(error), 400)


def _error_page(sentence: str, status: int) -> tuple[str, int]:
    return render_template("console/error.html", sentence=sentence, status=status), status


def add_page_rules(pages: Blueprint) -> Blueprint:
    """Add to a blueprint of the console what every page has: protection, headers, errors as sentences."""
    pages.before_request(protect)
    pages.after_request(harden)
    pages.register_error_handler(HTTPException, show_error)
    pages.register_error_handler(PocketrecError, show_error)
    return pages


@blueprint.get("/static/<name>")
def asset(name: str) -> PlainResponse:
    """Serve the style sheet, the script or the icon."""
    if name not in _ASSETS:
        raise RequestError("there is no such file", status_code=404)
    content, etag = _asset_content(name)
    answer = Response(content, mimetype=_ASSETS[name])
    answer.set_etag(etag)
    answer.headers["Cache-Control"] = "no-cache"
    return answer.make_conditional(request)


@functools.cache
def _asset_content(name: str) -> tuple[bytes, str]:
    """Return the bytes and their digest. They stay in memory, so an interrupted download leaves no open file."""
    content = (_STATIC / name).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:32]


@blueprint.get("/")
def fleet() -> Page:
    """Show the fleet: devices by bundle, releases by channel, expiry of the metadata."""
    now = services().clock_s()
    services().history.record_if_due()
    versions = services().history.versions()
    shown = dict(list(versions.counts.items())[:_SHOWN_VERSIONS])
    rest = [values for name, values in versions.counts.items() if name not in shown]
    if rest:
        shown["others"] = [sum(column) for column in zip(*rest, strict=True)]
    series = [(name[:12], values) for name, values in sorted(shown.items(), key=_middle)]
    return render_template(
        "console/fleet.html",
        chart=stacked("Devices by bundle", [float(hour) for hour in versions.hours_s], series),
        enrolled=services().devices.count(),
        active=services().devices.count_active(since_s=now - _DAY_S),
        releases=services().repository.releases(),
        trust=services().repository.trust_status(),
        now_s=now,
    )


@blueprint.get("/feedback")
def feedback() -> Page:
    """Show the feedback: how many events, of which kinds, and how late they arrive."""
    flow = feedback_flow(services().engine, services().clock_s)
    chart: Chart | None = stacked("Events per minute by kind", flow.times_s, list(flow.per_minute.items()))
    return render_template(
        "console/feedback.html",
        flow=flow,
        chart=chart,
        total=services().ingest.count_events(),
        now_s=services().clock_s(),
    )


@blueprint.get("/devices")
def devices() -> Page:
    """List devices by name."""
    search = request.args.get("search", "")[:100]
    page = services().devices.page(search=search, after=request.args.get("after", "")[:100])
    return render_template(
        "console/devices.html",
        page=page,
        search=search,
        found=services().devices.count(search=search),
        keys=services().enrollment_keys.every_key(),
    )


@blueprint.post("/devices/<device_id>/revoke")
@needs("admin")
def revoke_device(device_id: str) -> Page:
    """Make a device's credential void."""
    services().devices.revoke(device_id, actor=operator().name)
    flash(f"{device_id} is revoked: the server accepts nothing from it any more.")
    return redirect(url_for("console.devices", search=device_id))


@blueprint.post("/devices/code")
@needs("publisher")
def new_code() -> Page:
    """Make a one-time enrollment code and show it once."""
    days = services().config.enrollment_code_days
    code = services().enrollment.new_code(valid_days=days)
    services().audit.record(actor=operator().name, action="enrollment code made", details={"valid_days": days})
    return render_template("console/secret.html", title="Enrollment code", secret=code, back=url_for("console.devices"))


@blueprint.post("/devices/keys")
@needs("admin")
def new_enrollment_key() -> Page:
    """Make a key with which many devices enroll, and show it once."""
    numbers = {name: request.form.get(name, type=int) or 0 for name in ("devices", "per_minute", "valid_days")}
    label = request.form.get("label", "").strip()
    new = services().enrollment_keys.create(label, **numbers, actor=operator().name)
    return render_template(
        "console/secret.html", title="Enrollment key", secret=new.secret, back=url_for("console.devices")
    )


@blueprint.post("/devices/keys/<key_id>/revoke")
@needs("admin")
def revoke_enrollment_key(key_id: str) -> Page:
    """Let no more devices enroll with a key."""
    services().enrollment_keys.revoke(key_id, actor=operator().name)
    flash(f"No more devices enroll with key {key_id}.")
    return redirect(url_for("console.devices"))


@blueprint.get("/audit")
def audit() -> Page:
    """Show who did what, newest first."""
    before = request.args.get("before", type=int)
    lines = services().audit.newest(_AUDIT_LINES, before=before)
    older = lines[-1].number if lines and lines[-1].number > 1 else None
    return render_template("console/audit.html", lines=lines, head=services().audit.head(), older=older, verified=None)


@blueprint.post("/audit/verify")
def verify_audit() -> Page:
    """Check the whole audit log and show the result."""
    try:
        head = services().audit.verify()
        flash(f"All {head.number} lines are complete and unchanged.")
    except AuditError as error:
        flash(f"The check of the audit log failed: {error}")
    return redirect(url_for("console.audit"))


@blueprint.get("/audit.jsonl")
def export_audit() -> Page:
    """Return the whole log as JSON lines."""
    lines = (msgspec.json.encode(entry) + b"\n" for entry in services().audit.entries())
    answer = Response(lines, mimetype="application/x-ndjson")
    answer.headers["Content-Disposition"] = "attachment; filename=audit.jsonl"
    return answer


@blueprint.get("/keys")
def keys() -> Page:
    """Show API keys; admins also see the accounts."""
    return _keys_page()


def _keys_page(new: NewKey | None = None) -> str:
    accounts = services().operators.everyone() if operator().may("admin") else []
    roles = [role for role in ROLES if operator().may(role)]
    return render_template(
        "console/keys.html", keys=services().api_keys.every_key(), accounts=accounts, roles=roles, new=new
    )


@blueprint.post("/keys")
def create_key() -> Page:
    """Make an API key for the operator, with the operator's role or a lower one; it is shown once."""
    role = request.form.get("role", "")
    if role not in ROLES or not operator().may(role):
        raise RequestError("expected a role that is not above your own", status_code=403)
    wanted = request.form.get("valid_days", "").strip()
    if wanted and not (wanted.isdecimal() and len(wanted) <= _MAX_DIGITS):
        raise RequestError("expected a whole number of days, or nothing for a key that never expires", status_code=400)
    days = int(wanted) if wanted else None
    label = request.form.get("label", "").strip()
    new = services().api_keys.create(operator().name, role=role, label=label, valid_days=days, actor=operator().name)
    return _keys_page(new)


@blueprint.post("/keys/<key_id>/revoke")
def revoke_key(key_id: str) -> Page:
    """Revoke a key: operators may revoke their own keys, admins every key."""
    owners = {key.key_id: key.operator for key in services().api_keys.every_key()}
    if key_id not in owners:
        raise ConfigError("there is no such API key")
    if owners[key_id] != operator().name and not operator().may("admin"):
        raise RequestError("this is another operator's key", status_code=403)
    services().api_keys.revoke(key_id, actor=operator().name)
    flash(f"Key {key_id} is void.")
    return redirect(url_for("console.keys"))


def _middle(pair: tuple[str, list[int]]) -> float:
    # The oldest bundle is drawn at the bottom.
    values = pair[1]
    return sum(place * value for place, value in enumerate(values)) / (sum(values) or 1)


add_page_rules(blueprint)
add_page_rules(access.blueprint)
