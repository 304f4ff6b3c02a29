"""Counts under local differential privacy, from the device's book to the server's estimate."""

import base64
import json
import random
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from sqlalchemy import insert

from edge_runtime.contract.counts import (
    BITS,
    HASHES,
    CountReport,
    CountSettings,
    bit_of,
    check_report,
    flip_probability,
)
from edge_runtime.contract.errors import ConfigError, DownloadError, HttpStatusError
from edge_runtime.contract.events import FeedbackEvent
from edge_runtime.feedback.private_counts import CountBook, Randomizer, make_report, send_counts
from edge_runtime.feedback.server_client import ServerClient
from edge_runtime.updates.http_transport import Answer
from pocketrec.verbs import main
from sync_server.config import ServerConfig
from sync_server.database.tables.counts import CountRow
from sync_server.errors import RequestError
from sync_server.events.private_counts import WAITING_WINDOWS, CountSums, sum_reports
from tests.support.server_simulator import URL
from tests.unit.sync_server.api.test_feedback_endpoint import CREDENTIAL, enroll

DAY_S = 86_400


pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture
def server(server):
    # In the middle of window 10, as the device's clock below.
    server.now = datetime.fromtimestamp(10.5 * DAY_S, UTC)
    return server


@pytest.fixture
def device_id(server):
    return enroll(server).json["device_id"]


@pytest.fixture
def clock():
    return [10.5 * DAY_S]


@pytest.fixture
def book(tmp_path, clock):
    opened = CountBook(tmp_path / "counts.sqlite", CountSettings(), clock_s=lambda: clock[0])
    yield opened
    opened.close()


def event(kind="click", product="p1"):
    return FeedbackEvent(kind=kind, product_id=product, timestamp_s=1.0, bundle_id="b", query="private words")


