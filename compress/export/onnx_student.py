"""A student as an ONNX graph: each of its layers is one operation and becomes one or two operations of ONNX."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from compress.errors import CompressionError
from compress.export.onnx_graph import INPUTS, OnnxGraph
from train.models.layers import MASK_BIAS, PADDING_ID
from train.models.student import architectures


def onnx_student(model: Any) -> bytes:
    """Return a model of int32 `input_word_ids`, `input_mask` [batch, tokens] -> `vector` float32 [batch, dim].

    Args:
        model: from `build_student` (train/models/student.py); its vectors are brought to unit length.

    Raises:
        CompressionError: a layer of which no operation of ONNX is known.
    """
    graph = OnnxGraph()
    operations = dict(_OPERATIONS)
    for architecture in architectures().values():
        operations.update(architecture.onnx)
    names: dict[str, str] = {model.input.name: graph.add("Mul", *INPUTS)}  # what is masked is padding
    for layer in model.layers:
        node = layer.inbound_nodes[0]
        if node.is_input:
            continue
        operands = [node.keras_inputs] if not isinstance(node.keras_inputs, list | tuple) else node.keras_inputs
        write = operations.get(type(layer).__name__)
        if write is None:
            raise CompressionError(
                f"layer {layer.name} is a {type(layer).__name__}, which has no place in ONNX here; "
                f"known are {', '.join(sorted(operations))}"
            )
        names[layer.output.name] = write(graph, layer, [names[one.name] for one in operands])
    return graph.encoder(names[model.output.name], name="student", dim=model.output_shape[-1])


def _padding_flag(graph: OnnxGraph, layer: Any, x: Sequence[str]) -> str:
    padding = graph.constant("padding", np.array(PADDING_ID, np.int32))
    return graph.add("Cast", graph.add("Equal", x[0], padding), to=TensorProto.FLOAT)


def _dense(graph: OnnxGraph, layer: Any, x: Sequence[str]) -> str:
    kernel, *bias = (weight.numpy() for weight in layer.weights)
    return graph.dense(x[0], layer.name, kernel, bias[0] if bias else None)


def _position(graph: OnnxGraph, layer: Any, x: Sequence[str]) -> str:
    places = graph.constant(layer.name, layer.position.numpy())
    length = graph.add("Shape", x[0], start=1, end=2)
    return graph.add("Add", x[0], graph.add("Slice", places, graph.ints(0), length, graph.ints(0)))


def _split_heads(graph: OnnxGraph, layer: Any, x: Sequence[str]) -> str:
    width = layer.input_shape[-1]
    parts = graph.add("Reshape", x[0], graph.ints(0, 0, layer.heads, width // layer.heads))
    return graph.add("Transpose", parts, perm=[0, 2, 1, 3])


def _merge_heads(graph: OnnxGraph, layer: Any, x: Sequence[str]) -> str:
    _, heads, _, width = layer.input_shape
    return graph.add("Reshape", graph.add("Transpose", x[0], perm=[0, 2, 1, 3]), graph.ints(0, 0, heads * width))


def _matmul(graph: OnnxGraph, layer: Any, x: Sequence[str]) -> str:
    rank = len(layer.input_shape[1])
    swapped = [*range(rank - 2), rank - 1, rank - 2]
    return graph.add("MatMul", x[0], graph.add("Transpose", x[1], perm=swapped) if layer.transpose_b else x[1])


def _neighbors(graph: OnnxGraph, layer: Any, x: Sequence[str]) -> str:
    padded = graph.add("Pad", x[0], graph.ints(0, 1, 0, 0, 1, 0))
    before = graph.add("Slice", padded, graph.ints(0), graph.ints(-2), graph.ints(1))
    after = graph.add("Slice", padded, graph.ints(2), graph.ints(np.iinfo(np.int64).max), graph.ints(1))
    return graph.add("Concat", before, x[0], after, axis=-1)


_OPERATIONS: dict[str, Callable[[OnnxGraph, Any, Sequence[str]], str]] = {
    "PaddingFlag": _padding_flag,
    "MaskBias": lambda graph, layer, x: graph.add("Mul", x[0], graph.number(MASK_BIAS)),
    "NewAxis": lambda graph, layer, x: graph.add("Unsqueeze", x[0], graph.ints(1)),
    "Embedding": lambda graph, layer, x: graph.add(
        "Gather", graph.constant(layer.name, layer.embeddings.numpy()), x[0], axis=0
    ),
    "LearnedPosition": _position,
    "Dense": _dense,
    "ReLU": lambda graph, layer, x: graph.add("Relu", x[0]),
    "Add": lambda graph, layer, x: graph.add("Add", *x),
    "AddBias": lambda graph, layer, x: graph.add("Add", *x),
    "Scale": lambda graph, layer, x: graph.add("Mul", x[0], graph.constant(layer.name, layer.gamma.numpy())),
    "Shift": lambda graph, layer, x: graph.add("Add", x[0], graph.constant(layer.name, layer.beta.numpy())),
    "SplitHeads": _split_heads,
    "MergeHeads": _merge_heads,
    "MatMul": _matmul,
    "Softmax": lambda graph, layer, x: graph.add("Softmax", x[0], axis=-1),
    "TransposeHeads": lambda graph, layer, x: graph.add("Transpose", x[0], perm=[0, 2, 1]),
    "ConcatHeads": lambda graph, layer, x: graph.add("Reshape", x[0], graph.ints(0, -1)),
    "ContextWindow": _neighbors,
    "SqueezeHead": lambda graph, layer, x: graph.add("Squeeze", x[0], graph.ints(1)),
}
"""Class of a layer -> what writes it: graph, layer, names of its inputs -> name of its output."""
