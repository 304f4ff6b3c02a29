"""A device with a real bundle: it searches, is updated under way, and refuses what it cannot reproduce."""

import json

import pytest

from edge_runtime.contract.bundle import GOLDEN_FILE, MANIFEST_FILE, decode_manifest, encode_manifest, open_bundle
from edge_runtime.contract.bundle import describe_file as describe
from edge_runtime.contract.errors import GoldenMismatchError
from edge_runtime.contract.events import FeedbackEvent
from edge_runtime.node import EdgeNode, enroll
from sync_server.events.json_lines import export_json_lines
from tests.support.server_simulator import URL
from tests.support.toy_bundle import make_toy_bundle


@pytest.fixture
def node(server, tmp_path):
    code = server.enrollment.new_code(valid_days=1)
    home = tmp_path / "device"
    enroll(home, server_url=URL, trusted_root=server.root, code=code, privacy="full", transport=server.transport)
    with EdgeNode.open(home, transport=server.transport) as opened:
        yield opened


def falsified(bundle):
    """The same bundle with golden vectors turned round, sealed again."""
    path = bundle.folder / GOLDEN_FILE
    golden = json.loads(path.read_bytes())
    for query in golden["queries"]:
        query["vector"] = [-value for value in query["vector"]]
    path.write_text(json.dumps(golden))
    manifest_path = bundle.folder / MANIFEST_FILE
    manifest = decode_manifest(manifest_path.read_bytes(), source="manifest")
    artifacts = [describe(bundle.folder / item.path) for item in manifest.artifacts]
    fields = {name: getattr(manifest, name) for name in manifest.__struct_fields__} | {"artifacts": artifacts}
    manifest_path.write_bytes(encode_manifest(type(manifest)(**fields)))
    return open_bundle(bundle.folder)


def test_device_searches_and_prices_change_without_a_new_model(server, node, tmp_path):
    server.publish(make_toy_bundle(tmp_path / "one"))
    node.sync()
    found = node.recommender.search("red lamp", k=3)
    assert len(found.product_ids) == 3
    two = make_toy_bundle(tmp_path / "two", version=2)
    server.publish(two)
    report = node.sync().update
    assert report.to_bundle_id == two.bundle_id and report.files_reused >= 3
    assert node.recommender.search("red lamp", k=3).product_ids == found.product_ids


def test_bundle_whose_golden_answers_differ_is_refused(server, node, tmp_path):
    one = make_toy_bundle(tmp_path / "one")
    server.publish(one)
    node.sync()
    server.publish(falsified(make_toy_bundle(tmp_path / "two", version=2)))
    with pytest.raises(GoldenMismatchError):
        node.sync()
    assert node.status().installed.bundle_id == one.bundle_id
    assert len(node.recommender.search("red lamp", k=3).product_ids) == 3


def test_click_on_an_answer_reaches_the_server(server, node, tmp_path):
    bundle = make_toy_bundle(tmp_path / "one")
    server.publish(bundle)
    node.sync()
    best = node.recommender.search("red lamp", k=1).product_ids[0]
    node.record(
        FeedbackEvent(
            kind="click", product_id=best, timestamp_s=1.0, bundle_id=bundle.bundle_id, position=1, query="red lamp"
        )
    )
    assert node.sync().feedback.sent == 1
    path = tmp_path / "events.jsonl"
    export_json_lines(server.engine, path)
    event = json.loads(path.read_text())
    assert (event["product_id"], event["bundle_id"], event["query"]) == (best, bundle.bundle_id, "red lamp")
