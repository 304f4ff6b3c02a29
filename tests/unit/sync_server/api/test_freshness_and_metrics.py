"""Nothing is new: answered without database or framework. And what Prometheus reads."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_runtime.contract.errors import StorageError
from sync_server.api.freshness import PATH
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import ServerSimulator


@pytest.fixture
def server(tmp_path):
    simulator = ServerSimulator(tmp_path / "sim", metrics_token="the-scraper")
    simulator.publish(write_bundle(tmp_path / "bundle"))
    yield simulator
    simulator.close()


def ask(server, etag):
    return server.client.get(PATH, headers={"If-None-Match": etag})


def samples(server):
    answer = server.client.get("/metrics", headers={"Authorization": "Bearer the-scraper"})
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_device_that_has_the_newest_timestamp_gets_304_without_a_body(server):
    etag = server.client.get(PATH).headers["ETag"]
    answer = ask(server, etag)
    assert (answer.status_code, answer.data, answer.headers["ETag"]) == (304, b"", etag)
    assert ask(server, '"another"').status_code == 200
    head = server.client.head(PATH, headers={"If-None-Match": etag})
    assert head.status_code == 304


def test_answer_that_nothing_is_new_needs_no_database(server, monkeypatch):
    etag = server.client.get(PATH).headers["ETag"]
    monkeypatch.setattr(server.engine, "connect", None)
    monkeypatch.setattr(server.app, "full_dispatch_request", None)
    assert ask(server, etag).status_code == 304


def test_new_release_is_seen_at_once(server, tmp_path):
    etag = server.client.get(PATH).headers["ETag"]
    assert ask(server, etag).status_code == 304
    server.publish(write_bundle(tmp_path / "next", words="next"))
    assert ask(server, etag).status_code == 200


def test_timestamp_that_nears_its_end_is_renewed_for_devices_that_have_it(server):
    etag = server.client.get(PATH).headers["ETag"]
    assert ask(server, etag).status_code == 304
    server.pass_time(hours=25)
    answer = ask(server, etag)
    assert answer.status_code == 200 and answer.headers["ETag"] != etag


def test_timestamp_that_cannot_be_renewed_is_still_served(server, monkeypatch, caplog):
    etag = server.client.get(PATH).headers["ETag"]

    def fail():
        raise StorageError("the disk is full")

    monkeypatch.setattr(server.repository, "renew", fail)
    server.pass_time(hours=25)
    assert ask(server, etag).status_code == 304
    assert "not renewed" in caplog.text


def test_before_the_first_publication_there_is_no_timestamp(tmp_path):
    empty = ServerSimulator(tmp_path / "sim")
    assert ask(empty, '"any"').status_code == 404
    empty.close()


def test_metrics_are_for_those_who_hold_the_token(server):
    assert server.client.get("/metrics").status_code == 401
    assert server.client.get("/metrics", headers={"Authorization": "Bearer guess"}).status_code == 403


def test_metrics_count_answers_by_route_and_never_by_url(server):
    etag = server.client.get(PATH).headers["ETag"]
    ask(server, etag)
    server.client.get("/v1/tuf/private-name.json?q=private")
    found = samples(server)
    requests = {labels: value for (name, labels), value in found.items() if name == "pocketrec_requests_total"}
    assert requests[("method", "GET"), ("route", PATH), ("status", "304")] == 1
    assert requests[("method", "GET"), ("route", "/v1/tuf/<name>"), ("status", "404")] == 1
    assert "private" not in str(found)


def test_invented_methods_and_urls_add_no_metric_after_the_first(server):
    counts = []
    for number in range(30):
        server.client.open(f"/v1/tuf/{number}", method=f"INVENTED{number}")
        server.client.get(f"/invented/{number}")
        counts.append(len(samples(server)))
    # The second scrape counts the first one.
    assert len(set(counts[1:])) == 1
    requests = {
        labels: value for (name, labels), value in samples(server).items() if name == "pocketrec_requests_total"
    }
    assert requests[("method", "other"), ("route", "other"), ("status", "405")] == 30
    assert requests[("method", "GET"), ("route", "other"), ("status", "404")] == 30


def test_token_of_the_metrics_may_be_guessed_in_any_characters(server):
    assert server.client.get("/metrics", headers={"Authorization": "Bearer \xfc\xdf"}).status_code == 403


def test_metrics_show_the_state_of_the_fleet(server):
    found = samples(server)
    assert found["pocketrec_devices_enrolled", ()] == 0
    assert found["pocketrec_database_up", ()] == 1
    assert 47 * 3_600 < found["pocketrec_timestamp_expires_in_seconds", ()] <= 48 * 3_600


def test_metrics_are_shown_while_the_database_is_away(server, monkeypatch):
    def fail(*_):
        raise StorageError("gone")

    monkeypatch.setattr("sync_server.metrics.reading", fail)
    found = samples(server)
    assert found["pocketrec_database_up", ()] == 0
    assert ("pocketrec_devices_enrolled", ()) not in found
