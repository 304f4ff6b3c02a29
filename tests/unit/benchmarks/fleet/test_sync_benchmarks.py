"""The benchmarks of deltas and rollouts: what they count, on small fleets and files."""

import numpy as np
import pytest

from benchmarks.fleet import sync_deltas
from benchmarks.fleet.rollouts import HARMLESS, Model, judging_time, rollout_rows, simulate, twice_the_visible
from benchmarks.fleet.sync_deltas import SCENARIOS, _change, file_rows, read_catalogue
from sync_server.rollouts.plan import RolloutPlan
from tests.support.toy_bundle import make_toy_bundle

PLAN = RolloutPlan(stages=(25.0, 100.0), soak_hours=12)


def test_harmless_model_reaches_the_fleet_and_a_bad_one_does_not():
    fine = simulate(HARMLESS, PLAN, devices=2_000, seed=0)
    bad = simulate(Model("bad", clicks=0.3), PLAN, devices=2_000, seed=0)
    assert (fine.action, bad.action) == ("complete", "halt")
    assert bad.exposed <= 0.25 < fine.exposed


def test_simulation_is_repeatable_and_seeds_differ():
    outcomes = [simulate(Model("crashing", crashed=0.2), PLAN, devices=1_000, seed=seed) for seed in (1, 1, 2)]
    assert outcomes[0] == outcomes[1] != outcomes[2]


def test_row_of_a_model_counts_its_rollouts():
    row = next(iter(rollout_rows(rollouts=2, harmful=1, devices=500, workers=1)))
    assert row["model"]["name"] == "harmless" and row["fleet"]["name"] == "plain" and row["rollouts"] == 2
    assert row["halted"] + row["completed"] + row["paused"] == 1


def test_larger_stage_shows_a_smaller_loss_and_the_last_one_compares_nothing():
    losses = [1 - model.clicks for model in twice_the_visible(RolloutPlan(), devices=1_000_000)]
    assert len(losses) == 3 and losses[0] > losses[1] > losses[2] > 0


def test_judging_reads_the_counts_of_every_day(tmp_path):
    found = judging_time(tmp_path, devices=100, looks=1)
    assert found["rows"] == found["days"] * 2 * 128 and found["median_ms"] > 0


def test_rows_weigh_deltas_against_whole_files(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, 5_000, np.uint8).tobytes()
    for name, middle in (("old", b"old"), ("new", b"new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "changed").write_bytes(noise + middle + noise[::-1])
        (tmp_path / name / "same").write_bytes(noise)
    changed, total = file_rows("test", tmp_path / "old", tmp_path / "new", ["changed", "same"])
    assert changed["file"] == "changed" and changed["delta_bytes"] < 300
    assert total["full_bytes"] == 15_003 and total["of_full"] == changed["delta_bytes"] / 15_003


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    return read_catalogue(make_toy_bundle(tmp_path_factory.mktemp("toy") / "bundle"))


@pytest.mark.parametrize(("scenario", "products"), list(zip(SCENARIOS, (30, 30, 36, 24, 30), strict=True)))
def test_scenarios_change_what_they_say(catalogue, scenario, products):
    new, vectors, popularity = _change(*catalogue, scenario, share=0.2, seed=0)
    assert len(new) == len(vectors) == len(popularity) == products
    assert len({product.product_id for product in new}) == products
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(products), abs=1e-5)
    assert new != catalogue[0]


def test_bundle_that_was_built_is_built_no_more(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(sync_deltas, "run_command", commands.append)
    assert sync_deltas.sample_bundle(tmp_path) == tmp_path / "bundle"
    assert [words[0] for words in commands] == ["shop", "build"]
    make_toy_bundle(tmp_path / "bundle")
    sync_deltas.sample_bundle(tmp_path)
    assert len(commands) == 2
