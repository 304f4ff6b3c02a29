"""What leaves a device at each privacy level, and what its owner may choose, fetch and erase."""

import json
import random
from pathlib import Path

import pytest
import zstandard

import edge_runtime.node as node_module
from edge_runtime.contract.bundle import open_bundle
from edge_runtime.contract.errors import ConfigError, DownloadError
from edge_runtime.feedback.event_queue import SendReport
from edge_runtime.feedback.exploration import LoggingPolicy
from edge_runtime.node import EdgeNode, enroll
from edge_runtime.node_settings import choose_privacy
from edge_runtime.recommender import Recommender
from pocketrec.verbs import main
from tests.support.server_simulator import URL

GOLDEN = Path(__file__).parents[3] / "data" / "golden_bundle"
SECRET = "very private words"


@pytest.fixture
def wire(server):
    """Every body that left a device, unpacked."""
    bodies = []
    send = server.transport.open

    def open_and_note(method, url, *, headers=None, body=None):
        is_packed = "Content-Encoding" in (headers or {})
        plain = zstandard.ZstdDecompressor().decompress(body) if is_packed else body
        bodies.append((method, url, plain))
        return send(method, url, headers=headers, body=body)

    server.transport.open = open_and_note
    return bodies


def join(server, home, privacy):
    code = server.enrollment.new_code(valid_days=7)
    return enroll(
        home,
        server_url=URL,
        trusted_root=server.root,
        code=code,
        privacy=privacy,
        transport=server.transport,
    )


def opened(server, home):
    node = EdgeNode.open(home, transport=server.transport)
    node._bundles._recommender = Recommender.open(GOLDEN)
    return node


def act(node):
    """Search and click as a person does; return the page."""
    page = node.search(SECRET, k=3)
    node.record(page.action("click", page.products[0].product_id, 5.0))
    return page


def test_search_records_an_impression_of_each_place_with_its_probabilities(server, home):
    join(server, home, "full")
    with opened(server, home) as node:
        policy = LoggingPolicy(swap=0.5, guest=0.5)
        page = node.search("lamp", k=3, policy=policy, chance=random.Random(4))
        events = [item.event for item in node._feedback._queue.use(lambda queue: queue.batch())]
    assert [event.product_id for event in events] == [one.product_id for one in page.products]
    assert [event.position for event in events] == [1, 2, 3]
    assert all(0 < event.propensity <= event.page_propensity <= 1 for event in events)
    assert {event.list_id for event in events} == {page.list_id} and events[0].query == "lamp"
    assert {event.bundle_id for event in events} == {Recommender.open(GOLDEN).bundle.bundle_id}


@pytest.mark.parametrize("level", ["off", "counts", "events", "full"])
def test_level_never_sends_more_than_it_says(server, home, wire, level):
    join(server, home, level)
    del wire[:]
    with opened(server, home) as node:
        page = act(node)
        report = node._feedback.send()
        disk = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    sent = b"".join(body or b"" for _, _, body in wire)
    product = page.products[0].product_id.encode()
    assert (SECRET.encode() in disk) == (level == "full")
    assert (SECRET.encode() in sent) == (level == "full")
    assert (b'"product_id":"' + product in sent) == (level in {"events", "full"})
    assert [url.rsplit("/", 1)[1] for _, url, _ in wire] == {"off": [], "counts": ["counts"]}.get(level, ["feedback"])
    assert report == SendReport(sent={"off": 0, "counts": 1}.get(level, 4), refused=[])


@pytest.mark.parametrize("lower", ["off", "counts"])
def test_lowered_level_removes_unsent_what_it_does_not_permit(server, home, wire, lower):
    join(server, home, "full")
    with opened(server, home) as node:
        act(node)
    choose_privacy(home, lower)
    del wire[:]
    with opened(server, home) as node:
        node._feedback.send()
        assert node.status().queue.waiting == 0
    assert not any(url.endswith("feedback") for _, url, _ in wire)
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_counted_products_are_dropped_when_another_level_is_chosen(server, home):
    join(server, home, "counts")
    with opened(server, home) as node:
        act(node)
    assert (home / "counts.sqlite").exists()
    choose_privacy(home, "events")
    with opened(server, home):
        assert not list(home.glob("counts.sqlite*"))


def test_choice_of_level_is_noted_here_and_on_the_server(server, home):
    join(server, home, "events")
    choose_privacy(home, "full", clock_s=lambda: 77.0)
    lines = [json.loads(line) for line in (home / "consent.jsonl").read_text().splitlines()]
    assert [line["level"] for line in lines] == ["events", "full"] and lines[1]["given_at_s"] == 77.0
    with opened(server, home) as node:
        act(node)
        node._feedback.send()
        device = json.loads(node.export_data().splitlines()[0])
    assert (device["privacy_level"], device["consented_at_s"]) == ("full", 77.0)
    with pytest.raises(ConfigError, match="not the home of an enrolled device"):
        choose_privacy(home.parent / "none", "off")


def test_forgetting_erases_here_and_on_the_server(server, home):
    join(server, home, "full")
    with opened(server, home) as node:
        act(node)
        node._feedback.send()
        act(node)
        assert node.forget().events == 4
        assert node.status().queue.waiting == 0 and server.ingest.count_events() == 0
        act(node)
        assert node._feedback.send().sent == 4


def test_forgetting_without_a_network_clears_the_device_and_says_so(server, home):
    join(server, home, "full")
    with opened(server, home) as node:
        act(node)

        def fault(_method, _path, _answer):
            raise DownloadError("no network")

        server.transport.fault = fault
        with pytest.raises(DownloadError):
            node.forget()
        assert node.status().queue.waiting == 0


def test_level_without_its_package_is_refused_and_nothing_is_written(server, home, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("edge_runtime.feedback.private_counts.importlib.import_module", missing)
    with pytest.raises(ConfigError, match="needs the package opendp"):
        join(server, home, "counts")
    assert not home.exists()


def test_commands_of_privacy(server, home, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(node_module, "HttpTransport", lambda: server.transport)
    join(server, home, "full")
    with opened(server, home) as node:
        act(node)
        node._feedback.send()
    place = ["--home", str(home), "--json"]
    assert main(["node", "export", "--out", str(tmp_path / "mine.jsonl"), *place]) == 0
    assert json.loads(capsys.readouterr().out)["lines"] == 5
    assert main(["node", "forget", *place]) == 0
    assert json.loads(capsys.readouterr().out)["events"] == 4
    assert main(["node", "privacy", "--level", "off", *place]) == 0
    assert json.loads(capsys.readouterr().out)["privacy"] == "off"


def test_command_searches_and_records_what_was_shown(server, home, monkeypatch, capsys):
    join(server, home, "events")
    server.publish(open_bundle(GOLDEN))
    with EdgeNode.open(home, transport=server.transport) as node:
        node.sync()
    assert main(["node", "search", "lamp", "-k", "2", "--swap", "1", "--home", str(home)]) == 0
    assert "propensity 0.500" in capsys.readouterr().out
    with EdgeNode.open(home) as node:
        assert node.status().queue.waiting == 2
