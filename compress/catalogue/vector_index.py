"""Turns item vectors into `catalogue.tflite`: an int8 fully connected layer and TOP_K in one graph."""

import tempfile
from typing import Any

import numpy as np

from compress.errors import CompressionError
from edge_runtime.contract.types import Float32
from train.backend import ConverterError, tf

SIGNATURE = "top"
BLOCKED_FROM = 4_096
"""So many products are sifted by blocks first: TOP_K over all of them would take about as long as the product itself."""

_BELOW_ALL = -4.0
"""Added to the score of rows that only fill up the last block; a score is a cosine."""
_SMALL = 1e-6
"""Keeps the last of the best above zero."""


class _VectorIndex(tf.Module):
    """The catalogue as a graph.

    The best rows of all lie in the blocks with the best maxima, so only as many blocks as rows are asked for are looked
    into, and no row below the last of these maxima counts: without such rows TOP_K has little to put in order. What comes
    out is what one TOP_K over all rows gives.
    """

    def __init__(self, item_vectors: Float32, candidates: int, axes: Float32 | None) -> None:
        super().__init__()
        self._candidates = candidates
        products = len(item_vectors)
        depth = max(1, round(2 * (products / candidates) ** 0.5)) if products >= BLOCKED_FROM else 1
        self._blocks = -(-products // depth)
        self._depth = depth
        filling = self._blocks * depth - products
        narrowed = item_vectors if axes is None else item_vectors @ axes
        # Copies of a row, not zeros: a row of zeros has no scale to be quantized by.
        self.items = tf.Variable(np.concatenate([narrowed, np.repeat(narrowed[:1], filling, axis=0)]), trainable=False)
        self.axes = None if axes is None else tf.Variable(axes, trainable=False)
        self._bias = np.repeat(np.array([0, _BELOW_ALL], np.float32), [products, filling]) if filling else None

    def top(self, query: Any) -> dict[str, Any]:
        """Return scores and rows, both [1, candidates], best first."""
        narrowed = query if self.axes is None else tf.matmul(query, self.axes)
        scores = tf.matmul(narrowed, self.items, transpose_b=True)
        if self._bias is not None:
            scores = scores + self._bias
        if self._depth == 1:
            best, rows = tf.math.top_k(scores, self._candidates)
            return {"scores": best, "rows": rows}
        count = self._candidates
        by_block = tf.reshape(scores, [self._blocks, self._depth])
        maxima, blocks = tf.math.top_k(tf.reduce_max(by_block, axis=1), count)
        least = maxima[count - 1 :] - _SMALL
        above = tf.nn.relu(tf.reshape(tf.gather(by_block, blocks, axis=0), [count * self._depth]) - least)
        best, places = tf.math.top_k(above, count)
        rows = tf.gather(blocks, places // self._depth) * self._depth + places % self._depth
        return {"scores": (best + least)[None], "rows": rows[None]}


def convert_catalogue(item_vectors: Float32, *, candidates: int, axes: Float32 | None = None) -> bytes:
    """Return a .tflite: `query` float32 [1, dim] -> `scores` float32 and `rows` int32, both [1, candidates].

    Weights are int8 with one scale for each item (dynamic range); the scores are close to the dot products, not equal.

    Args:
        item_vectors: float32 [products, dim], unit rows.
        candidates: how many rows the graph returns, best first; at most `products`.
        axes: float32 [dim, width], orthonormal columns; the graph compares queries and items along these alone.

    Raises:
        CompressionError: the converter refuses the graph.
    """
    index = _VectorIndex(item_vectors, candidates, axes)
    signature = tf.TensorSpec((1, item_vectors.shape[1]), tf.float32, "query")
    function = tf.function(index.top).get_concrete_function(signature)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(index, folder, signatures={SIGNATURE: function})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        try:
            return bytes(converter.convert())
        except (ConverterError, ValueError) as error:
            raise CompressionError(
                f"the TFLite converter refuses the catalogue: {str(error).splitlines()[0]}"
            ) from error
