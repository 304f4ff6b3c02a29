"""Devices and their feedback over HTTP: identity, exactly once, limits."""

import json
import logging

import pytest
import zstandard
from sqlalchemy import select

from edge_runtime.contract.errors import ConfigError, HttpStatusError
from edge_runtime.contract.events import FeedbackEvent
from edge_runtime.feedback.event_queue import FeedbackQueue, send_feedback
from edge_runtime.feedback.server_client import ServerClient
from sync_server.config import ServerConfig
from sync_server.database.engine import empty_log
from sync_server.database.schema import METADATA
from sync_server.events.json_lines import export_json_lines
from sync_server.hosting.logs import JsonLines, log_as_json
from tests.support.server_simulator import URL, ServerSimulator

CREDENTIAL = "c" * 43


pytestmark = pytest.mark.usefixtures("database_url")


def enroll(server, credential=CREDENTIAL, code=None):
    code = code or server.enrollment.new_code(valid_days=7)
    return server.client.post("/v1/devices/enroll", json={"code": code, "credential": credential})


@pytest.fixture
def device_id(server):
    return enroll(server).json["device_id"]


def item(sequence, **fields):
    event = {"kind": "click", "product_id": "p1", "timestamp_s": 1.0, "bundle_id": "b", **fields}
    return {"sequence": sequence, "event": event}


def post(server, device_id, items, credential=CREDENTIAL, **extra):
    body = {"version": 1, "device_id": device_id, "events": items, **extra}
    return server.client.post("/v1/feedback", json=body, headers={"Authorization": f"Bearer {credential}"})


def test_batch_is_stored(server, device_id):
    answer = post(server, device_id, [item(1), item(2, position=3, propensity=0.5, query="lamp")])
    assert answer.status_code == 200
    assert answer.json == {"acknowledged": 2, "stored": 2, "duplicates": 0, "refused": []}
    assert server.ingest.count_events() == 2


def test_replayed_batch_is_counted_once(server, device_id):
    post(server, device_id, [item(1), item(2)])
    assert post(server, device_id, [item(1), item(2)]).json["duplicates"] == 2
    overlap = post(server, device_id, [item(2), item(3)]).json
    assert (overlap["stored"], overlap["duplicates"], overlap["acknowledged"]) == (1, 1, 3)
    assert server.ingest.count_events() == 3


def test_two_devices_may_use_the_same_numbers(server, device_id):
    other = enroll(server, credential="d" * 43).json["device_id"]
    assert other != device_id
    post(server, device_id, [item(1)])
    assert post(server, other, [item(1)], credential="d" * 43).json["stored"] == 1


def test_forged_device_id_is_refused(server, device_id):
    other = enroll(server, credential="d" * 43).json["device_id"]
    answer = post(server, other, [item(1)])
    assert answer.status_code == 403 and "another device" in answer.json["error"]
    assert server.ingest.count_events() == 0


@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer wrong", "Basic abc"])
def test_unknown_credential_is_refused(server, device_id, header):
    headers = {"Authorization": header} if header else {}
    answer = server.client.post("/v1/feedback", json={}, headers=headers)
    assert answer.status_code == 401


def test_malformed_event_is_refused_alone_and_acknowledged(server, device_id):
    answer = post(server, device_id, [item(1), item(2, propensity=7.0), item(3)]).json
    assert (answer["stored"], answer["acknowledged"]) == (2, 3)
    assert answer["refused"] == ["event 2: propensity: expected a probability in (0, 1], got 7.0"]


@pytest.mark.parametrize("numbers", [[], [2, 1], [1, 1], [0], [-5], [2**62 + 1]])
def test_numbers_that_do_not_rise_from_one_are_refused(server, device_id, numbers):
    answer = post(server, device_id, [item(number) for number in numbers])
    assert answer.status_code == 400 and "rising" in answer.json["error"]
    assert server.ingest.count_events() == 0


def test_unknown_fields_of_a_newer_client_are_ignored(server, device_id):
    consent = {"level": "events", "given_at_s": 1.0, "asked_by": "app"}
    assert post(server, device_id, [item(1, email="x")], app_version=7, consent=consent).json["stored"] == 1
    assert post(server, device_id, [{**item(2), "tab": 3}]).json["stored"] == 1


def test_event_of_an_unknown_kind_is_stored_and_counted_with_its_batch(server, device_id):
    answer = post(server, device_id, [item(1), item(2, kind="wishlist"), item(3)]).json
    assert (answer["stored"], answer["refused"]) == (3, [])
    assert "pocketrec_feedback_unknown_kinds_total 1.0" in server.client.get("/metrics").text


@pytest.mark.parametrize("kind", ["", "Click", "../up", "a=b", "k" * 41, "kind\n"])
def test_kind_that_is_no_plain_word_is_refused_alone(server, device_id, kind):
    answer = post(server, device_id, [item(1), item(2, kind=kind)]).json
    assert (answer["stored"], answer["acknowledged"]) == (1, 2)
    assert answer["refused"][0].startswith("event 2: kind: expected a word")


