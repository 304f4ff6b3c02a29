"""BERT in Keras, with the weights of a Hugging Face checkpoint folder (`config.json` and `model.safetensors`).

The model is functional and has the signature of the BERT encoders of TF Hub: int32 `input_word_ids`, `input_mask` and
`input_type_ids`, each [batch, tokens] -> `sequence_output` float32 [batch, tokens, hidden]. It holds no dropout, so
that training it twice from one seed, or resuming it, gives the same weights.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from train.backend import keras, tf
from train.errors import TrainingError

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
INPUTS = ("input_word_ids", "input_mask", "input_type_ids")

Arrays = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class BertConfig:
    """The fields of `config.json` that decide what is computed."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12


def read_config(folder: Path) -> BertConfig:
    """Read `config.json`.

    Raises:
        TrainingError: it is missing, malformed, or of a model that is not a BERT with absolute positions and GELU.
    """
    path = folder / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        config = BertConfig(**{key: values[key] for key in BertConfig.__annotations__ if key in values})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise TrainingError(f"{path} is not the configuration of a BERT ({error}); give a checkpoint folder") from error
    defaults = {"model_type": None, "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for key, default in defaults.items():
        found, expected = values.get(key, default), default or "bert"
        if found != expected:
            raise TrainingError(f"{path}: {key} is {found!r}, expected {expected!r}; choose a BERT encoder")
    if config.hidden_size % config.num_attention_heads:
        raise TrainingError(
            f"{path}: hidden_size {config.hidden_size} is not a multiple of num_attention_heads"
            f" {config.num_attention_heads}; get the checkpoint again"
        )
    return config


def write_config(folder: Path, config: BertConfig) -> None:
    """Write `config.json`, so that `read_config` and Hugging Face's own reader understand it."""
    kind = {"architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu"}
    (folder / CONFIG_FILE).write_text(json.dumps({**kind, **asdict(config)}, indent=2) + "\n", encoding="utf-8")


class PositionEmbedding(keras.layers.Layer):
    """Adds a learned vector to each place: float32 [batch, tokens, hidden], tokens <= `length`."""

    def __init__(self, length: int, **options: Any) -> None:
        super().__init__(**options)
        self.length = length

    def build(self, shape: Any) -> None:
        """Create `embeddings` float32 [length, hidden]."""
        start = keras.initializers.TruncatedNormal(stddev=0.02)
        self.embeddings = self.add_weight(name="embeddings", shape=(self.length, shape[-1]), initializer=start)
        super().build(shape)

    def call(self, x: Any) -> Any:
        """Return `x` plus the vectors of its places."""
        return x + self.embeddings[None, : tf.shape(x)[1]]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "length": self.length}


class MultiHeadMix(keras.layers.Layer):
    """Scaled dot-product attention over projections that have been made: float32 [batch, tokens, hidden] each."""

    def __init__(self, heads: int, **options: Any) -> None:
        super().__init__(**options)
        self.heads = heads

    def call(self, query: Any, key: Any, value: Any, mask: Any) -> Any:
        """Return the mixed values; `mask` int32 [batch, tokens] is 0 where nothing may be read."""
        width = query.shape[-1] // self.heads
        query, key, value = self._split(query, width), self._split(key, width), self._split(value, width)
        hidden_bias = (1.0 - tf.cast(mask, query.dtype))[:, None, None, :] * -1e4
        weights = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) * width**-0.5 + hidden_bias)
        mixed = tf.transpose(tf.matmul(weights, value), (0, 2, 1, 3))
        return tf.reshape(mixed, (-1, tf.shape(mixed)[1], width * self.heads))

    def _split(self, x: Any, width: int) -> Any:
        return tf.transpose(tf.reshape(x, (-1, tf.shape(x)[1], self.heads, width)), (0, 2, 1, 3))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "heads": self.heads}


class MaskedMean(keras.layers.Layer):
    """Mean over the tokens whose mask is 1: float32 [batch, tokens, hidden] -> float32 [batch, hidden]."""

    def call(self, x: Any, mask: Any) -> Any:
        """Return the mean; zeros where the mask is all 0."""
        weights = tf.cast(mask, x.dtype)[..., None]
        return tf.reduce_sum(x * weights, axis=1) / tf.maximum(tf.reduce_sum(weights, axis=1), 1e-9)


