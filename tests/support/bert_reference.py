"""BERT in plain NumPy: the reference for every graph that we write ourselves."""

import math

import numpy as np
import numpy.typing as npt

from benchmarks.peers.minilm import BertShape, FloatArray


def reference_vectors(
    weights: dict[str, FloatArray], shape: BertShape, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return what the model says by plain numpy in float64: the oracle of the ONNX graph.

    Args:
        weights: as in the safetensors file.
        shape: sizes of the model.
        ids: int64 [batch, tokens].
        mask: int64 [batch, tokens], 1 where a token stands.

    Returns:
        float64 [batch, hidden], unit rows.
    """
    exact = {name: value.astype(np.float64) for name, value in weights.items() if value.dtype == np.float32}
    erf = np.vectorize(math.erf)

    def dense(x: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
        return x @ exact[f"{name}.weight"].T + exact[f"{name}.bias"]

    def layer_norm(x: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + shape.epsilon)
        return centred / scale * exact[f"{name}.weight"] + exact[f"{name}.bias"]

    batch, tokens = ids.shape
    x = exact["embeddings.word_embeddings.weight"][ids]
    x = x + exact["embeddings.position_embeddings.weight"][:tokens]
    x = layer_norm(x + exact["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(shape.layers):
        block = f"encoder.layer.{layer}"
        q, k, v = (
            dense(x, f"{block}.attention.self.{part}").reshape(batch, tokens, shape.heads, -1).swapaxes(1, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
        scores = np.where(mask[:, None, None, :] == 1, scores, -np.inf)
        attention = np.exp(scores - scores.max(-1, keepdims=True))
        attention /= attention.sum(-1, keepdims=True)
        mixed = (attention @ v).swapaxes(1, 2).reshape(batch, tokens, -1)
        x = layer_norm(dense(mixed, f"{block}.attention.output.dense") + x, f"{block}.attention.output.LayerNorm")
        inner = dense(x, f"{block}.intermediate.dense")
        x = layer_norm(
            dense(inner * 0.5 * (1 + erf(inner / np.sqrt(2))), f"{block}.output.dense") + x, f"{block}.output.LayerNorm"
        )
    mean = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
    return np.asarray(mean / np.linalg.norm(mean, axis=-1, keepdims=True))
