"""The learning loop's benchmark at a tiny size: what it collects and what its intervals hold is the known truth."""

from argparse import Namespace

import numpy as np
import pytest

from benchmarks.fleet import learning_loop
from benchmarks.fleet.learning_loop import POLICY, Taught, _best, asked_queries, collect, coverage
from benchmarks.fleet.simulated_users import log_of, people_of, seen_lists
from pocketrec.pipeline.retrain import RetrainReport
from pocketrec.pipeline.settings import RetrainSettings
from tests.support.shops import make_shop
from train.clicks.click_model import estimate_position_bias
from train.clicks.log import LogLimits, read_feedback_log
from train.clicks.off_policy import ESTIMATORS, compare_off_policy
from train.data.tables import Judgement, Product

PRODUCTS, PLACES = 30, 3
QUERIES = ("lamp", "table", "mug")
SETTINGS = RetrainSettings()


@pytest.fixture
def shop():
    products = [Product(f"p{row:02d}", f"thing {row}", brand=f"brand {row % 5}") for row in range(PRODUCTS)]
    chance = np.random.default_rng(2)
    return make_shop(
        products,
        judgements=[Judgement(query, row, float(chance.random())) for query in QUERIES for row in range(PRODUCTS)],
    )


@pytest.fixture
def people(shop):
    return people_of(shop, QUERIES, places=PLACES)


@pytest.fixture
def reserve(people):
    """What a bundle that knows nothing ranks: page and reserve."""
    return {query: list(people.attraction[query])[: POLICY.candidates(PLACES)] for query in people.queries}


@pytest.fixture
def base(reserve):
    return {query: ranked[:PLACES] for query, ranked in reserve.items()}


@pytest.fixture
def better(people, reserve):
    """The best of what randomized pages show."""
    return {
        query: sorted(ranked, key=lambda one: -people.attraction[query][one])[:PLACES]
        for query, ranked in reserve.items()
    }


@pytest.fixture
def options(tmp_path):
    return Namespace(work=tmp_path, devices=200, lists=3_000, repeats=20, seed=1)


def test_people_do_not_ask_what_is_held_out(shop):
    assert asked_queries(shop, {"table": ()}, 5) == [query for query in asked_queries(shop, {}, 5) if query != "table"]
    assert len(asked_queries(shop, {}, 2)) == 2


def test_what_a_server_stored_and_exported_is_what_people_saw_and_did(people, reserve, options):
    export = collect(people, reserve, "b" * 64, options)
    log, devices = read_feedback_log(export, LogLimits(max_lists_per_device=options.lists))
    assert log.lists == options.lists and dict(log.left_out) == {}
    assert len(devices) == log.devices == options.devices
    assert len(log.position) == options.lists * PLACES
    # Who looks at a place, and who wants what is looked at, is known.
    wanted = people.look[log.position - 1] * [
        people.attraction[log.queries[query]][log.products[product]]
        for query, product in zip(log.query, log.product, strict=True)
    ]
    for place in range(1, PLACES + 1):
        at = log.position == place
        assert log.wanted[at].mean() == pytest.approx(wanted[at].mean(), abs=0.03)
    bias = estimate_position_bias(log, SETTINGS.clicks)
    assert bias.examination[:PLACES] == pytest.approx(people.look, abs=0.15)


def test_intervals_of_fresh_logs_hold_the_truth(people, base, better, reserve, options):
    assert people.value(base) < people.value(better) <= people.value(_best(people))
    found = coverage(people, base, better, reserve, options, SETTINGS)
    assert set(found) == {f"{what} {name}" for what in ("baseline", "candidate", "gain") for name in ESTIMATORS}
    gain = people.value(better) - people.value(base)
    assert found["gain dr"]["covered"] >= 0.8
    assert abs(found["gain dr"]["bias"]) < 0.2 * gain
    assert abs(found["baseline dr"]["bias"]) < 0.1 * people.value(base)


@pytest.mark.parametrize(("failed", "code"), [([], 0), (["the gain is too small"], 3)])
def test_the_result_has_the_true_values_and_the_exit_code_the_gates(
    monkeypatch, people, base, better, reserve, options, failed, code
):
    seen = seen_lists(people, reserve, bundle_id="", policy=POLICY, devices=50, lists=500, seed=3)
    log = log_of(list(seen), people, devices=50)
    verdict = compare_off_policy(log, base, better, settings=SETTINGS.clicks, resamples=20)
    report = RetrainReport(
        "n" * 64, "b" * 64, (500, 500), len(QUERIES), list(people.look), True, {}, 10, verdict, 0.5, 0.6, 10, 1_000, failed
    )  # fmt: skip
    written = {}
    monkeypatch.setattr(learning_loop, "PLACES", PLACES)
    monkeypatch.setattr(learning_loop, "teach", lambda *_, **__: Taught(people, reserve, options.work, report))
    monkeypatch.setattr(learning_loop, "open_bundle", lambda folder: folder)
    monkeypatch.setattr(learning_loop, "rankings", lambda *_, **__: better)
    monkeypatch.setattr(learning_loop, "write_result", lambda out, packages, content: written.update(content))
    options.repeats, options.out = 1, options.work / "out.json"
    assert learning_loop.run(options) == code
    assert written["true_value"] == {
        "before": people.value(base), "after": people.value(better), "best": people.value(_best(people))
    }  # fmt: skip
    assert written["retrain"]["failed_gates"] == failed
    assert written["people"] == {"devices": options.devices, "lists": options.lists, "queries": len(QUERIES)}
