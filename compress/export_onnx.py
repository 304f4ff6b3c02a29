"""A BERT teacher as an ONNX graph, written operation by operation from its weights (the usual exporters need PyTorch)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from train.bert import BertConfig

INPUTS = ("input_word_ids", "input_mask")
_OPSET, _IR_VERSION = 20, 9
_HIDDEN_FROM_VIEW = -1e4

Arrays = Mapping[str, npt.NDArray[np.float32]]


@dataclass
class _Graph:
    """Nodes and constants of one graph; every method returns the name of its output."""

    weights: Arrays
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self.constant(f"number_{value:g}", np.array(value, np.float32))

    def add(self, operation: str, *inputs: str, output: str = "", **attributes: object) -> str:
        output = output or f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, list(inputs), [output], **attributes))
        return output

    def dense(self, x: str, name: str) -> str:
        kernel = self.constant(f"{name}.kernel", self.weights[f"{name}.weight"].T)
        return self.add("Add", self.add("MatMul", x, kernel), self.constant(name, self.weights[f"{name}.bias"]))

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
    graph = _Graph(weights)
    mask = graph.add("Cast", "input_mask", to=TensorProto.FLOAT)
    hidden = graph.add("Mul", graph.add("Sub", graph.number(1.0), mask), graph.number(_HIDDEN_FROM_VIEW))
    bias = graph.add("Unsqueeze", hidden, graph.ints(1, 2))
    x = graph.norm(_embedded(graph), "embeddings.LayerNorm", config.layer_norm_eps)
    for layer in range(config.num_hidden_layers):
        x = _block(graph, x, bias, config, f"encoder.layer.{layer}")
    weighted = graph.add("Mul", x, graph.add("Unsqueeze", mask, graph.ints(2)))
    total = graph.add("ReduceSum", weighted, graph.ints(1), keepdims=0)
    mean = graph.add("Div", total, graph.add("ReduceSum", mask, graph.ints(1), keepdims=1))
    graph.add("LpNormalization", mean, output="vector", axis=-1, p=2)
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "tokens"]) for name in INPUTS]
    output = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", config.hidden_size])
    body = helper.make_graph(graph.nodes, "teacher", inputs, [output], list(graph.constants.values()))
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _embedded(graph: _Graph) -> str:
    weights = graph.weights
    table = graph.constant("words", weights["embeddings.word_embeddings.weight"])
    # Every text is of segment 0, so its embedding is a constant of each place.
    places = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    length = graph.add("Shape", "input_word_ids", start=1, end=2)
    kept = graph.add("Slice", graph.constant("places", places), graph.ints(0), length, graph.ints(0))
    return graph.add("Add", graph.add("Gather", table, "input_word_ids", axis=0), kept)


def _block(graph: _Graph, x: str, bias: str, config: BertConfig, name: str) -> str:
    heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads

    def split(part: str) -> str:
        projected = graph.dense(x, f"{name}.attention.self.{part}")
        parts = graph.add("Reshape", projected, graph.ints(0, 0, heads, width))
        return graph.add("Transpose", parts, perm=[0, 2, 3, 1] if part == "key" else [0, 2, 1, 3])

    scores = graph.add("Mul", graph.add("MatMul", split("query"), split("key")), graph.number(width**-0.5))
    attention = graph.add("Softmax", graph.add("Add", scores, bias), axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", attention, split("value")), perm=[0, 2, 1, 3])
    joined = graph.dense(
        graph.add("Reshape", mixed, graph.ints(0, 0, config.hidden_size)), f"{name}.attention.output.dense"
    )
    x = graph.norm(graph.add("Add", joined, x), f"{name}.attention.output.LayerNorm", config.layer_norm_eps)
    wide = graph.add("Gelu", graph.dense(x, f"{name}.intermediate.dense"))
    narrow = graph.dense(wide, f"{name}.output.dense")
    return graph.norm(graph.add("Add", narrow, x), f"{name}.output.LayerNorm", config.layer_norm_eps)