def report(**fields):
    values = {"version": 1, "device_id": "d", "window": 9, "window_s": DAY_S, "epsilon": 2.0, "hash_number": 0}
    return values | {"bits": base64.b64encode(bytes(BITS // 8)).decode()} | fields


def stored(server):
    return sum_reports(server.engine, server.config.counts).reports


def post(server, body):
    return server.client.post("/v1/counts", json=body, headers={"Authorization": f"Bearer {CREDENTIAL}"})


def test_noise_flips_each_bit_as_often_as_epsilon_says():
    randomize = Randomizer(2.0)
    flipped = np.mean([np.unpackbits(np.frombuffer(randomize(bytes(128)), np.uint8)).mean() for _ in range(60)])
    # 61,440 bits: the standard error of the mean is 0.0018.
    assert flipped == pytest.approx(flip_probability(2.0), abs=0.008)
    # Two rows of one true bit each differ in two places: the ratio of their probabilities is at most e^epsilon.
    keep, flip = 1 - flip_probability(2.0), flip_probability(2.0)
    assert (keep / flip) ** 2 == pytest.approx(np.exp(2.0))


def test_estimates_cover_the_true_counts_and_say_how_sure_they_are():
    chance = np.random.default_rng(5)
    truth = {"big": 3_000, "middle": 800, "none": 0}
    sums, flip = CountSums(), flip_probability(2.0)
    products = ["big"] * 3_000 + ["middle"] * 800 + [f"other{i % 100}" for i in range(2_200)] + [None] * 2_000
    for product in products:
        number = int(chance.integers(HASHES))
        row = np.zeros(BITS, np.uint8)
        if product is not None:
            row[bit_of("click", product, number)] = 1
        noisy = row ^ (chance.random(BITS) < flip)
        sums.add(number, 2.0, np.packbits(noisy, bitorder="little").tobytes())
    for one in sums.estimate(list(truth), "click"):
        assert one.low <= truth[one.product_id] <= one.high
        assert one.high - one.low < 1_000
    assert sums.estimate(["big"], "purchase")[0].low < 0 < sums.estimate(["big"], "click")[0].low


def test_intervals_cover_as_often_as_they_say():
    chance = np.random.default_rng(6)
    covered = 0
    numbers = chance.integers(HASHES, size=1_000)
    bits = {number: bit_of("click", "p", number) for number in range(HASHES)}
    for _ in range(60):
        sums = CountSums(reports=1_000)
        for number in numbers:
            row = np.zeros(BITS)
            row[bits[int(number)]] = 1
            noisy = (row != (chance.random(BITS) < 0.2)) * 1.0
            sums._sums[number] += (noisy - 0.2) / 0.6
        one = sums.estimate(["p"], "click")[0]
        covered += one.low <= 1_000 <= one.high
    assert covered >= 52


def test_device_sends_one_noisy_row_a_window_and_nothing_else(server, device_id, book, clock):
    for product in ("p1", "p2"):
        assert book.record(event(product=product))
    assert not book.record(event("impression"))
    client = ServerClient(server.transport, URL, device_id, CREDENTIAL)
    assert send_counts(book, client).sent == 1  # the window before, in which nothing happened
    assert send_counts(book, client).sent == 0
    clock[0] += DAY_S
    book.close_windows(device_id)
    ((window, body),) = book.waiting()
    sent = json.loads(body)
    assert window == 10 and set(sent) == {*CountReport.__struct_fields__}
    assert b"p1" not in body and b"private" not in body
    assert 150 < np.unpackbits(np.frombuffer(base64.b64decode(sent["bits"]), np.uint8)).sum() < 400
    assert send_counts(book, client).sent == 1
    clock[0] -= 3 * DAY_S
    assert send_counts(book, client).sent == 0
    assert stored(server) == 2


def test_report_is_sent_unchanged_until_it_is_acknowledged(server, device_id, book, clock):
    clock[0] += DAY_S
    bodies = []

    def lost(_method, path, answer):
        raise DownloadError("the receipt was lost")

    server.transport.fault = lost
    client = ServerClient(server.transport, URL, device_id, CREDENTIAL)
    for _ in range(2):
        with pytest.raises(DownloadError):
            send_counts(book, client)
        bodies.append(book.waiting())
    assert bodies[0] == bodies[1] and len(bodies[0]) == 1
    server.transport.fault = lambda _m, _p, answer: answer
    assert send_counts(book, client).sent == 1
    assert stored(server) == 1


def test_forgetting_leaves_no_product_on_the_disk(tmp_path, book):
    book.record(event(product="secret-product"))
    assert book.forget() == 1
    assert b"secret-product" not in b"".join(path.read_bytes() for path in tmp_path.glob("counts.sqlite*"))


def test_a_report_has_at_most_one_true_bit():
    cells = [("click", "a"), ("purchase", "b"), ("dismissal", "c")]
    for number in (0, 3):
        made = make_report(
            cells[:number], device_id="d", window=1, settings=CountSettings(), randomize=lambda bits: bits
        )
        assert np.unpackbits(np.frombuffer(made.bits, np.uint8)).sum() == min(number, 1)


def test_replayed_report_is_counted_once_even_with_other_bits(server, device_id):
    assert post(server, report(device_id=device_id)).json == {"window": 9, "duplicate": False}
    other = base64.b64encode(random.Random(1).randbytes(BITS // 8)).decode()
    assert post(server, report(device_id=device_id, bits=other)).json["duplicate"]
    assert stored(server) == 1


def test_erased_report_does_not_come_back(server, device_id):
    post(server, report(device_id=device_id))
    headers = {"Authorization": f"Bearer {CREDENTIAL}"}
    assert server.client.delete("/v1/feedback", headers=headers).json == {"events": 0, "count_reports": 1}
    assert post(server, report(device_id=device_id)).json["duplicate"]
    assert stored(server) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"bits": ""},
        {"hash_number": HASHES},
        {"epsilon": 0.0},
        {"epsilon": 1e9},
        {"window": -1},
        {"window_s": 1},
        {"query": "x"},
    ],
)
def test_malformed_report_is_refused(server, device_id, fields):
    assert post(server, report(device_id=device_id, **fields)).status_code == 400
    assert stored(server) == 0


@pytest.mark.parametrize("fields", [{"epsilon": 1e-17}, {"epsilon": 10.0}, {"window_s": 3_600, "window": 9 * 24}])
def test_report_of_another_policy_is_refused_and_says_which_is_expected(server, device_id, fields):
    answer = post(server, report(device_id=device_id, **fields))
    assert answer.status_code == 200 and "epsilon 2 and windows of 86400 s" in answer.json["refused"]
    assert stored(server) == 0


def test_reports_of_the_last_windows_only_are_taken(server, device_id):
    taken = [
        window for window in range(30) if "refused" not in post(server, report(device_id=device_id, window=window)).json
    ]
    assert taken == list(range(10 - WAITING_WINDOWS, 11)) and stored(server) == len(taken)


def test_forged_reports_of_one_device_shift_an_estimate_by_no_more_than_honest_ones_could(server, device_id):
    bits = bytearray(BITS // 8)
    bit = bit_of("click", "evil", 0)
    bits[bit // 8] = 1 << (bit % 8)
    forged = base64.b64encode(bytes(bits)).decode()
    # As many as the limit of requests lets through in a minute.
    policies = [(epsilon, DAY_S) for epsilon in (2.0, 1e-3, 1e-17)] + [(2.0, 60)]
    for epsilon, window_s in policies:
        for window in (0, *range(2, 13), 100_000_000):
            post(server, report(device_id=device_id, window=window, window_s=window_s, epsilon=epsilon, bits=forged))
    sums = sum_reports(server.engine, server.config.counts)
    # One report a window; the noise alone moves a bit by 1 / (1 - 2q) from one honest report to the next.
    windows, step = WAITING_WINDOWS + 1, BITS / (BITS - 1) / (1 - 2 * flip_probability(2.0))
    assert sums.reports == windows
    assert sums.estimate(["evil"], "click")[0].count <= windows * step


def test_stored_reports_of_another_policy_are_left_out_of_estimates(server, device_id):
    post(server, report(device_id=device_id))
    with server.engine.begin() as connection:
        odd = {"device_id": device_id, "window_s": DAY_S, "hash_number": 0, "received_at_s": 0.0, "bits": b"\xff" * 128}
        for window, epsilon in enumerate((1e-17, 1e-6, 10.0)):
            connection.execute(insert(CountRow).values(odd | {"window_number": window, "epsilon": epsilon}))
    sums = sum_reports(server.engine, server.config.counts)
    assert sums.reports == 1 and np.isfinite(sums.estimate(["p"], "click")[0].high)


def test_device_drops_a_report_that_the_server_refuses_and_says_why(server, device_id, tmp_path, clock):
    opened = CountBook(tmp_path / "odd.sqlite", CountSettings(epsilon=1.0), clock_s=lambda: clock[0])
    client = ServerClient(server.transport, URL, device_id, CREDENTIAL)
    told = send_counts(opened, client)
    assert told.sent == 0 and "change counts in the device's node.json" in told.refused[0]
    assert not opened.waiting() and stored(server) == 0
    opened.close()


@pytest.mark.parametrize("status", [400, 413, 422])
def test_report_that_the_server_calls_malformed_blocks_no_later_one(server, device_id, book, clock, status):
    server.transport.fault = lambda _method, _path, _answer: Answer(status, {}, iter([b'{"error":"bits: too few"}']))
    client = ServerClient(server.transport, URL, device_id, CREDENTIAL)
    told = send_counts(book, client)
    assert told.sent == 0 and "bits: too few" in told.refused[0] and not book.waiting()
    server.transport.fault = lambda _method, _path, answer: answer
    clock[0] += DAY_S
    server.pass_time(days=1)
    assert send_counts(book, client).sent == 1 and not book.waiting()


@pytest.mark.parametrize("status", [401, 429, 500])
def test_report_that_the_server_cannot_take_now_waits(server, device_id, book, status):
    server.transport.fault = lambda _method, _path, _answer: Answer(status, {}, iter([b""]))
    with pytest.raises(HttpStatusError):
        send_counts(book, ServerClient(server.transport, URL, device_id, CREDENTIAL))
    assert len(book.waiting()) == 1


def test_changed_length_of_windows_goes_on_at_once_and_keeps_nothing_of_the_old_ones(tmp_path, clock):
    for window_s in (3_600, DAY_S, 3_600):
        clock[0] += 2 * DAY_S
        opened = CountBook(tmp_path / "counts.sqlite", CountSettings(window_s=window_s), clock_s=lambda: clock[0])
        assert opened.forget() == 0
        opened.close_windows("d")
        assert len(opened.waiting()) == 1
        opened.record(event())
        opened.close()


def test_requests_about_counts_reports_and_stored_data_are_limited(server, device_id, monkeypatch):
    asked = []

    def refuse(action, who, *, per_minute):
        asked.append((action, who, per_minute))
        raise RequestError("too many requests", status_code=429)

    monkeypatch.setattr(server.services.rates, "take", refuse)
    headers = {"Authorization": f"Bearer {CREDENTIAL}"}
    wanted = (("POST", "/v1/counts"), ("POST", "/v1/reports"), ("GET", "/v1/feedback"), ("DELETE", "/v1/feedback"))
    for method, path in wanted:
        answer = server.client.open(path, method=method, headers=headers)
        assert answer.status_code == 429 and answer.headers["Retry-After"] == "60"
    limits = [("counts", 60), ("reports", 60), ("data", 10), ("data", 10)]
    assert asked == [(action, device_id, per_minute) for action, per_minute in limits]


def test_settings_of_counts_are_checked():
    with pytest.raises(ConfigError, match="epsilon"):
        ServerConfig(counts_epsilon=0.0)


def test_report_of_another_device_is_refused(server, device_id):
    assert post(server, report(device_id="other")).status_code == 403


def test_settings_without_a_meaning_are_refused():
    for fields in ({"epsilon": 0.0}, {"epsilon": 11.0}, {"window_s": 5}):
        with pytest.raises(ConfigError):
            CountSettings(**fields)


def test_level_without_opendp_is_refused_by_one_sentence(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("edge_runtime.feedback.private_counts.importlib.import_module", missing)
    with pytest.raises(ConfigError, match=r"pocketrec\[counts\]"):
        Randomizer(2.0)


def test_command_shows_estimates_with_intervals(server, device_id, tmp_path, capsys):
    post(server, report(device_id=device_id))
    (tmp_path / "ids.txt").write_text("p1\np2\n")
    home = ["--config", str(server.settings_file())]
    assert main(["feedback", "counts", "--products", str(tmp_path / "ids.txt"), *home]) == 0
    assert "95% interval" in capsys.readouterr().out
    assert main(["feedback", "counts", "--products", str(tmp_path / "ids.txt"), "--json", *home]) == 0
    answer = msgspec.json.decode(capsys.readouterr().out)
    assert answer["reports_by_epsilon"] == {"2.0": 1} and len(answer["estimates"]) == 2
    assert main(["feedback", "counts", "--products", str(tmp_path / "none"), *home]) == 1


def test_windows_of_a_minute_are_accepted():
    now_s = 1_800_000_000
    settings = CountSettings(window_s=60)
    report = make_report([], device_id="d", window=now_s // 60, settings=settings, randomize=bytes)
    check_report(report)
