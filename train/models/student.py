"""The student: a small encoder over the shop's vocabulary, built from operations that quantize and convert whole.

Three architectures share the word table and the pooling, and differ in what happens between:

- "bag": nothing. A text is a weighted mean of its word pieces, the weights learned (attention pooling, as in Yang et
  al., "Hierarchical Attention Networks", 2016). Order does not count.
- "mixer": dense blocks that read a token with its neighbors; no attention.
- "bert": transformer blocks.

docs/architectures.md holds what each costs and gives.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from train.backend import keras
from train.models.layers import (
    LearnedPosition,
    MaskBias,
    NewAxis,
    PaddingFlag,
    ZeroPadding,
    attention_block,
    attention_pool,
    mixer_block,
    no_norm,
)

Architecture = Literal["bag", "mixer", "bert"]

POOLED = "pooled"
"""The layer whose output is the text's pooled state, before it is projected."""


@dataclass(frozen=True)
class StudentSettings:
    """Shape of the student; the word table (vocabulary x hidden bytes in int8) dominates its size.

    Attributes:
        architecture: see the module's docstring.
        vocabulary: at most so many word pieces are kept of the teacher's.
        hidden: width of the word table and of the blocks.
        layers: blocks; a bag has none.
        heads: attention heads of a block of "bert".
        feed_forward: width inside a block.
        pooling_heads: weighted means that are laid side by side.
        query_tokens: longer queries are cut.
        item_tokens: longer texts of items are cut.
    """

    architecture: Architecture = "bag"
    vocabulary: int = 8_000
    hidden: int = 128
    layers: int = 2
    heads: int = 2
    feed_forward: int = 512
    pooling_heads: int = 1
    query_tokens: int = 16
    item_tokens: int = 48

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built."""
        if self.architecture not in get_args(Architecture):
            raise ValueError(
                f"architecture is {self.architecture!r}, expected one of {', '.join(get_args(Architecture))}"
            )
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "architecture" and value < 1:
                raise ValueError(f"{field.name} is {value}, expected 1 or more")
        if self.hidden % self.heads:
            raise ValueError(f"heads is {self.heads}, expected a divisor of hidden ({self.hidden})")


def build_student(settings: StudentSettings, *, vocabulary: int, dim: int) -> Any:
    """Return the student as a functional model: `ids` int32 [batch, tokens] -> float32 [batch, dim].

    Works at every length up to `max(query_tokens, item_tokens)`; id 0 is padding. Vectors are not of unit length.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    flat_bias = NewAxis(name="mask_rows")(MaskBias(name="mask_bias")(PaddingFlag(name="padding")(ids)))
    start = keras.initializers.TruncatedNormal(stddev=0.05)
    table = keras.layers.Embedding(
        vocabulary, settings.hidden, embeddings_initializer=start, embeddings_constraint=ZeroPadding(), name="word"
    )
    x = table(ids)
    if settings.architecture != "bag":
        length = max(settings.query_tokens, settings.item_tokens)
        x = no_norm(LearnedPosition(length, name="position")(x), name="embedding_norm")
        x = _blocks(x, flat_bias, settings)
    pooled = attention_pool(x, flat_bias, heads=settings.pooling_heads, name=POOLED)
    return keras.Model(ids, keras.layers.Dense(dim, name="projection")(pooled), name="student")


def _blocks(x: Any, flat_bias: Any, settings: StudentSettings) -> Any:
    shape = {"hidden": settings.hidden, "feed_forward": settings.feed_forward}
    if settings.architecture == "mixer":
        for number in range(settings.layers):
            x = mixer_block(x, **shape, name=f"block{number}")
        return x
    bias = NewAxis(name="mask_heads")(flat_bias)
    for number in range(settings.layers):
        x = attention_block(x, bias, heads=settings.heads, **shape, name=f"block{number}")
    return x


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
    table = (reduced * (0.05 / reduced.std())).astype(np.float32)
    layer.set_weights([layer.embeddings.constraint(table).numpy()])
