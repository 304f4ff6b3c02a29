"""What deploy/ holds fits the server: settings are read, variables and files exist, commands are known."""

import configparser
import json
import re
from pathlib import Path

import yaml

from edge_runtime.settings import load_toml
from pocketrec.verbs import VERBS
from sync_server.config import DATABASE_URL_VARIABLE, METRICS_TOKEN_VARIABLE, ServerConfig
from tests.support.fleet_bundles import publish_one_and_stage_two

REPOSITORY = Path(__file__).parents[4]
DEPLOY = REPOSITORY / "deploy"
VARIABLES = {DATABASE_URL_VARIABLE, METRICS_TOKEN_VARIABLE}


def test_settings_of_the_deployment_are_read():
    config = load_toml(DEPLOY / "server.toml", ServerConfig)
    assert config.trusted_proxies == 1 and config.redis_url.startswith("redis://")


def test_compose_names_only_what_exists():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    server = compose["services"]["server"]
    assert set(server["environment"]) == VARIABLES
    used = {secret for service in compose["services"].values() for secret in service.get("secrets", [])}
    assert used == set(compose["secrets"])
    mounted = [
        volume.split(":")[0] for service in compose["services"].values() for volume in service.get("volumes", [])
    ]
    local = [name for name in mounted if name.startswith("./") and name != "./keys"]
    assert local and all((DEPLOY / name).is_file() for name in local)
    assert set(mounted) - set(local) - {"./keys"} == set(compose["volumes"])
    assert compose["services"]["redis"]["command"][0] == "redis-server"


def test_unit_of_systemd_starts_a_known_command_with_its_secrets():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "pocketrec.service")
    assert unit["Service"]["ExecStart"].split()[1] in VERBS
    # Nobody else on the machine reads what devices sent.
    assert unit["Service"]["UMask"] == "0077"
    text = (DEPLOY / "pocketrec.service").read_text()
    assert set(re.findall(r"Environment=(\w+)=", text)) == VARIABLES


def test_image_copies_what_the_package_needs():
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]
    assert all((REPOSITORY / name).exists() for name in copied)
    (lock,) = [word for line in lines for word in line.split() if word.endswith(".lock")]
    assert (REPOSITORY / lock.removeprefix("/src/")).is_file()


def test_prometheus_and_dashboard_are_whole():
    scrape = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"][0]
    assert scrape["static_configs"][0]["targets"] == ["server:8080"]
    rules = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["rule_files"]
    assert all((DEPLOY / name).is_file() for name in rules)
    panels = json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) and all(panel["title"] for panel in panels)


def test_alerts_are_about_metrics_that_the_server_has(server):
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    named = {name for rule in rules for name in re.findall(r"pocketrec_\w+", rule["expr"])}
    server.client.get("/healthz")
    publish_one_and_stage_two(server, server.folder)
    shown = server.client.get("/metrics").text
    assert "pocketrec_rollout_judgement_age_seconds" in named
    assert [name for name in named if f"\n{name}" not in shown] == []
    assert all(rule["annotations"]["summary"] for rule in rules)
