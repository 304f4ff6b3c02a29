"""A real Prometheus scrapes the server, and every query of the dashboard has an answer there."""

import json
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from benchmarks.fleet.http_load import http_request, run_load
from benchmarks.fleet.local_servers import LocalPrometheus
from benchmarks.fleet.plain_bundle import write_plain_bundle
from benchmarks.fleet.server_process import ServerProcess
from benchmarks.fleet.sync_load import feedback_requests, one_after_another, publish_to
from sync_server.api.freshness import PATH, etag_of
from tests.support.toy_bundle import make_toy_bundle

ROUNDS, MOST_ROUNDS, SCRAPES = 10, 200, 5

DASHBOARD = Path(__file__).parents[3] / "deploy" / "grafana-dashboard.json"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    bundle = make_toy_bundle(tmp_path_factory.mktemp("toy") / "bundle")
    server = ServerProcess(settings=['rank_backend = "bundle"', f'rank_folder = "{bundle.folder}"'])
    publish_to(server, write_plain_bundle(server.folder / "bundle"))
    scraper = LocalPrometheus(f"127.0.0.1:{server.port}")
    try:
        send_some_of_everything(server, scraper)
        yield scraper
    finally:
        scraper.stop()
        server.stop()


def send_some_of_everything(server, prometheus):
    """Send until a rate can be told: it needs several scrapes, between which something was asked."""
    devices = server.enroll(2)
    batches = feedback_requests(devices, batches=MOST_ROUNDS)
    etag = etag_of((server.config.home / "repository" / "metadata" / "timestamp.json").read_bytes())
    ask = http_request("GET", PATH, headers={"If-None-Match": etag})
    auth = {"Authorization": f"Bearer {devices[0].credential}", "Content-Type": "application/json"}
    rank = http_request("POST", "/v1/rank", headers=auth, body=b'{"query": "red lamp"}')
    for number in range(MOST_ROUNDS):
        if number >= ROUNDS and scrapes(prometheus) >= SCRAPES:
            return
        run_load(server.port, one_after_another([[own[number]] for own in batches]), connections=2, seconds=60)
        for request in (ask, rank):
            run_load(server.port, one_after_another([[request, request]]), connections=1, seconds=60)
        time.sleep(0.2)
    raise AssertionError(f"Prometheus scraped {scrapes(prometheus)} times in {MOST_ROUNDS} rounds, expected {SCRAPES}")


def scrapes(prometheus):
    """Return how often the server answered to a scrape."""
    found = ask_prometheus(prometheus, "sum_over_time(up[10m])")
    return int(found[0]["value"][1]) if found else 0


def ask_prometheus(prometheus, query):
    expression = query.replace("$__rate_interval", "1m")
    url = f"{prometheus.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)["data"]["result"]


def dashboard_queries():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


def test_prometheus_reaches_the_server(prometheus):
    assert [found["value"][1] for found in ask_prometheus(prometheus, "max_over_time(up[1m])")] == ["1"]


def test_workers_are_counted_together(prometheus):
    (stored,) = ask_prometheus(prometheus, 'sum(pocketrec_feedback_events_total{result="stored"})')
    assert float(stored["value"][1]) % 100 == 0 and float(stored["value"][1]) >= 1_000


@pytest.mark.parametrize(("title", "query"), dashboard_queries())
def test_query_of_the_dashboard_has_an_answer(prometheus, title, query):
    found = ask_prometheus(prometheus, query)
    assert found, f"{title}: {query}"
    assert all(series["value"][1] != "NaN" for series in found), f"{title}: {query} gave {found}"
