"""A BERT teacher as an ONNX graph, written operation by operation from its weights (the usual exporters need PyTorch)."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from compress.export.onnx_graph import OnnxGraph
from train.models.bert import BertConfig

_HIDDEN_FROM_VIEW = -1e4

Arrays = Mapping[str, npt.NDArray[np.float32]]


class _BertGraph(OnnxGraph):
    """A graph whose layers take their weights by the names of a Hugging Face checkpoint."""

    def __init__(self, weights: Arrays) -> None:
        super().__init__()
        self.weights = weights

    def layer(self, x: str, name: str) -> str:
        return self.dense(x, name, self.weights[f"{name}.weight"].T, self.weights[f"{name}.bias"])

    def norm(self, x: str, name: str, epsilon: float) -> str:
        scale = self.constant(f"{name}.scale", self.weights[f"{name}.weight"])
        shift = self.constant(f"{name}.shift", self.weights[f"{name}.bias"])
        return self.add("LayerNormalization", x, scale, shift, axis=-1, epsilon=epsilon)


def onnx_bert(weights: Arrays, config: BertConfig) -> bytes:
    """Return a model of int32 `input_word_ids`, `input_mask` [batch, tokens] -> `vector` float32 [batch, hidden].

    The vector is the masked mean of the last layer, of unit length.

    Args:
        weights: under the names of a Hugging Face checkpoint.
        config: the sizes.
    """
    graph = _BertGraph(weights)
    mask = graph.add("Cast", "input_mask", to=TensorProto.FLOAT)
    hidden = graph.add("Mul", graph.add("Sub", graph.number(1.0), mask), graph.number(_HIDDEN_FROM_VIEW))
    bias = graph.add("Unsqueeze", hidden, graph.ints(1, 2))
    x = graph.norm(_embedded(graph), "embeddings.LayerNorm", config.layer_norm_eps)
    for layer in range(config.num_hidden_layers):
        x = _block(graph, x, bias, config, f"encoder.layer.{layer}")
    weighted = graph.add("Mul", x, graph.add("Unsqueeze", mask, graph.ints(2)))
    total = graph.add("ReduceSum", weighted, graph.ints(1), keepdims=0)
    mean = graph.add("Div", total, graph.add("ReduceSum", mask, graph.ints(1), keepdims=1))
    return graph.encoder(mean, name="teacher", dim=config.hidden_size)


def _embedded(graph: _BertGraph) -> str:
    weights = graph.weights
    table = graph.constant("words", weights["embeddings.word_embeddings.weight"])
    # Every text is of segment 0, so its embedding is a constant of each place.
    places = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    length = graph.add("Shape", "input_word_ids", start=1, end=2)
    kept = graph.add("Slice", graph.constant("places", places), graph.ints(0), length, graph.ints(0))
    return graph.add("Add", graph.add("Gather", table, "input_word_ids", axis=0), kept)


def _block(graph: _BertGraph, x: str, bias: str, config: BertConfig, name: str) -> str:
    heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads

    def split(part: str) -> str:
        projected = graph.layer(x, f"{name}.attention.self.{part}")
        parts = graph.add("Reshape", projected, graph.ints(0, 0, heads, width))
        return graph.add("Transpose", parts, perm=[0, 2, 3, 1] if part == "key" else [0, 2, 1, 3])

    scores = graph.add("Mul", graph.add("MatMul", split("query"), split("key")), graph.number(width**-0.5))
    attention = graph.add("Softmax", graph.add("Add", scores, bias), axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", attention, split("value")), perm=[0, 2, 1, 3])
    joined = graph.layer(
        graph.add("Reshape", mixed, graph.ints(0, 0, config.hidden_size)), f"{name}.attention.output.dense"
    )
    x = graph.norm(graph.add("Add", joined, x), f"{name}.attention.output.LayerNorm", config.layer_norm_eps)
    wide = graph.add("Gelu", graph.layer(x, f"{name}.intermediate.dense"))
    narrow = graph.layer(wide, f"{name}.output.dense")
    return graph.norm(graph.add("Add", narrow, x), f"{name}.output.LayerNorm", config.layer_norm_eps)