def test_body_that_is_not_json_is_refused(server, device_id):
    answer = server.client.post("/v1/feedback", data=b"\xff{", headers={"Authorization": f"Bearer {CREDENTIAL}"})
    assert answer.status_code == 400 and "error" in answer.json


def test_oversized_body_is_refused(server, device_id):
    body = b" " * (ServerConfig().max_feedback_bytes + 1)
    answer = server.client.post("/v1/feedback", data=body, headers={"Authorization": f"Bearer {CREDENTIAL}"})
    assert answer.status_code == 413


def test_too_many_events_are_refused(server, device_id):
    answer = post(server, device_id, [item(number) for number in range(1, 1_002)])
    assert answer.status_code == 413
    assert server.ingest.count_events() == 0


def test_oversized_enrollment_is_refused(server):
    assert enroll(server, credential="c" * 5_000).status_code == 413


def test_code_works_once(server):
    code = server.enrollment.new_code(valid_days=7)
    assert enroll(server, code=code).status_code == 201
    answer = enroll(server, credential="d" * 43, code=code)
    assert answer.status_code == 403 and "used already" in answer.json["error"]


def test_lost_answer_to_an_enrollment_can_be_asked_for_again(server):
    code = server.enrollment.new_code(valid_days=7)
    first, again = enroll(server, code=code), enroll(server, code=code)
    assert first.json == again.json


def test_expired_or_unknown_code_is_refused(server):
    code = server.enrollment.new_code(valid_days=7)
    server.pass_time(days=8)
    assert enroll(server, code=code).status_code == 403
    assert enroll(server, code="guess").status_code == 403


def test_short_credential_is_refused(server):
    assert enroll(server, credential="short").status_code == 400


def test_secrets_are_not_in_the_database(server, device_id):
    code = server.enrollment.new_code(valid_days=7)
    with server.engine.connect() as connection:
        tables = [connection.execute(select(table)).all() for table in METADATA.sorted_tables]
    assert device_id in str(tables)
    assert CREDENTIAL not in str(tables) and code not in str(tables)


def test_export_is_one_line_of_json_per_event(server, device_id, tmp_path):
    post(server, device_id, [item(1), item(2, query="lamp", position=1)])
    path = tmp_path / "events.jsonl"
    assert export_json_lines(server.engine, path) == 2
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["sequence"] for line in lines] == [1, 2]
    assert lines[1]["query"] == "lamp" and "query" not in lines[0]


def test_log_line_says_route_and_device_but_no_query_text(server, device_id, caplog):
    caplog.set_level(logging.INFO, logger="sync_server")
    post(server, device_id, [item(1, query="private words")])
    server.client.get("/healthz?q=private+words")
    text = "\n".join(JsonLines().format(record) for record in caplog.records)
    assert "/v1/feedback" in text and device_id in text
    assert "private" not in text and CREDENTIAL not in text
    line = json.loads(text.splitlines()[0])
    assert (line["method"], line["status"], line["level"]) == ("POST", 200, "INFO")


def test_log_goes_to_stderr_as_lines_of_json(capsys):
    logger = logging.getLogger("sync_server")
    before = (logger.handlers, logger.propagate, logger.level)
    try:
        log_as_json()
        try:
            raise ValueError("inside")
        except ValueError as error:
            logging.getLogger("sync_server.app").error("unforeseen", exc_info=error)
    finally:
        logger.handlers, logger.propagate = before[0], before[1]
        logger.setLevel(before[2])
    line = json.loads(capsys.readouterr().err)
    assert line["message"] == "unforeseen" and "ValueError: inside" in line["trace"]


def test_readers_do_not_wait_for_a_writer(server, device_id):
    with server.engine.begin():
        assert server.enrollment.device_of(CREDENTIAL) == device_id
        assert server.ingest.count_events() == 0


def packed(server, body, encoding="zstd"):
    headers = {"Authorization": f"Bearer {CREDENTIAL}", "Content-Encoding": encoding}
    return server.client.post("/v1/feedback", data=body, headers=headers)


def test_compressed_body_is_read(server, device_id):
    body = json.dumps({"version": 1, "device_id": device_id, "events": [item(1), item(2)]}).encode()
    assert packed(server, zstandard.ZstdCompressor().compress(body)).json["stored"] == 2


def test_compressed_bomb_is_not_unpacked(server, device_id):
    bomb = zstandard.ZstdCompressor().compress(b" " * 200_000_000)
    assert len(bomb) < 20_000
    assert packed(server, bomb).status_code == 413


