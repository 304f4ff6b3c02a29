import json
import math

import numpy as np
import pytest

from tests.support.bert_checkpoint import CONFIG, random_weights, write_checkpoint
from train.backend import keras, tf
from train.errors import TrainingError
from train.models.bert import INPUTS, MaskedMean, bert_weights, load_bert, read_config, write_config

IDS = np.array([[2, 5, 9, 3, 0, 0], [2, 7, 8, 11, 12, 3], [2, 3, 0, 0, 0, 0]], np.int32)
MASK = (IDS > 0).astype(np.int32)
TYPES = np.array([[0, 0, 1, 1, 0, 0], [0] * 6, [0] * 6], np.int32)


def expected_sequence(arrays, ids, mask, types):
    """BERT in float64 NumPy, written from the paper."""
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    heads, erf = CONFIG["num_attention_heads"], np.vectorize(math.erf)

    def dense(x, name):
        return x @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]

    def norm(x, name):
        centered = x - x.mean(-1, keepdims=True)
        scaled = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + CONFIG["layer_norm_eps"])
        return scaled * arrays[f"{name}.weight"] + arrays[f"{name}.bias"]

    def split(x):
        return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    x = arrays["embeddings.word_embeddings.weight"][ids] + arrays["embeddings.token_type_embeddings.weight"][types]
    x = norm(x + arrays["embeddings.position_embeddings.weight"][: ids.shape[1]], "embeddings.LayerNorm")
    for layer in range(CONFIG["num_hidden_layers"]):
        stem = f"encoder.layer.{layer}"
        query, key, value = (split(dense(x, f"{stem}.attention.self.{part}")) for part in ("query", "key", "value"))
        logits = query @ key.transpose(0, 1, 3, 2) / math.sqrt(query.shape[-1])
        weights = np.exp(np.where(mask[:, None, None, :] == 1, logits, -np.inf))
        weights /= weights.sum(-1, keepdims=True)
        mixed = (weights @ value).transpose(0, 2, 1, 3).reshape(x.shape)
        x = norm(x + dense(mixed, f"{stem}.attention.output.dense"), f"{stem}.attention.output.LayerNorm")
        wide = dense(x, f"{stem}.intermediate.dense")
        wide = wide * 0.5 * (1 + erf(wide / math.sqrt(2)))
        x = norm(x + dense(wide, f"{stem}.output.dense"), f"{stem}.output.LayerNorm")
    return x


def sequence(model, ids=IDS, mask=MASK, types=TYPES):
    return model(dict(zip(INPUTS, (ids, mask, types), strict=True)))["sequence_output"].numpy()


def test_output_is_that_of_the_paper(tmp_path):
    model, _ = load_bert(write_checkpoint(tmp_path))
    expected = expected_sequence(random_weights(), IDS, MASK, TYPES)
    np.testing.assert_allclose(sequence(model)[MASK == 1], expected[MASK == 1], atol=2e-5)


def test_padding_changes_nothing(tmp_path):
    model, _ = load_bert(write_checkpoint(tmp_path))
    short = sequence(model, IDS[:1, :4], MASK[:1, :4], TYPES[:1, :4])
    np.testing.assert_allclose(sequence(model)[0, :4], short[0], atol=1e-5)


def test_older_names_and_half_precision_are_read(tmp_path):
    older = {
        "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in random_weights().items()
    }
    weights = {name: array.astype(np.float16) for name, array in older.items()}
    weights["bert.embeddings.position_ids"] = np.arange(20, dtype=np.int64)
    model, _ = load_bert(write_checkpoint(tmp_path, weights=weights))
    half = {name: array.astype(np.float16) for name, array in random_weights().items()}
    np.testing.assert_allclose(sequence(model)[1], expected_sequence(half, IDS, MASK, TYPES)[1], atol=2e-5)


def test_weights_go_out_as_they_came_in(tmp_path):
    model, config = load_bert(write_checkpoint(tmp_path, seed=4))
    found, expected = bert_weights(model, config), random_weights(4)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_configuration_survives_writing_and_reading(tmp_path):
    config = read_config(write_checkpoint(tmp_path))
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bert"


def test_model_of_our_layers_can_be_saved_and_loaded_by_keras(tmp_path):
    model, _ = load_bert(write_checkpoint(tmp_path / "checkpoint"))
    copy = keras.Model.from_config(model.get_config(), custom_objects=_layers_by_name(model))
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(sequence(copy), sequence(model))


def _layers_by_name(model):
    return {type(layer).__name__: type(layer) for layer in model.layers}


def test_masked_mean_leaves_padding_out_and_knows_empty_rows():
    x = np.array([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]], [[5.0, 5.0]] * 3], np.float32)
    mean = MaskedMean()(x, np.array([[1, 1, 0], [0, 0, 0]], np.int32)).numpy()
    np.testing.assert_allclose(mean, [[2.0, 4.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta', expected 'bert'"),
        ({"model_type": None}, "model_type is None, expected 'bert'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu', expected 'gelu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key', expected 'absolute'"),
        ({"num_attention_heads": 3}, "hidden_size 16 is not a multiple of num_attention_heads 3"),
    ],
)
def test_other_architectures_are_refused(tmp_path, change, message):
    with pytest.raises(TrainingError, match=message):
        read_config(write_checkpoint(tmp_path, config=change))


@pytest.mark.parametrize("content", ["{", "[]", "3", '{"model_type": "bert"}'])
def test_malformed_configuration_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(TrainingError, match=r"config\.json is not the configuration of a BERT"):
        read_config(tmp_path)


def test_missing_configuration_is_named(tmp_path):
    with pytest.raises(TrainingError, match="is not the configuration of a BERT"):
        read_config(tmp_path)


def test_missing_weight_is_named(tmp_path):
    weights = random_weights()
    del weights["encoder.layer.1.output.dense.bias"]
    with pytest.raises(TrainingError, match=r"holds no encoder\.layer\.1\.output\.dense\.bias"):
        load_bert(write_checkpoint(tmp_path, weights=weights))


def test_weight_of_another_shape_is_named(tmp_path):
    weights = random_weights()
    weights["embeddings.position_embeddings.weight"] = np.zeros((7, 16), np.float32)
    with pytest.raises(TrainingError, match=r"position_embeddings\.weight has shape \(7, 16\) .* means \(20, 16\)"):
        load_bert(write_checkpoint(tmp_path, weights=weights))


def test_cut_weights_are_named(tmp_path):
    path = write_checkpoint(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match=r"cannot read .*model\.safetensors"):
        load_bert(tmp_path)


def test_missing_weights_are_named(tmp_path):
    (write_checkpoint(tmp_path) / "model.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"cannot read .*model\.safetensors"):
        load_bert(tmp_path)


def test_bfloat16_is_read(tmp_path):
    weights = {name: array.astype(tf.bfloat16.as_numpy_dtype) for name, array in random_weights().items()}
    model, config = load_bert(write_checkpoint(tmp_path, weights=weights))
    for name, array in bert_weights(model, config).items():
        np.testing.assert_array_equal(array, weights[name].astype(np.float32))
