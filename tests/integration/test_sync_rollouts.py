"""Devices and server together: a staged release reaches its share, halts itself, and its devices go back."""

import io
import itertools
import json
import secrets
import threading

import pytest

from edge_runtime import node as node_module
from edge_runtime.contract.cohort import in_share
from edge_runtime.contract.errors import DownloadError
from edge_runtime.contract.events import FeedbackEvent
from edge_runtime.contract.offer import VariantOffer
from edge_runtime.node import EdgeNode, enroll
from pocketrec.verbs import main
from sync_server.database.tables.devices import DeviceReportRow
from sync_server.errors import RequestError
from sync_server.rollouts.plan import RolloutPlan
from sync_server.rollouts.scheduler import run_scheduler
from tests.support.fake_recommender import FakeRecommender
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import URL

EVERYONE = RolloutPlan(stages=(100.0,), soak_hours=1)


@pytest.fixture(autouse=True)
def _fake_recommender(monkeypatch):
    monkeypatch.setattr(node_module, "Recommender", FakeRecommender)


@pytest.fixture
def server(server, tmp_path):
    server.publish(write_bundle(tmp_path / "one", words="one"))
    return server


def device(server, home, **options):
    code = server.enrollment.new_code(valid_days=7)
    enroll(home, server_url=URL, trusted_root=server.root, code=code, transport=server.transport, **options)
    return EdgeNode.open(home, transport=server.transport)


def sync_all(nodes):
    for node in nodes:
        node.sync()
    return [node.status().installed.release for node in nodes]


@pytest.fixture
def counted_names(monkeypatch):
    """Devices and rollouts get ids that count up instead of random ones: the same devices belong to a share each time."""
    count = itertools.count(1)
    monkeypatch.setattr(secrets, "token_hex", lambda size: f"{next(count):0{2 * size}x}")


@pytest.fixture
def nodes(counted_names, server, tmp_path):
    made = [device(server, tmp_path / f"device{number}") for number in range(10)]
    yield made
    for node in made:
        node.close()


def test_staged_release_reaches_its_share_of_devices_and_they_go_back_when_it_is_halted(server, nodes, tmp_path):
    assert sync_all(nodes) == [1] * 10
    server.publish(write_bundle(tmp_path / "two", words="two"), staged=True)
    assert sync_all(nodes) == [1] * 10, "a staged release waits for its rollout"
    rollout = server.services.rollouts.start(
        channel="stable", release=None, plan=RolloutPlan(stages=(50.0, 100.0)), actor="ann"
    )
    server.services.offers.forget()
    some = sync_all(nodes)
    device_ids = [node.settings.device_id for node in nodes]
    assert some == [2 if in_share(rollout.id, device_id, 0.5) else 1 for device_id in device_ids]
    assert set(some) == {1, 2}
    assert sync_all(nodes) == some
    server.services.rollouts.act(rollout.id, "halt", actor="ann")
    server.services.offers.forget()
    assert sync_all(nodes) == [1] * 10
    counts = {row.release: row.devices for row in server.services.reports.releases()}
    assert counts == {1: 10}


def test_release_that_fails_its_proof_stops_its_own_rollout(server, tmp_path):
    nodes = [device(server, tmp_path / f"device{number}") for number in range(6)]
    sync_all(nodes)
    server.publish(write_bundle(tmp_path / "bad", words="wrong"), staged=True)
    rollout = server.services.rollouts.start(channel="stable", release=2, plan=EVERYONE, actor="ann")
    server.services.offers.forget()
    for node in nodes * 2:
        with pytest.raises(Exception, match=r"wrong answers|did not work on this device before"):
            node.sync()
    halted = server.services.rollouts.tick()[0]
    assert (halted.id, halted.state) == (rollout.id, "halted") and "proof-failed" in halted.reason
    server.services.offers.forget()
    assert sync_all(nodes) == [1] * 6
    for node in nodes:
        node.close()


def test_failure_is_reported_once_although_every_sync_meets_it(server, tmp_path):
    node = device(server, tmp_path / "device")
    node.sync()
    server.publish(write_bundle(tmp_path / "bad", words="wrong"))
    for _ in range(3):
        with pytest.raises(Exception, match=r"wrong answers|did not work on this device before"):
            node.sync()
    with server.engine.connect() as connection:
        kinds = connection.execute(DeviceReportRow.__table__.select().order_by(DeviceReportRow.id)).all()
    assert [(row.kind, row.release, row.error) for row in kinds] == [
        ("installed", 1, None),
        ("proof_failed", 2, "GoldenMismatchError"),
    ]
    assert kinds[0].latency_ms > 0
    node.close()