def test_damaged_or_unknown_compression_is_refused(server, device_id):
    whole = zstandard.ZstdCompressor().compress(b"{}" * 1_000)
    assert packed(server, b"\x28\xb5\x2f\xfd" + b"\xff" * 50).status_code == 400
    assert packed(server, whole[:-5]).status_code == 400
    assert packed(server, whole, encoding="br").status_code == 415
    assert server.ingest.count_events() == 0


def test_wrong_device_clock_is_corrected_and_no_event_lies_in_the_future(server, device_id, tmp_path):
    now = server.services.clock_s()
    year = 365 * 86_400.0
    items = [item(1, timestamp_s=now - year - 60), item(2, timestamp_s=now + year)]
    post(server, device_id, items, sent_at_s=now - year)
    post(server, device_id, [item(3, timestamp_s=now - 50)], sent_at_s=now - 30)
    export_json_lines(server.engine, tmp_path / "events.jsonl")
    times = [json.loads(line)["timestamp_s"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert times == pytest.approx([now - 60, now, now - 50], abs=5)


def test_context_of_an_event_is_stored_and_checked(server, device_id, tmp_path):
    context = {
        "position": 2,
        "rank": 1,
        "propensity": 0.25,
        "page_propensity": 0.9,
        "list_id": "l",
        "experiment": "e",
        "variant": "new",
        "team": "a",
    }
    post(server, device_id, [item(1, **context)])
    export_json_lines(server.engine, tmp_path / "events.jsonl")
    assert context.items() <= json.loads((tmp_path / "events.jsonl").read_text()).items()
    forged = [item(2, page_propensity=0.0), item(3, rank=0), item(4, position=2**40), item(5, product_id="p\x00")]
    answer = post(server, device_id, forged).json
    assert answer["stored"] == 0 and len(answer["refused"]) == 4
    assert post(server, device_id, [item(6, team="c")]).status_code == 400


def test_batches_out_of_order_are_stored_once_each(server, device_id):
    for numbers in ([3, 4], [1, 2], [4, 5], [1, 5, 6]):
        assert post(server, device_id, [item(number) for number in numbers]).status_code == 200
    assert server.ingest.count_events() == 6


@pytest.fixture
def small(tmp_path):
    """A server whose devices may send two events or reports in a day."""
    simulator = ServerSimulator(tmp_path / "small", max_feedback_events=2, feedback_events_per_day=2)
    yield simulator
    simulator.close()


def test_device_over_its_quota_keeps_its_events_and_sends_them_the_next_day(small, tmp_path):
    client = ServerClient(small.transport, URL, enroll(small).json["device_id"], CREDENTIAL)
    click = FeedbackEvent(kind="click", product_id="p", timestamp_s=1.0, bundle_id="b")
    with FeedbackQueue(tmp_path / "queue.sqlite") as queue:
        queue.record_all([click, click])
        assert send_feedback(queue, client).sent == 2
        queue.record(click)
        with pytest.raises(HttpStatusError, match="in a day") as later:
            send_feedback(queue, client)
        assert later.value.status_code == 429 and 0 < later.value.retry_after_s <= 3_600
        assert queue.status().waiting == 1
        small.pass_time(days=1)
        assert send_feedback(queue, client).sent == 1
    assert small.ingest.count_events() == 3


def test_reports_count_towards_the_same_quota(small):
    device_id = enroll(small).json["device_id"]
    headers = {"Authorization": f"Bearer {CREDENTIAL}"}
    one = {"kind": "crashed", "channel": "stable", "release": 1, "bundle_id": "b", "timestamp_s": 1.0}
    statuses = []
    for number in range(1, 5):
        body = {"version": 1, "device_id": device_id, "reports": [one | {"number": number}]}
        statuses.append(small.client.post("/v1/reports", json=body, headers=headers).status_code)
    assert statuses == [200, 200, 429, 429]


def test_bodies_that_pack_well_grow_the_database_by_no_more_than_the_quota(tmp_path):
    quota = 3_000_000
    server = ServerSimulator(tmp_path / "packed", feedback_bytes_per_day=quota)
    device_id = enroll(server).json["device_id"]
    file = server.config.home / "server.sqlite"
    before = file.stat().st_size
    statuses, sent = [], 0
    for first in range(1, 20 * 400, 400):
        items = [item(number, query="x" * 2_000) for number in range(first, first + 400)]
        body = json.dumps({"version": 1, "device_id": device_id, "events": items}).encode()
        body = zstandard.ZstdCompressor().compress(body)
        sent += len(body)
        statuses.append(packed(server, body).status_code)
    assert empty_log(server.engine)
    assert statuses == [200] * 3 + [429] * 17 and sent < 100_000
    # A row with so long a text has a page of 4,096 bytes to itself.
    assert file.stat().st_size - before < 2 * quota
    server.close()


def test_quota_below_one_batch_is_refused():
    with pytest.raises(ConfigError, match="max_feedback_events"):
        ServerConfig(feedback_events_per_day=999)
