"""The cross-encoder: a BERT that reads query and product together and corrects the bi-encoder's score of the pair.

[CLS] query [SEP] product [SEP], the second sentence with token type 1, mean over the tokens, one number. It is added to
the bi-encoder's cosine over its temperature, so that training starts from the bi-encoder's ranking; a hundred judged
queries are too few to train a BERT for relevance from the start. Scores are logits: the softmax over a list is the
probability of each product to be the relevant one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.types import Float32, Progress
from train.backend import keras, tf
from train.loop import Batches, FitSettings, fit
from train.losses import COSINE_TEMPERATURE
from train.losses.listwise import graded_loss
from train.models.bert import INPUTS
from train.models.teacher import LENGTH_STEP, Teacher

Int64 = npt.NDArray[np.int64]

CHECKPOINT_EVERY_S = 60.0

_HEAD_SCALE = 10.0
"""The head starts at 0 and must move by logits while the encoder moves by hundredths."""


@dataclass(frozen=True)
class CrossEncoderShape:
    """How the cross-encoder learns and reads.

    Attributes:
        query_tokens: longer queries are cut, [CLS] and [SEP] included.
        pair_tokens: longer pairs are cut at the product's end.
        gain_temperature: of the judged gains in the listwise target.
        pairwise_weight: of the pairwise loss beside the listwise one.
        frozen_layers: the embeddings and so many of the lowest layers stay as they are.
        lists_per_step: queries of a step.
        learning_rate: of Adam.
    """

    query_tokens: int = 16
    pair_tokens: int = 64
    gain_temperature: float = 0.25
    pairwise_weight: float = 0.5
    frozen_layers: int = 2
    lists_per_step: int = 4
    learning_rate: float = 5e-5

    def __post_init__(self) -> None:
        """Refuse pairs with no room for a product, and rates with which nothing is learned."""
        if not 3 <= self.query_tokens < self.pair_tokens - 1:
            raise ValueError(
                f"pair_tokens is {self.pair_tokens}, expected more than query_tokens ({self.query_tokens}, at least 3) by 2"
            )
        if self.lists_per_step < 1:
            raise ValueError(f"lists_per_step is {self.lists_per_step}, expected 1 or more")
        for name in ("gain_temperature", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected more than 0")


@dataclass(frozen=True)
class GradedLists:
    """Queries with candidates, as the cross-encoder learns from them.

    Attributes:
        queries: int64 [lists], indices of texts.
        rows: int64 [lists, candidates], rows of products.
        gains: float32 [lists, candidates], 0 to 1; NaN where a list has fewer candidates.
        priors: float32 [lists, candidates], the bi-encoder's cosines.
    """

    queries: Int64
    rows: Int64
    gains: Float32
    priors: Float32


class CrossEncoder:
    """Scores pairs of a query and a product.

    Attributes:
        model: Keras model of `bert.INPUTS` and "prior" float32 [pairs, 1] -> logits float32 [pairs, 1].
    """

    def __init__(
        self, teacher: Teacher, queries: Sequence[str], items: Sequence[str], shape: CrossEncoderShape
    ) -> None:
        """Build on the encoder of `teacher`, which is changed by training: it must not be used for anything else.

        Args:
            teacher: see `Teacher.open`.
            queries: what pairs may ask, by index.
            items: the products' texts, by row.
            shape: see `CrossEncoderShape`.
        """
        teacher.freeze_embeddings(layers=shape.frozen_layers)
        prior = keras.Input((1,), name="prior")
        head = keras.layers.Dense(1, kernel_initializer="zeros", name="score")(teacher.model.output)
        correction = keras.layers.Rescaling(_HEAD_SCALE, name="scale")(head)
        logits = keras.layers.Add(name="logits")(
            [keras.layers.Rescaling(1.0 / COSINE_TEMPERATURE, name="prior_logit")(prior), correction]
        )
        self.model = keras.Model({**teacher.model.input, "prior": prior}, logits, name="cross_encoder")
        self._shape = shape
        self._queries = teacher.token_rows(queries, max_tokens=shape.query_tokens)
        self._items = teacher.token_rows(items, max_tokens=shape.pair_tokens)
        self._longest = min(shape.pair_tokens, teacher.max_tokens)

    def learn(
        self, lists: GradedLists, *, steps: int, folder: Path, seed: int, progress: Progress | None = None
    ) -> float:
        """Train on `lists` by listwise cross-entropy and a pairwise term; return the loss of the last steps.

        A later call with the same folder goes on from its checkpoint.

        Raises:
            DivergedError: the loss became NaN or infinite.
            StorageError: a checkpoint could not be written.
        """
        shape = self._shape

        def loss(inputs: Any, gains: Any) -> Any:
            scores = tf.reshape(self.model(inputs, training=False), tf.shape(gains))
            return graded_loss(
                scores, gains, gain_temperature=shape.gain_temperature, pairwise_weight=shape.pairwise_weight
            )

        settings = FitSettings(
            steps, shape.learning_rate, warm_up=0.1, weight_decay=0.01, checkpoint_every_s=CHECKPOINT_EVERY_S
        )
        batches = self._batches(lists, seed=seed)
        return fit(self.model, loss, batches, settings, checkpoint_folder=folder, progress=progress)

    def score(
        self, queries: Int64, rows: Int64, priors: Float32, *, batch: int = 64, progress: Progress | None = None
    ) -> Float32:
        """Return logits float32 [pairs].

        Args:
            queries: int64 [pairs], indices of texts.
            rows: int64 [pairs], rows of products.
            priors: float32 [pairs], the bi-encoder's cosines.
            batch: pairs at a time; pairs of like length share one.
            progress: called with (done, total) pairs.
        """
        pairs = np.stack([queries, rows], axis=1)
        order = np.argsort([-self._length(query, row) for query, row in pairs], kind="stable")
        scores = np.zeros(len(pairs), np.float32)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            width = -(-self._length(*pairs[chosen[0]]) // LENGTH_STEP) * LENGTH_STEP
            inputs = self._inputs(pairs[chosen], priors[chosen], min(width, self._longest))
            scores[chosen] = self._forward(inputs).numpy()[:, 0]
            if progress is not None:
                progress(min(start + batch, len(order)), len(order))
        return scores

    @cached_property
    def _forward(self) -> Callable[[dict[str, Any]], Any]:
        signature = {name: tf.TensorSpec((None, None), tf.int32) for name in INPUTS}
        signature["prior"] = tf.TensorSpec((None, 1), tf.float32)
        forward: Callable[[dict[str, Any]], Any] = tf.function(
            lambda inputs: self.model(inputs, training=False), input_signature=[signature]
        )
        return forward

    def _batches(self, lists: GradedLists, *, seed: int) -> Batches:
        size = min(self._shape.lists_per_step, len(lists.queries))

        def batches(step: int) -> tuple[Any, ...]:
            chosen = np.random.default_rng((seed, step)).choice(len(lists.queries), size, replace=False)
            rows, priors = lists.rows[chosen], lists.priors[chosen]
            pairs = np.stack([np.repeat(lists.queries[chosen], rows.shape[1]), rows.ravel()], axis=1)
            return self._inputs(pairs, priors.ravel(), self._longest), tf.constant(lists.gains[chosen])

        return batches

    def _length(self, query: int, row: int) -> int:
        return min(len(self._queries[query]) + len(self._items[row]) - 1, self._longest)

    def _inputs(self, pairs: Int64, priors: Float32, width: int) -> dict[str, Any]:
        ids, mask, types = (np.zeros((len(pairs), width), np.int32) for _ in INPUTS)
        for place, (query, row) in enumerate(pairs):
            asked = self._queries[query]
            # The product's own [CLS] is left out; a long product loses its end, and keeps its [SEP].
            offered = self._items[row][1:]
            room = width - len(asked)
            offered = offered if len(offered) <= room else [*offered[: room - 1], offered[-1]]
            end = len(asked) + len(offered)
            ids[place, :end], mask[place, :end] = asked + offered, 1
            types[place, len(asked) : end] = 1
        arrays = dict(zip(INPUTS, (ids, mask, types), strict=True))
        return {**{name: tf.constant(array) for name, array in arrays.items()}, "prior": tf.constant(priors[:, None])}