def test_device_at_level_off_reports_nothing(server, tmp_path):
    with device(server, tmp_path / "device", privacy="off") as node:
        node.sync()
    assert server.services.reports.releases() == []


def test_lost_receipt_of_reports_counts_them_once(server, tmp_path):
    node = device(server, tmp_path / "device")
    real = server.transport.fault

    def lose(_method, path, answer):
        if path.endswith("/reports"):
            raise DownloadError("the cable is out")
        return answer

    server.transport.fault = lose
    node.sync()
    server.transport.fault = real
    node.sync()
    assert [row.devices for row in server.services.reports.releases()] == [1]
    server.transport.requests.clear()
    node.sync()
    assert server.transport.requests == ["GET /v1/channels/stable/offer"], "an idle device asks once"
    node.close()


def test_events_carry_the_variant_of_the_device(server, nodes, tmp_path):
    server.publish(write_bundle(tmp_path / "two", words="two"), staged=True)
    arms = [VariantOffer("old", 1, 0.5), VariantOffer("new", 2, 0.5)]
    started = server.services.experiments.start(channel="stable", name="new model", variants=arms, actor="ann")
    server.services.offers.forget()
    have = sync_all(nodes)
    for node in nodes:
        bundle_id = node.status().installed.bundle_id
        for kind in ("impression", "click"):
            node.record(FeedbackEvent(kind=kind, product_id="p", timestamp_s=1.0, bundle_id=bundle_id))
    sync_all(nodes)
    found = {arm.name: arm for arm in server.services.experiments.find(started.id).arms}
    assert (found["old"].assigned, found["new"].assigned) == (have.count(1), have.count(2))
    assert found["new"].clicks == found["new"].impressions == have.count(2)
    server.services.experiments.stop(started.id, actor="ann")
    server.services.offers.forget()
    assert sync_all(nodes) == [1] * 10
    assert nodes[0].status().installed.variant is None


def test_false_name_that_an_older_version_kept_with_its_bundle_stops_neither_feedback_nor_reports(server, tmp_path):
    node = device(server, tmp_path / "device")
    node.sync()
    [record] = (tmp_path / "device" / "slots").glob("*.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "reason": "e" * 300, "arm": "a\x00"}))
    installed = node.status().installed
    assert (installed.release, installed.reason, installed.variant) == (1, None, None)
    node.record(FeedbackEvent(kind="click", product_id="p", timestamp_s=1.0, bundle_id=installed.bundle_id))
    server.publish(write_bundle(tmp_path / "two", words="two"))
    assert node.sync().feedback.sent == 1
    assert [row.release for row in server.services.reports.releases()] == [2]
    node.close()


def test_judging_goes_on_after_a_failure_and_makes_offers_anew(server, tmp_path, caplog):
    server.publish(write_bundle(tmp_path / "two", words="two"), staged=True)
    rollout = server.services.rollouts.start(channel="stable", release=2, plan=EVERYONE, actor="ann")
    stop, looks = threading.Event(), []

    class Failing:
        def tick(self):
            looks.append(1)
            if len(looks) == 1:
                raise DownloadError("not now")
            stop.set()
            return server.services.rollouts.tick()

    run_scheduler(stop, Failing(), server.services.offers, every_s=0.001)
    assert len(looks) == 2 and "not now" in caplog.text
    assert server.services.rollouts.find(rollout.id).judged_at_s > 0


def command(server, address, *words):
    token = server.config.home / "publisher.token"
    return main([*words[:2], *words[2:], "--server", address, "--token-file", str(token)])


def test_commands_move_a_rollout(server, address, tmp_path, capsys):
    server.publish(write_bundle(tmp_path / "two", words="two"), staged=True)
    assert command(server, address, "rollout", "status") == 0
    assert "no rollouts yet" in capsys.readouterr().out
    assert command(server, address, "rollout", "start", "--stages", "10,100", "--json") == 0
    started = json.loads(capsys.readouterr().out)
    assert (started["share"], started["release"]) == (0.1, 2)
    for action in ("pause", "resume", "advance", "halt"):
        assert command(server, address, "rollout", action, started["id"], "--reason", "a test") == 0
        assert "a test" in capsys.readouterr().out
    assert command(server, address, "rollout", "status", started["id"]) == 0
    assert capsys.readouterr().out.count("a test") == 5
    assert command(server, address, "rollout", "resume", started["id"]) == 1
    assert "is halted" in capsys.readouterr().err


def test_commands_run_an_experiment(server, address, tmp_path, capsys):
    server.publish(write_bundle(tmp_path / "two", words="two"), staged=True)
    arms = ("--arm", "old=1:0.5", "--arm", "new=2:0.5")
    assert command(server, address, "experiment", "start", "--name", "x", *arms, "--json") == 0
    started = json.loads(capsys.readouterr().out)["id"]
    assert command(server, address, "experiment", "status") == 0
    assert "new" in capsys.readouterr().out
    assert command(server, address, "experiment", "stop", started) == 0
    assert "ended" in capsys.readouterr().out
    assert command(server, address, "experiment", "status", started) == 0


def test_terminal_codes_of_a_server_are_not_printed_raw(server, address, capsys, monkeypatch):
    codes = "\x1b]0;owned\x07"

    def refusal(*_args, **_options):
        raise RequestError(f"no {codes}", status_code=400)

    monkeypatch.setattr(type(server.services.rollouts), "start", refusal)
    assert command(server, address, "rollout", "start") == 1
    told = capsys.readouterr().err
    assert "no \\x1b]0;owned\\x07" in told and "\x1b" not in told
    server.publish(write_bundle(server.folder / "two", words="two"), staged=True)
    monkeypatch.undo()
    assert command(server, address, "rollout", "start", "--json") == 0
    started = json.loads(capsys.readouterr().out)["id"]
    assert command(server, address, "rollout", "halt", started, "--reason", codes) == 0
    told = capsys.readouterr().out
    assert "\\x1b]0;owned\\x07" in told and "\x1b" not in told


@pytest.mark.parametrize(
    "words",
    [
        ("rollout", "start", "--stages", "ten"),
        ("rollout", "start", "--stages", "50"),
        ("rollout", "status", "rollout-0"),
        ("experiment", "start", "--name", "x", "--arm", "nonsense"),
        ("experiment", "stop", "experiment-0"),
    ],
)
def test_wrong_commands_are_one_sentence(server, address, words, capsys):
    assert command(server, address, *words) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"pocketrec {words[0]}: ") and error.count("\n") == 1


