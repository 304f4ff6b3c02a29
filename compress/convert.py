"""Keras models -> one `encoder.tflite` with three signatures, and what is inside it."""

import tempfile
from collections import Counter
from dataclasses import dataclass
from typing import Any

from compress.errors import CompressionError
from edge_runtime.contract.bundle import EncoderSpec
from train.backend import ConverterError, tf, tflite_schema


@dataclass(frozen=True)
class Operations:
    """What a .tflite computes: operations by name, and those with a float32 input or output other than a conversion."""

    counts: dict[str, int]
    in_float: dict[str, int]


class _Signatures(tf.Module):
    def __init__(self, encoder: Any, history: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.history = history


def convert_encoder(encoder: Any, history: Any, spec: EncoderSpec, *, dim: int) -> bytes:
    """Convert the query/item encoder and the history head into one .tflite; weights are stored once.

    Quantized models (compress/quantization.py) become full int8; plain float ones become dynamic-range int8.

    Args:
        encoder: `ids` int32 [batch, tokens] -> float32 [batch, dim].
        history: (`items` float32 [batch, history_items, dim], `mask` float32 [batch, history_items]) -> `vector`
            float32 [batch, dim] alone, or with `repeat` float32 [batch, history_items].
        spec: the fixed lengths.
        dim: width of the vectors.

    Raises:
        CompressionError: the converter refuses the model.
    """
    module = _Signatures(encoder, history)

    def encode(ids: Any) -> dict[str, Any]:
        return {"vector": encoder(ids, training=False)}

    def encode_history(items: Any, mask: Any) -> dict[str, Any]:
        outputs = history([items, mask], training=False)
        return dict(
            zip(("vector", "repeat"), outputs if isinstance(outputs, list | tuple) else [outputs], strict=False)
        )

    signatures = {
        "encode_query": tf.function(encode).get_concrete_function(
            tf.TensorSpec((1, spec.query_tokens), tf.int32, "ids")
        ),
        "encode_item": tf.function(encode).get_concrete_function(tf.TensorSpec((1, spec.item_tokens), tf.int32, "ids")),
        "encode_history": tf.function(encode_history).get_concrete_function(
            tf.TensorSpec((1, spec.history_items, dim), tf.float32, "items"),
            tf.TensorSpec((1, spec.history_items), tf.float32, "mask"),
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=sorted(signatures))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        try:
            return bytes(converter.convert())
        except (ConverterError, ValueError) as error:
            raise CompressionError(f"the TFLite converter refuses the encoder: {str(error).splitlines()[0]}") from error


def operations(model: bytes) -> Operations:
    """Read which operations the .tflite `model` holds, over all its signatures."""
    parsed = tflite_schema.ModelT.InitFromPackedBuf(model, 0)
    names = {value: name for name, value in vars(tflite_schema.BuiltinOperator).items() if isinstance(value, int)}
    float32 = tflite_schema.TensorType.FLOAT32
    counts: Counter[str] = Counter()
    in_float: Counter[str] = Counter()
    for graph in parsed.subgraphs:
        for operator in graph.operators:
            code = parsed.operatorCodes[operator.opcodeIndex]
            name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
            counts[name] += 1
            tensors = [index for index in (*operator.inputs, *operator.outputs) if index >= 0]
            if name not in ("QUANTIZE", "DEQUANTIZE") and any(graph.tensors[i].type == float32 for i in tensors):
                in_float[name] += 1
    return Operations(counts=dict(sorted(counts.items())), in_float=dict(sorted(in_float.items())))
