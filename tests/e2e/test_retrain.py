"""`pocketrec retrain` as a user runs it: people click, the encoder follows, the gates decide, a canary goes out."""

import json

import pytest

from benchmarks.fleet.simulated_users import seen_lists
from edge_runtime.contract.bundle import ENCODER_FILE, open_bundle
from edge_runtime.feedback.exploration import LoggingPolicy
from pocketrec import verbs
from pocketrec.pipeline.retrain import rankings
from tests.e2e.conftest import PLACES
from tests.support.child import pocketrec

pytestmark = pytest.mark.timeout(7200)

DEVICES = 300
POLICY = LoggingPolicy(swap=0.4, guest=0.4, reserve=10)


def ranked_by(bundle, people, *, k=PLACES):
    return rankings(open_bundle(bundle), people.queries, k=k, progress=lambda *_: None)


def write_log(path, bundle, people, *, lists):
    """Write what devices report when `people` see what `bundle` ranks for them, on randomized pages."""
    shown = {"bundle_id": open_bundle(bundle).bundle_id, "policy": POLICY, "devices": DEVICES, "lists": lists}
    ranked = ranked_by(bundle, people, k=POLICY.candidates(PLACES))
    with path.open("w") as file:
        for number, seen in enumerate(seen_lists(people, ranked, **shown, seed=0)):
            for place, event in enumerate(seen.events(1.0)):
                fields = {name: getattr(event, name) for name in event.__struct_fields__}
                line = {"device_id": f"d{seen.device}", "sequence": number * 2 * PLACES + place, **fields}
                file.write(json.dumps(line) + "\n")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Little training. The gates are the product's own but for the gain's: the interval of so small a log is wide."""
    path = tmp_path_factory.mktemp("retrain") / "retrain.toml"
    path.write_text("[tune]\nsteps = 60\n[gate]\nmin_gain = -0.02\n")
    return path


def test_feedback_becomes_a_better_canary_that_differs_by_a_small_delta(copied_build, people, settings):
    folder = copied_build
    base = folder / "bundle"
    write_log(folder / "events.jsonl", base, people, lists=4_000)
    assert pocketrec("keys", "init", "--dir", folder / "keys").returncode == 0
    place = ["--home", folder / "server", "--keys", folder / "keys"]
    assert pocketrec("serve", *place, "--new-enrollment-code").returncode == 0
    server = folder / "server.toml"
    server.write_text(f'home = "{folder / "server"}"\n')
    done = pocketrec(
        "retrain", base, "--shop", folder / "shop", "--events", folder / "events.jsonl", "--out", folder / "new",
        "--config", settings, "--publish-to", "canary", "--keys", folder / "keys", "--server-config", server, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["published"]["channel"] == "canary"
    assert report["delta_bytes"] < 0.05 * report["encoder_bytes"] and report["trained_weights"] < 5_000
    assert report["off_policy"]["gain"]["dr"]["value"] > 0 and report["failed_gates"] == []
    was, now = (people.value(ranked_by(bundle, people)) for bundle in (base, folder / "new"))
    best = people.value({query: sorted(worth, key=worth.get)[::-1] for query, worth in people.attraction.items()})
    assert now - was > 0.05 * (best - was), (was, now, best)
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


def test_a_bundle_that_does_not_pass_its_gates_is_not_published(copied_build, people, settings):
    folder = copied_build
    strict = folder / "strict.toml"
    strict.write_text(settings.read_text().replace("min_gain = -0.02", "min_gain = 100.0"))
    write_log(folder / "events.jsonl", folder / "bundle", people, lists=500)
    done = pocketrec(
        "retrain", folder / "bundle", "--shop", folder / "shop", "--events", folder / "events.jsonl",
        "--out", folder / "new", "--config", strict, "--publish-to", "canary", "--keys", folder / "none",
        "--store", folder / "none",
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "gate failed: the gain" in done.stdout and "published" not in done.stdout


def test_what_cannot_be_retrained_is_told_in_one_sentence(built, tiny_shop, tmp_path, capsys):
    (tmp_path / "empty.jsonl").write_text("")
    arguments = ["retrain", built, "--shop", tiny_shop, "--out", tmp_path / "new", "--events", tmp_path / "empty.jsonl"]
    for added, sentence in (
        ([], "privacy level full"),
        (["--publish-to", "canary"], "--publish-to needs --keys"),
        (["--work", tmp_path / "none"], "name the folder that its own build left"),
    ):
        assert verbs.main([*map(str, arguments), *map(str, added)]) == 1
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