def test_key_does_not_travel_unprotected(server, capsys):
    assert command(server, "http://updates.example.com", "rollout", "status") == 1
    assert "plain http" in capsys.readouterr().err
    assert main(["rollout", "status", "--server", "http://127.0.0.1:1"]) == 1
    assert "API key" in capsys.readouterr().err
    assert command(server, "http://127.0.0.1:1", "rollout", "status") == 1
    assert "cannot reach" in capsys.readouterr().err


class Terminal(io.StringIO):
    """A terminal in which somebody has typed an answer."""

    def isatty(self):
        return True


def test_a_release_for_all_beside_a_rollout_is_asked_for(server, address, tmp_path, capsys, monkeypatch):
    server.publish(write_bundle(tmp_path / "two", words="two"), staged=True)
    assert command(server, address, "rollout", "start", "--json") == 0
    rollout = json.loads(capsys.readouterr().out)["id"]
    place = ("--keys", str(server.keys), "--no-deltas")

    def publish(name, *words):
        bundle = write_bundle(tmp_path / name, words=name)
        code = command(server, address, "publish", str(bundle.folder), *place, *words)
        return code, capsys.readouterr()

    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, said = publish("three")
    assert code == 1 and rollout in said.err and "--staged" in said.err and "--despite-rollout" in said.err
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert publish("three-again")[0] == 1
    # The same sentence from a command on the server's machine.
    local = ("publish", str(tmp_path / "three"), "--store", str(server.config.home), *place)
    assert main(list(local)) == 1 and rollout in capsys.readouterr().err
    assert server.services.rollouts.find(rollout).state == "running"
    assert publish("four", "--staged")[0] == 0
    assert publish("other-channel", "--channel", "other")[0] == 0
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert publish("five")[0] == 0


def test_a_release_for_all_beside_a_rollout_has_a_flag(server, address, tmp_path, capsys):
    server.publish(write_bundle(tmp_path / "two", words="two"), staged=True)
    assert command(server, address, "rollout", "start", "--json") == 0
    bundle = write_bundle(tmp_path / "three", words="three")
    words = ("publish", str(bundle.folder), "--keys", str(server.keys), "--no-deltas", "--despite-rollout")
    assert command(server, address, *words) == 0
