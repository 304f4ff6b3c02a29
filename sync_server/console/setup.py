"""Adds the console to the application."""

from flask import Flask

from sync_server.config import ServerConfig
from sync_server.console import access, pages, rollout_pages
from sync_server.console.filters import add_filters

_NAVIGATION = (
    ("console.fleet", "Fleet"),
    ("rollout_pages.rollouts", "Rollouts"),
    ("rollout_pages.experiments", "Experiments"),
    ("console.feedback", "Feedback"),
    ("console.devices", "Devices"),
    ("console.audit", "Audit log"),
    ("console.keys", "API keys"),
)


def add_console(app: Flask, config: ServerConfig) -> None:
    """Register the pages under /console and protect them.

    Raises:
        ConfigError: the server's home has no session key yet.
    """
    for room in (access.blueprint, pages.blueprint, rollout_pages.blueprint):
        app.register_blueprint(room)
    add_filters(app)
    app.jinja_env.globals["navigation"] = _NAVIGATION
    access.guard(app, config)
