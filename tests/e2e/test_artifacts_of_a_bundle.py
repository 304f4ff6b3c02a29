"""Retraining and export ask for the stages of the very bundle, whichever way it was made."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from compress.measure.quality import unit_rows
from edge_runtime.contract.bundle import ENCODER_FILE, TOKENIZER_FILE, open_bundle
from edge_runtime.contract.text import normalize_text
from edge_runtime.recommender import Recommender
from pocketrec import verbs
from sync_server.ranking.onnx_encoder import OnnxEncoder
from tests.e2e.conftest import SMALL_SEARCH
from tests.e2e.test_retrain import write_log
from tests.support.child import pocketrec

pytestmark = pytest.mark.timeout(7200)

ANY_GAIN = "[gate]\nmin_gain = -1.0\nmax_holdout_loss = 1.0\nmax_delta_share = 1.0\n"
"""Of these tests only what is tuned matters, not how good it is."""


def retrain(folder, base, out, settings):
    """Retrain `base` on the log in `folder`; return what `--json` prints."""
    config = folder / f"{out}.toml"
    config.write_text(settings + ANY_GAIN)
    done = pocketrec("retrain", base, "--shop", folder / "shop", "--events", folder / "events.jsonl",
                     "--out", folder / out, "--config", config, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def exported_vectors(bundle, out, texts):
    """Return unit vectors float32 [texts, dim] of the student that `pocketrec export` writes."""
    assert verbs.main(["export", str(bundle), "--out", str(out), "--json"]) == 0
    tokenizer, encoder = Tokenizer.from_file(str(out / TOKENIZER_FILE)), OnnxEncoder(out / "model.onnx")
    try:
        vectors = [
            encoder.encode(tokenizer.encode(normalize_text(text), add_special_tokens=False).ids) for text in texts
        ]
    finally:
        encoder.close()
    return unit_rows(np.stack(vectors))


def device_vectors(bundle, texts):
    with Recommender.open(bundle) as device:
        return device.encode_batch(texts)


def test_a_bundle_of_a_budget_is_retrained_and_exports_the_tuned_student(copied_build, people, tiny_settings):
    folder = copied_build
    config = folder / "search.toml"
    config.write_text(tiny_settings.read_text() + SMALL_SEARCH)
    base = folder / "bundle"
    built = pocketrec("build", folder / "shop", "--out", base, "--config", config, "--resume", "--max-bytes", "1MB")
    assert built.returncode == 0, built.stderr
    write_log(folder / "events.jsonl", base, people, lists=500)
    retrain(folder, base, "new", "[tune]\nsteps = 40\nlearning_rate = 0.05\n")

    texts = list(people.queries)
    was, now = device_vectors(base, texts), device_vectors(folder / "new", texts)
    moved = np.einsum("td,td->t", was, now) < 0.99
    assert moved.any(), "tuning at this rate moves what the device answers"
    for bundle, own, other in ((base, was, now), (folder / "new", now, was)):
        exported = exported_vectors(bundle, folder / f"{bundle.name}-student", texts)[moved]
        assert np.mean(exported * own[moved]) > np.mean(exported * other[moved]), bundle


def test_an_int8_calibrated_bundle_is_retrained_from_what_the_fleet_has(copied_build, people, tiny_settings):
    folder = copied_build
    config = folder / "calibrated.toml"
    config.write_text('variant = "int8-calibrated"\n' + tiny_settings.read_text())
    base = folder / "bundle"
    built = pocketrec("build", folder / "shop", "--out", base, "--config", config, "--resume")
    assert built.returncode == 0, built.stderr
    write_log(folder / "events.jsonl", base, people, lists=500)
    report = retrain(folder, base, "new", "[tune]\nsteps = 0\n")
    # Not tuned at all: the same weights, so that next to nothing is shipped.
    assert report["delta_bytes"] < 0.01 * report["encoder_bytes"]
    old, new = (open_bundle(one).path(ENCODER_FILE).stat().st_size for one in (base, folder / "new"))
    assert old == new
