"""The student: a small encoder over the shop's vocabulary, made of operations that quantize and convert as a whole.

The architectures share the word table and the pooling, and differ in the layers between: each is a file of
train/models/architectures. docs/architectures.md compares their quality and cost.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

import train.models.architectures
from train.backend import keras
from train.models.layers import LearnedPosition, MaskBias, NewAxis, PaddingFlag, ZeroPadding, attention_pool, no_norm

POOLED = "pooled"
"""The layer whose output is the text's pooled state, before it is projected."""

WORD_SPREAD = 0.05
"""Standard deviation of the word table at the start, the same for random numbers and for the teacher's reduced words.

Not tuned. Keras' start of an Embedding (uniform in ±0.05) has 0.029, BERT's 0.02."""


@dataclass(frozen=True)
class Architecture:
    """What a student does between its word table and its pooling.

    Attributes:
        layers: (tokens float32 [batch, n, hidden], bias float32 [batch, 1, n] of the padding, settings) -> float32
            [batch, n, hidden], out of layers that quantize whole (train/models/layers.py).
        counts: the fields of `StudentSettings` that it reads beside `hidden` and the lengths.
        onnx: class of a layer of its own -> what writes it into ONNX: (graph, layer, names of its inputs) -> name of
            its output (compress/export/onnx_student.py has those of train/models/layers.py).
    """

    layers: Callable[[Any, Any, "StudentSettings"], Any]
    counts: tuple[str, ...] = ()
    onnx: Mapping[str, Callable[[Any, Any, Any], str]] = field(default_factory=dict)

    @property
    def has_depth(self) -> bool:
        """Whether there are blocks, which can be more or fewer."""
        return "layers" in self.counts


Layers = Callable[[Any, Any, "StudentSettings"], Any]

_ARCHITECTURES: dict[str, Architecture] = {}


def student_architecture(name: str, **declared: Any) -> Callable[[Layers], Layers]:
    """Register the layers of an architecture under `name`; `declared` are the other attributes of `Architecture`."""

    def register(layers: Layers) -> Layers:
        _ARCHITECTURES[name] = Architecture(layers, **declared)
        return layers

    return register


def architectures() -> dict[str, Architecture]:
    """Return all architectures by name, those that read the fewest settings first."""
    for module in pkgutil.iter_modules(train.models.architectures.__path__):
        importlib.import_module(f"{train.models.architectures.__name__}.{module.name}")
    return dict(sorted(_ARCHITECTURES.items(), key=lambda one: len(one[1].counts)))


@dataclass(frozen=True)
class StudentSettings:
    """Shape of the student; the word table (vocabulary x hidden bytes in int8) dominates its size.

    Attributes:
        architecture: name of a registered one.
        vocabulary: at most so many word pieces are kept of the teacher's.
        hidden: width of the word table and of the blocks.
        layers: blocks, where the architecture has such.
        heads: attention heads of a block.
        feed_forward: width inside a block.
        pooling_heads: weighted means that are laid side by side.
        query_tokens: longer queries are cut.
        item_tokens: longer texts of items are cut.
    """

    architecture: str = "bag"
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
        if self.architecture not in architectures():
            raise ValueError(f"architecture is {self.architecture!r}, expected one of {', '.join(architectures())}")
        for name in (one.name for one in fields(self) if one.name != "architecture"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if self.hidden % self.heads:
            raise ValueError(f"heads is {self.heads}, expected a divisor of hidden ({self.hidden})")

    @property
    def depth(self) -> int:
        """The number of blocks; 0 where the architecture has none."""
        return self.layers if architectures()[self.architecture].has_depth else 0


def build_student(settings: StudentSettings, *, vocabulary: int, dim: int) -> Any:
    """Return the student as a functional model: `ids` int32 [batch, tokens] -> float32 [batch, dim].

    Works at every length up to `max(query_tokens, item_tokens)`; id 0 is padding. Vectors are not of unit length.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    flat_bias = NewAxis(name="mask_rows")(MaskBias(name="mask_bias")(PaddingFlag(name="padding")(ids)))
    start = keras.initializers.TruncatedNormal(stddev=WORD_SPREAD)
    table = keras.layers.Embedding(
        vocabulary, settings.hidden, embeddings_initializer=start, embeddings_constraint=ZeroPadding(), name="word"
    )
    x = architectures()[settings.architecture].layers(table(ids), flat_bias, settings)
    pooled = attention_pool(x, flat_bias, heads=settings.pooling_heads, name=POOLED)
    return keras.Model(ids, keras.layers.Dense(dim, name="projection")(pooled), name="student")


def placed(x: Any, settings: StudentSettings) -> Any:
    """Return tokens float32 [batch, n, hidden] with learned positions, scaled and shifted: what blocks start from."""
    length = max(settings.query_tokens, settings.item_tokens)
    return no_norm(LearnedPosition(length, name="position")(x), name="embedding_norm")


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
    table = (reduced * (WORD_SPREAD / reduced.std())).astype(np.float32)
    layer.set_weights([layer.embeddings.constraint(table).numpy()])