def build_bert(config: BertConfig) -> Any:
    """Return the encoder with random weights, see the module's docstring."""
    ids, mask, types = (keras.Input((None,), dtype="int32", name=name) for name in INPUTS)

    def embedding(size: int, name: str) -> Any:
        start = keras.initializers.TruncatedNormal(stddev=0.02)
        return keras.layers.Embedding(size, config.hidden_size, embeddings_initializer=start, name=name)

    x = embedding(config.vocab_size, "word")(ids) + embedding(config.type_vocab_size, "type")(types)
    x = PositionEmbedding(config.max_position_embeddings, name="position")(x)
    x = keras.layers.LayerNormalization(epsilon=config.layer_norm_eps, name="embedding_norm")(x)
    for number in range(config.num_hidden_layers):
        x = _block(x, mask, config, f"layer{number}")
    return keras.Model(dict(zip(INPUTS, (ids, mask, types), strict=True)), {"sequence_output": x}, name="bert")


def _block(x: Any, mask: Any, config: BertConfig, name: str) -> Any:
    def dense(units: int, part: str, activation: Any = None) -> Any:
        start = keras.initializers.TruncatedNormal(stddev=0.02)
        return keras.layers.Dense(units, activation=activation, kernel_initializer=start, name=f"{name}_{part}")

    def norm(part: str) -> Any:
        return keras.layers.LayerNormalization(epsilon=config.layer_norm_eps, name=f"{name}_{part}")

    hidden = config.hidden_size
    projections = [dense(hidden, part)(x) for part in ("query", "key", "value")]
    mixed = MultiHeadMix(config.num_attention_heads, name=f"{name}_mix")(*projections, mask)
    x = norm("attention_norm")(x + dense(hidden, "attention_output")(mixed))
    wide = dense(config.intermediate_size, "feed_forward", keras.activations.gelu)(x)
    return norm("output_norm")(x + dense(hidden, "output")(wide))


def load_bert(folder: Path) -> tuple[Any, BertConfig]:
    """Return the encoder with the weights of a checkpoint folder, and its configuration.

    Raises:
        TrainingError: a file is missing or malformed, or a weight is missing or of another shape.
    """
    config = read_config(folder)
    arrays = _read_arrays(folder / WEIGHTS_FILE)
    model = build_bert(config)
    for layer, names in _weight_names(config).items():
        expected = [tuple(weight.shape) for weight in model.get_layer(layer).weights]
        found = [_as_keras(arrays, name, folder / WEIGHTS_FILE) for name in names]
        for name, array, shape in zip(names, found, expected, strict=True):
            if array.shape != shape:
                raise TrainingError(
                    f"{folder / WEIGHTS_FILE}: {name} has shape {array.shape} where {CONFIG_FILE} means {shape};"
                    " get the checkpoint again"
                )
        model.get_layer(layer).set_weights(found)
    return model, config


def bert_weights(model: Any, config: BertConfig) -> Arrays:
    """Return the encoder's weights under the names of Hugging Face; Dense kernels transposed as PyTorch has them."""
    arrays: Arrays = {}
    for layer, names in _weight_names(config).items():
        for name, value in zip(names, model.get_layer(layer).get_weights(), strict=True):
            arrays[name] = np.ascontiguousarray(value.T if _is_kernel(name) else value)
    return arrays


def _weight_names(config: BertConfig) -> dict[str, list[str]]:
    """Keras layer -> names of its weights in the checkpoint, in Keras' order."""
    names = {
        "word": ["embeddings.word_embeddings.weight"],
        "type": ["embeddings.token_type_embeddings.weight"],
        "position": ["embeddings.position_embeddings.weight"],
        "embedding_norm": ["embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias"],
    }
    parts = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "attention_output": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "feed_forward": "intermediate.dense",
        "output": "output.dense",
        "output_norm": "output.LayerNorm",
    }
    for number in range(config.num_hidden_layers):
        for part, name in parts.items():
            stem = f"encoder.layer.{number}.{name}"
            names[f"layer{number}_{part}"] = [f"{stem}.weight", f"{stem}.bias"]
    return names


def _is_kernel(name: str) -> bool:
    return name.endswith(".weight") and "embeddings" not in name and "LayerNorm" not in name


def _as_keras(arrays: Arrays, name: str, path: Path) -> npt.NDArray[np.float32]:
    if name not in arrays:
        raise TrainingError(f"{path} holds no {name}; give the checkpoint of a BERT encoder")
    return arrays[name].T if _is_kernel(name) else arrays[name]


def _read_arrays(path: Path) -> Arrays:
    """Read all tensors but integer ones (old checkpoints hold position ids), under the newer of the names that BERT checkpoints use."""
    try:
        tensors = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise TrainingError(f"cannot read {path} ({error}); get the checkpoint again") from error
    arrays: Arrays = {}
    for name, tensor in tensors.items():
        if tensor.dtype.kind not in "iub":
            newer = name.removeprefix("bert.").replace("LayerNorm.gamma", "LayerNorm.weight")
            arrays[newer.replace("LayerNorm.beta", "LayerNorm.bias")] = tensor.astype(np.float32)
    return arrays
