"""Counts under local differential privacy, from the device's book to the server's estimate."""

import base64
import json
import random

import msgspec
import numpy as np
import pytest

from edge_runtime.contract.counts import BITS, HASHES, CountReport, bit_of, check_report, flip_probability
from edge_runtime.contract.errors import ConfigError, DownloadError
from edge_runtime.contract.events import FeedbackEvent
from edge_runtime.feedback.private_counts import CountBook, CountSettings, Randomizer, make_report, send_counts
from edge_runtime.feedback.server_client import ServerClient
from pocketrec.verbs import main
from sync_server.events.private_counts import CountSums, sum_reports
from tests.support.server_simulator import URL
from tests.unit.sync_server.api.test_feedback_endpoint import CREDENTIAL, enroll

DAY_S = 86_400


pytestmark = pytest.mark.usefixtures("database_url")


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
    assert send_counts(book, client) == 1  # the window before, in which nothing happened
    assert send_counts(book, client) == 0
    clock[0] += DAY_S
    book.close_windows(device_id)
    ((window, body),) = book.waiting()
    sent = json.loads(body)
    assert window == 10 and set(sent) == {*CountReport.__struct_fields__}
    assert b"p1" not in body and b"private" not in body
    assert 150 < np.unpackbits(np.frombuffer(base64.b64decode(sent["bits"]), np.uint8)).sum() < 400
    assert send_counts(book, client) == 1
    clock[0] -= 3 * DAY_S
    assert send_counts(book, client) == 0
    assert sum_reports(server.engine).reports == 2


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
    assert send_counts(book, client) == 1
    assert sum_reports(server.engine).reports == 1


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
    assert sum_reports(server.engine).reports == 1


def test_erased_report_does_not_come_back(server, device_id):
    post(server, report(device_id=device_id))
    headers = {"Authorization": f"Bearer {CREDENTIAL}"}
    assert server.client.delete("/v1/feedback", headers=headers).json == {"events": 0, "count_reports": 1}
    assert post(server, report(device_id=device_id)).json["duplicate"]
    assert sum_reports(server.engine).reports == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"bits": ""},
        {"hash_number": HASHES},
        {"epsilon": 0.0},
        {"epsilon": 1e9},
        {"window": -1},
        {"window_s": 1},
        {"window": 9_000_000},
        {"query": "x"},
    ],
)
def test_malformed_report_is_refused(server, device_id, fields):
    assert post(server, report(device_id=device_id, **fields)).status_code == 400
    assert sum_reports(server.engine).reports == 0


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
