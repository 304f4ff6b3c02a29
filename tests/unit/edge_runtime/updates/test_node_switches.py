"""Calls that are under way while an update switches: each sees one bundle, which stays open until the call ends."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edge_runtime import node as node_module
from edge_runtime.contract.bundle import open_bundle
from edge_runtime.contract.events import FeedbackEvent
from edge_runtime.contract.offer import VariantOffer
from edge_runtime.node import EdgeNode, enroll
from edge_runtime.recommender import Recommendations
from edge_runtime.updates.self_test import Proof
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import URL


class SlowRecommender:
    """Answers with the name of its bundle, when `may_answer` is set; `asked` says that a search has begun."""

    asked, may_answer = threading.Event(), threading.Event()

    def __init__(self, folder):
        self.bundle, self.closed = open_bundle(folder.resolve()), False

    @classmethod
    def open(cls, folder):
        return cls(folder)

    def prove(self):
        return Proof(answers=1, worst_cosine=1.0, overlap=1.0)

    def search(self, query, *, k, where=None):
        self.asked.set()
        assert self.may_answer.wait(30) and not self.closed
        return Recommendations((self.bundle.bundle_id,), np.array([1.0], np.float32))

    def close(self):
        self.closed = True


@pytest.fixture
def server(server, tmp_path):
    server.publish(write_bundle(tmp_path / "one", words="one"))
    return server


@pytest.fixture
def node(server, tmp_path, monkeypatch):
    monkeypatch.setattr(node_module, "Recommender", SlowRecommender)
    SlowRecommender.asked.clear()
    SlowRecommender.may_answer.clear()
    code = server.enrollment.new_code(valid_days=1)
    enroll(tmp_path / "device", server_url=URL, trusted_root=server.root, code=code, transport=server.transport)
    with EdgeNode.open(tmp_path / "device", transport=server.transport) as opened:
        opened.sync()
        yield opened


def test_call_under_way_during_a_switch_sees_one_bundle_to_its_end(server, node, tmp_path):
    old = node.recommender
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(node.search, "lamp")
        assert SlowRecommender.asked.wait(30)
        new = write_bundle(tmp_path / "two", words="two")
        server.publish(new)
        node.sync()
        assert node.recommender.bundle.bundle_id == new.bundle_id and not old.closed
        SlowRecommender.may_answer.set()
        page = call.result()
    assert page.bundle_id == old.bundle.bundle_id == page.products[0].product_id
    assert old.closed
    assert node.search("lamp").bundle_id == new.bundle_id


def test_readers_of_a_bundle_that_was_replaced_close_it_when_the_last_one_ends(server, node, tmp_path):
    with node.reading() as first, node.reading() as second:
        server.publish(write_bundle(tmp_path / "two", words="two"))
        node.sync()
        with node.reading() as third:
            assert first is second is not third
        assert not first.closed and not third.closed
    assert first.closed and not third.closed


@pytest.fixture
def elsewhere(server, node, tmp_path):
    """Publish a bundle and install it by another process's node over the same home."""

    def install(words):
        bundle = write_bundle(tmp_path / words, words=words)
        server.publish(bundle)
        with EdgeNode.open(tmp_path / "device", transport=server.transport) as other:
            other.sync()
        return bundle

    return install


@pytest.fixture
def now(node):
    """The clock of the node."""
    clock = [100.0]
    node._bundles._monotonic_s = lambda: clock[0]
    return clock


def test_sync_of_another_process_is_noticed_within_a_second(node, elsewhere, now):
    old = node.recommender
    assert node.recommender is old
    new = elsewhere("two")
    with node.reading() as held:
        assert held is old
        now[0] += 1.0
        assert node.recommender.bundle.bundle_id == new.bundle_id and not old.closed
    assert old.closed and node.recommender is node.recommender
    unread = node.recommender
    elsewhere("three")
    now[0] += 1.0
    assert node.recommender is not unread and unread.closed


def test_look_for_another_bundle_is_one_system_call_twice_a_second(node, elsewhere, now, monkeypatch):
    looks = []
    lstat = os.lstat
    monkeypatch.setattr("edge_runtime.updates.slots.os.lstat", lambda path: looks.append(path) or lstat(path))
    _ = node.recommender
    looks.clear()
    for _ in range(64):
        now[0] += 0.125
        _ = node.recommender
    assert len(looks) == 16


def test_bundle_of_another_process_that_does_not_open_leaves_the_open_one_answering(node, elsewhere, now, tmp_path):
    old = node.recommender
    elsewhere("two")
    for link in ("current", "previous"):
        (tmp_path / "device" / link / "manifest.json").unlink()
    now[0] += 1.0
    assert node.recommender is old and not old.closed


def test_lost_link_leaves_the_open_bundle_answering(node, now, tmp_path):
    old = node.recommender
    (tmp_path / "device" / "current").unlink()
    now[0] += 1.0
    assert node.recommender is old and not old.closed


def test_click_after_a_switch_is_told_of_the_variant_that_ranked_the_page(server, node, tmp_path):
    SlowRecommender.may_answer.set()
    server.publish(write_bundle(tmp_path / "two", words="two"), staged=True)
    started = server.services.experiments.start(
        channel="stable", name="x", variants=[VariantOffer("old", 1, 0.01), VariantOffer("new", 2, 0.99)], actor="ann"
    )
    server.services.offers.forget()
    node.sync()
    page = node.search("lamp")
    variant = node.status().installed.variant
    server.services.experiments.stop(started.id, actor="ann")
    server.publish(write_bundle(tmp_path / "three", words="three"))
    server.services.offers.forget()
    node.sync()
    assert node.status().installed.variant is None
    told = node._bundles.tagged(page.action("click", page.products[0].product_id, 1.0))
    assert (told.experiment, told.variant) == (started.id, variant)
    other = FeedbackEvent(kind="click", product_id="p", timestamp_s=1.0, bundle_id=node.search("x").bundle_id)
    assert node._bundles.tagged(other).experiment is None


def test_events_of_many_threads_are_each_kept_once_while_others_are_sent(server, node):
    SlowRecommender.may_answer.set()

    def search(number):
        node.search(f"query {number}")

    with ThreadPoolExecutor(5) as pool:
        syncing = pool.submit(lambda: [node.sync() for _ in range(8)])
        list(pool.map(search, range(32)))
        syncing.result()
    node.sync()
    assert server.ingest.count_events() == 32 and node.status().queue.waiting == 0
