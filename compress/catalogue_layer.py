"""Turns item vectors into `catalogue.tflite`: an int8 fully-connected layer and TOP_K in one graph."""

import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

from compress.errors import CompressionError
from train.backend import ConverterError, tf

SIGNATURE = "top"


class _Layer(tf.Module):
    def __init__(self, item_vectors: npt.NDArray[np.float32]) -> None:
        super().__init__()
        self.items = tf.Variable(item_vectors, trainable=False)


def convert_catalogue(item_vectors: npt.NDArray[np.float32], *, candidates: int) -> bytes:
    """Return a .tflite: `query` float32 [1, dim] -> `scores` float32 and `rows` int32, both [1, candidates].

    Weights are int8 with one scale for each item (dynamic range); the scores are close to the dot products, not equal.

    Args:
        item_vectors: float32 [products, dim], unit rows.
        candidates: how many rows the graph returns, best first; at most `products`.

    Raises:
        CompressionError: the converter refuses the layer.
    """
    layer = _Layer(item_vectors)

    def top(query: Any) -> dict[str, Any]:
        scores, rows = tf.math.top_k(tf.matmul(query, layer.items, transpose_b=True), candidates)
        return {"scores": scores, "rows": rows}

    function = tf.function(top).get_concrete_function(tf.TensorSpec((1, item_vectors.shape[1]), tf.float32, "query"))
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(layer, folder, signatures={SIGNATURE: function})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        try:
            return bytes(converter.convert())
        except (ConverterError, ValueError) as error:
            raise CompressionError(
                f"the TFLite converter refuses the catalogue: {str(error).splitlines()[0]}"
            ) from error
