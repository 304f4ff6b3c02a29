"""Keras models -> one `encoder.tflite` with the signatures of every task; also lists its operations."""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.errors import CompressionError
from edge_runtime.contract.bundle import EncoderSpec
from train.backend import ConverterError, tf, tflite_schema
from train.tasks.declaration import Signature, tasks
from train.tasks.next_basket import NEXT_BASKET
from train.tasks.search import SEARCH, query_signature

PART_BYTES = 1_024
"""Tensors of fewer bytes are listed together."""


@dataclass(frozen=True)
class Operations:
    """What a .tflite computes.

    Attributes:
        counts: operations by name.
        in_float: those with a float32 input or output other than a conversion, by name.
        float_places: each of these with the tensor that it writes, like "SOFTMAX student/weights", without repeats.
    """

    counts: dict[str, int]
    in_float: dict[str, int]
    float_places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weights:
    """One constant tensor of a .tflite: shape, type, bytes, and the share of exact zeros among its numbers."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    zeros: float


def convert_encoder(
    encoder: Any, history: Any, spec: EncoderSpec, *, dim: int, heads: Mapping[str, Any] | None = None
) -> bytes:
    """Convert the query/item encoder, the history head and further tasks' heads into one .tflite.

    Weights are stored once. Quantized models (compress/quantization.py) become full int8; plain float ones become
    dynamic-range int8.

    Args:
        encoder: `ids` int32 [batch, tokens] -> float32 [batch, dim].
        history: (`items` float32 [batch, history_items, dim], `mask` float32 [batch, history_items]) -> `vector`
            float32 [batch, dim] alone, or with `repeat` float32 [batch, history_items].
        spec: the fixed lengths.
        dim: width of the vectors.
        heads: name of a task (train/tasks) -> its model, for every task that has a `Head`.

    Raises:
        CompressionError: the converter refuses the model.
        ValueError: a registered task has no model.
    """
    models = {SEARCH.name: encoder, NEXT_BASKET.name: history, **(heads or {})}
    if missing := sorted(set(tasks()) - set(models)):
        raise ValueError(f"no model is given for the tasks {', '.join(missing)}; pass them as `heads`")
    return _converted([(models[name], one) for name, task in tasks().items() for one in task.signatures(spec, dim)])


def convert_query_encoder(encoder: Any, *, tokens: int) -> bytes:
    """Convert the encoder alone with the signature `encode_query`, to measure how fast it is.

    Args:
        encoder: `ids` int32 [batch, tokens] -> float32 [batch, dim].
        tokens: the fixed length.

    Raises:
        CompressionError: the converter refuses the model.
    """
    return _converted([(encoder, query_signature(tokens))])


def _converted(answered: Sequence[tuple[Any, Signature]]) -> bytes:
    module = tf.Module()
    module.models = [model for model, _ in answered]
    signatures = {signature.name: _function(model, signature) for model, signature in answered}
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=sorted(signatures))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        try:
            return bytes(converter.convert())
        except (ConverterError, ValueError) as error:
            raise CompressionError(f"the TFLite converter refuses the encoder: {str(error).splitlines()[0]}") from error


def _function(model: Any, signature: Signature) -> Any:
    def answer(*inputs: Any) -> dict[str, Any]:
        outputs = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
        # A history head without learned repeats has the first output alone.
        return dict(zip(signature.outputs, outputs if isinstance(outputs, list | tuple) else [outputs], strict=False))

    specs = [tf.TensorSpec(shape, dtype, name) for name, (shape, dtype) in signature.inputs.items()]
    return tf.function(answer).get_concrete_function(*specs)


def operations(model: bytes) -> Operations:
    """Read which operations the .tflite `model` holds, over all its signatures."""
    parsed = tflite_schema.ModelT.InitFromPackedBuf(model, 0)
    names = {value: name for name, value in vars(tflite_schema.BuiltinOperator).items() if isinstance(value, int)}
    float32 = tflite_schema.TensorType.FLOAT32
    counts: Counter[str] = Counter()
    in_float: Counter[str] = Counter()
    places: dict[str, None] = {}
    for graph in parsed.subgraphs:
        for operator in graph.operators:
            code = parsed.operatorCodes[operator.opcodeIndex]
            name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
            counts[name] += 1
            tensors = [index for index in (*operator.inputs, *operator.outputs) if index >= 0]
            if name not in ("QUANTIZE", "DEQUANTIZE") and any(graph.tensors[i].type == float32 for i in tensors):
                in_float[name] += 1
                places[f"{name} {_tensor_name(graph.tensors[operator.outputs[0]])}"] = None
    return Operations(dict(sorted(counts.items())), dict(sorted(in_float.items())), tuple(places))


def weights_inside(model: bytes) -> list[Weights]:
    """Return the constant tensors of at least `PART_BYTES` of the .tflite `model`, largest first.

    A tensor that several signatures share is listed once, as it is stored once.
    """
    parsed = tflite_schema.ModelT.InitFromPackedBuf(model, 0)
    types = {value: name for name, value in vars(tflite_schema.TensorType).items() if isinstance(value, int)}
    found: dict[int, Weights] = {}
    for graph in parsed.subgraphs:
        for tensor in graph.tensors:
            data = parsed.buffers[tensor.buffer].data
            if data is None or len(data) < PART_BYTES or tensor.buffer in found:
                continue
            kind = types[tensor.type].lower()
            numbers = np.frombuffer(bytes(data), np.dtype(kind if kind != "bool" else "uint8"))
            found[tensor.buffer] = Weights(
                name=_tensor_name(tensor),
                shape=tuple(int(size) for size in tensor.shape),
                dtype=kind,
                bytes=len(data),
                zeros=float(np.mean(numbers == 0)),
            )
    return sorted(found.values(), key=lambda one: -one.bytes)


def _tensor_name(tensor: Any) -> str:
    """Return the layer that a tensor belongs to, like "student/block0_key": the converter joins many names into one."""
    models = {task.model for task in tasks().values()}
    for name in tensor.name.decode("utf-8", "replace").split(";"):
        parts = name.split("/")
        if len(parts) > 1 and parts[0] in models:
            return f"{parts[0]}/{parts[1].removeprefix('quant_')}"
    return "output" if b"PartitionedCall" in tensor.name else "inside"
