"""Access to the console: login, logout, sessions, protection against forged requests and guessed passwords.

A session is a row of the database. Its token is in a signed cookie that scripts cannot read and other sites cannot send. A
login makes a new token and ignores the one that the browser sent, so an attacker cannot prepare a session for a victim.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from flask import Blueprint, Flask, current_app, flash, g, redirect, render_template, request, session, url_for
from flask import Response as FlaskResponse
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from flask_wtf.csrf import CSRFProtect
from werkzeug.exceptions import Forbidden
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response

from sync_server.config import ServerConfig
from sync_server.errors import LoginError
from sync_server.hosting.home import SESSION_KEY_FILE, read_secret
from sync_server.operators.accounts import Principal, Role
from sync_server.services import services

COOKIE = "pocketrec_console"
_HOME_PAGE = "console.fleet"
_CSRF = "csrf"
_CSRF_SETTINGS = {"WTF_CSRF_CHECK_DEFAULT": False, "WTF_CSRF_TIME_LIMIT": None}

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

blueprint = Blueprint("access", __name__, url_prefix="/console")


class SignedInOperator(UserMixin):  # type: ignore[misc]
    """The operator of this request's session, as Flask-Login needs it."""

    def __init__(self, token: str, principal: Principal) -> None:
        self.token = token
        self.principal = principal

    def get_id(self) -> str:
        """Return the session's token, which the cookie has instead of a name."""
        return self.token


class _Cookies(SecureCookieSessionInterface):
    def get_cookie_secure(self, app: Flask) -> bool:
        # Over https the cookie is sent by https only. A console on this machine may be opened over http.
        return request.is_secure

    def save_session(self, app: Flask, session: SessionMixin, response: FlaskResponse) -> None:
        # Browsers send the cookie to the console alone, so no other answer depends on it or says so (Vary).
        if request.path.startswith(self.get_cookie_path(app)):
            super().save_session(app, session, response)


def guard(app: Flask, config: ServerConfig) -> None:
    """Give an application the sessions, the login and the limits of the console.

    Raises:
        ConfigError: the server's home has no session key yet.
    """
    app.secret_key = read_secret(config.home / SESSION_KEY_FILE)
    app.session_interface = _Cookies()
    app.config.update(
        SESSION_COOKIE_NAME=COOKIE,
        SESSION_COOKIE_PATH="/console",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        **_CSRF_SETTINGS,
    )
    if config.trusted_proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=config.trusted_proxies, x_proto=config.trusted_proxies
        )
    app.extensions[_CSRF] = CSRFProtect(app)
    logins = LoginManager(app)
    logins.session_protection = None
    logins.user_loader(_user_of)
    logins.unauthorized_handler(to_login)
    limiter = Limiter(
        get_remote_address,
        app=app,
        storage_uri=config.redis_url or "memory://",
        in_memory_fallback_enabled=bool(config.redis_url),
        strategy="fixed-window",
    )
    limit = limiter.limit(f"{config.login_attempts_per_minute} per minute", methods=["POST"])
    app.view_functions["access.log_in"] = cast("Any", limit(app.view_functions["access.log_in"]))


def _user_of(token: str) -> SignedInOperator | None:
    principal = services().operators.principal_of(token)
    return SignedInOperator(token, principal) if principal else None


def check_forgery() -> None:
    """Refuse a form that does not carry the token of this session.

    Raises:
        CSRFError: it does not.
    """
    if request.method not in {"GET", "HEAD", "OPTIONS"}:
        cast("CSRFProtect", current_app.extensions[_CSRF]).protect()


def signed_in() -> Principal | None:
    """Return who is logged in; None when nobody is."""
    if not current_user.is_authenticated:
        return None
    principal = cast("SignedInOperator", current_user).principal
    g.principal = principal
    return principal


def operator() -> Principal:
    """Return who is logged in, on a page that only they can see."""
    return cast("Principal", g.principal)


def needs(role: Role) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result]]:
    """Let a view run only for operators of this role or a higher one."""

    def decorate(view: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        @wraps(view)
        def guarded(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
            if not operator().may(role):
                raise Forbidden(f"this needs the role {role}, yours is {operator().role}")
            return view(*args, **kwargs)

        return guarded

    return decorate


def to_login() -> Response:
    """Redirect a visitor to the login page, and from there back to the wanted page."""
    wanted = request.path if request.method == "GET" else None
    return redirect(url_for("access.log_in", next=wanted))


def _own_page(path: str | None) -> str:
    # Only a page of this console: a link must not lead an operator to another site after the login.
    if path and path.startswith("/console/") and "//" not in path and "\\" not in path and path.isprintable():
        return path
    return url_for(_HOME_PAGE)


@blueprint.get("/login")
def log_in_page() -> str | Response:
    """Show the form."""
    if signed_in():
        return redirect(url_for(_HOME_PAGE))
    return render_template("console/login.html", next=_own_page(request.args.get("next")))


@blueprint.post("/login")
def log_in() -> str | Response | tuple[str, int]:
    """Check name and password, and begin a new session."""
    name = request.form.get("name", "").strip().lower()
    try:
        token = services().operators.log_in(name, request.form.get("password", ""))
    except LoginError as error:
        page = render_template(
            "console/login.html", error=str(error), name=name[:64], next=_own_page(request.form.get("next"))
        )
        return page, error.status_code
    if signed_in():
        services().operators.log_out(cast("SignedInOperator", current_user).token)
    session.clear()
    principal = services().operators.principal_of(token)
    if principal is None:
        raise Forbidden("the account was disabled")
    login_user(SignedInOperator(token, principal))
    return redirect(_own_page(request.form.get("next")))


@blueprint.post("/logout")
def log_out() -> Response:
    """End the session, here and on the server."""
    if signed_in():
        services().operators.log_out(cast("SignedInOperator", current_user).token)
    logout_user()
    session.clear()
    flash("You are logged out.")
    return redirect(url_for("access.log_in"))
