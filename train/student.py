"""The student: a small BERT over the shop's vocabulary, built from operations that quantize and convert whole."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from train.backend import keras
from train.layers import LearnedPosition, MaskBias, NewAxis, PaddingFlag, attention_block, masked_mean, no_norm


@dataclass(frozen=True)
class StudentSettings:
    """Shape of the student; the embedding table (vocabulary x hidden bytes in int8) dominates its size."""

    vocabulary: int = 8_000
    hidden: int = 128
    layers: int = 2
    heads: int = 2
    feed_forward: int = 512
    query_tokens: int = 16
    item_tokens: int = 48

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built."""
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} is {getattr(self, field.name)}, expected 1 or more")
        if self.hidden % self.heads:
            raise ValueError(f"heads is {self.heads}, expected a divisor of hidden ({self.hidden})")


def build_student(settings: StudentSettings, *, vocabulary: int, dim: int) -> Any:
    """Return the student as a functional model: `ids` int32 [batch, tokens] -> float32 [batch, dim].

    Works at every length up to `max(query_tokens, item_tokens)`; id 0 is padding. Vectors are not of unit length.
    """
    length = max(settings.query_tokens, settings.item_tokens)
    ids = keras.Input((None,), dtype="int32", name="ids")
    flat_bias = NewAxis(name="mask_rows")(MaskBias(name="mask_bias")(PaddingFlag(name="padding")(ids)))
    bias = NewAxis(name="mask_heads")(flat_bias)
    start = keras.initializers.TruncatedNormal(stddev=0.05)
    x = keras.layers.Embedding(vocabulary, settings.hidden, embeddings_initializer=start, name="word")(ids)
    x = no_norm(LearnedPosition(length, name="position")(x), name="embedding_norm")
    for number in range(settings.layers):
        x = attention_block(
            x,
            bias,
            hidden=settings.hidden,
            heads=settings.heads,
            feed_forward=settings.feed_forward,
            name=f"block{number}",
        )
    pooled = masked_mean(x, flat_bias, name="pooled")
    return keras.Model(ids, keras.layers.Dense(dim, name="projection")(pooled), name="student")


def start_from_teacher(
    student: Any, token_embeddings: npt.NDArray[np.float32], *, teacher_ids: npt.NDArray[np.int64]
) -> None:
    """Start the word table from the teacher's, reduced to the student's width by SVD and scaled to its spread.

    Args:
        student: from `build_student`.
        token_embeddings: float32 [teacher vocabulary, teacher hidden].
        teacher_ids: int64 [vocabulary], the teacher's id of each student token.
    """
    layer = student.get_layer("word")
    rows = token_embeddings[teacher_ids]
    rows = rows - rows.mean(axis=0, keepdims=True)
    _, _, directions = np.linalg.svd(rows, full_matrices=False)
    hidden = layer.embeddings.shape[1]
    reduced = rows @ directions[:hidden].T
    if reduced.shape[1] < hidden:
        reduced = np.pad(reduced, ((0, 0), (0, hidden - reduced.shape[1])))
    layer.set_weights([(reduced * (0.05 / reduced.std())).astype(np.float32)])
