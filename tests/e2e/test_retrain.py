"""`pocketrec retrain` as a user runs it: people click, the encoder follows, the gates decide, a canary goes out."""

import json
import random

import pytest

from edge_runtime.contract.bundle import ENCODER_FILE, open_bundle
from edge_runtime.feedback.exploration import LoggingPolicy, ShownList, show_page
from edge_runtime.recommender import Recommender
from tests.support.child import pocketrec
from train.data.reading import read_shop

pytestmark = pytest.mark.timeout(900)


def write_log(path, bundle, shop, *, devices=60, lists=600):
    """People who want the cheaper half of what they see, on randomized pages."""
    chance = random.Random(5)
    queries = sorted({one.query for one in shop.judgements})[:20]
    prices = {one.product_id: one.price or 0.0 for one in shop.products}
    middle = sorted(prices.values())[len(prices) // 2]
    policy = LoggingPolicy(swap=0.4, guest=0.4, reserve=5)
    with Recommender.open(bundle) as recommender:
        ranked = {query: recommender.search(query, k=policy.candidates(5)).product_ids for query in queries}
    with path.open("w") as file:
        for number in range(lists):
            query = chance.choice(queries)
            page = ShownList(f"l{number}", "b", query, show_page(ranked[query], 5, policy, chance))
            events = page.impressions(1.0)
            for one in page.products:
                wanted = 0.7 if prices[one.product_id] < middle else 0.1
                if chance.random() < wanted / one.position**0.5:
                    events.append(page.action("click", one.product_id, 2.0))
            device = {"device_id": f"d{chance.randrange(devices)}"}
            for sequence, event in enumerate(events):
                fields = {name: getattr(event, name) for name in event.__struct_fields__}
                file.write(json.dumps({**device, "sequence": sequence, **fields}) + "\n")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Little training, and a gate that lets a small gain pass."""
    path = tmp_path_factory.mktemp("retrain") / "retrain.toml"
    path.write_text("[tune]\nsteps = 60\n[gate]\nmin_gain = -1.0\nmax_holdout_loss = 1.0\nmax_delta_share = 1.0\n")
    return path


def test_feedback_becomes_a_canary_that_differs_by_a_small_delta(copied_build, settings):
    folder = copied_build
    base = folder / "bundle"
    write_log(folder / "events.jsonl", base, read_shop(folder / "shop"))
    assert pocketrec("keys", "init", "--dir", folder / "keys").returncode == 0
    place = ["--home", folder / "server", "--keys", folder / "keys"]
    assert pocketrec("serve", *place, "--new-enrollment-code").returncode == 0
    server = folder / "server.toml"
    server.write_text(f'home = "{folder / "server"}"\n')
    done = pocketrec(
        "retrain", base, "--shop", folder / "shop", "--events", folder / "events.jsonl", "--out", folder / "new",
        "--config", settings, "--publish-to", "canary", "--keys", folder / "keys", "--server-config", server, "--json",
        timeout_s=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["published"]["channel"] == "canary"
    assert report["delta_bytes"] < 0.3 * report["encoder_bytes"] and report["trained_weights"] < 5_000
    old, new = open_bundle(base), open_bundle(folder / "new")
    changed = {
        one.path for one in new.manifest.artifacts if one not in old.manifest.artifacts and one.path != "report.html"
    }
    assert changed == {ENCODER_FILE, "golden.json", "report.json"}
    assert new.manifest.space == old.manifest.space
    assert json.loads((folder / "new" / "report.json").read_bytes())["retrained"]["from"] == old.bundle_id
    assert pocketrec("prove", folder / "new").returncode == 0
    # The new bundle can be retrained in its turn.
    assert (folder / "new.build" / "quantize").is_dir()


def test_a_bundle_that_does_not_pass_its_gates_is_not_published(copied_build, settings):
    folder = copied_build
    strict = folder / "strict.toml"
    strict.write_text(settings.read_text().replace("min_gain = -1.0", "min_gain = 100.0"))
    write_log(folder / "events.jsonl", folder / "bundle", read_shop(folder / "shop"), lists=300)
    done = pocketrec(
        "retrain", folder / "bundle", "--shop", folder / "shop", "--events", folder / "events.jsonl",
        "--out", folder / "new", "--config", strict, "--publish-to", "canary", "--keys", folder / "none",
        "--store", folder / "none", timeout_s=280,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "gate failed: the gain" in done.stdout and "published" not in done.stdout


def test_what_cannot_be_retrained_is_told_in_one_sentence(copied_build):
    folder = copied_build
    (folder / "empty.jsonl").write_text("")
    arguments = ["retrain", folder / "bundle", "--shop", folder / "shop", "--out", folder / "new"]
    done = pocketrec(*arguments, "--events", folder / "empty.jsonl", timeout_s=120)
    assert done.returncode == 1 and "privacy level full" in done.stderr
    done = pocketrec(*arguments, "--events", folder / "empty.jsonl", "--publish-to", "canary", timeout_s=120)
    assert done.returncode == 1 and "--publish-to needs --keys" in done.stderr
    done = pocketrec(*arguments, "--events", folder / "empty.jsonl", "--work", folder / "none", timeout_s=120)
    assert done.returncode == 1 and "name the folder that its own build left" in done.stderr
    assert "Traceback" not in done.stderr and not (folder / "new").exists()
