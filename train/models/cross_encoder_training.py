"""Trains the cross-encoder in rounds; then it gives hard negatives and scored lists.

Each round trains on the judgements and on negatives mined for it. In the first round these are products that the
bi-encoder ranks high, but not highest; in later rounds those that the cross-encoder of the round before scores highest,
without those that it takes for positives.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.types import Float32, Progress
from train.data.tables import Shop
from train.losses.distillation import ScoreLossKind
from train.models.cross_encoder import CrossEncoder, CrossEncoderShape
from train.models.teacher import Teacher
from train.sampling.contrastive_batches import POSITIVE_GAIN, JudgedQuery
from train.sampling.hard_negatives import (
    ScoredLists,
    graded_lists,
    top_candidates,
    training_queries,
    unjudged_candidates,
    without_false_negatives,
)

Int64 = npt.NDArray[np.int64]

SKIPPED = 2
"""So many of the bi-encoder's best unjudged products are no negatives of the first round."""

MAX_POSITIVES = 4
"""So many positives of a query are scored to tell what a positive scores."""

_TRAINING_COST = 3
"""A pair that is trained on costs as much as so many that are only scored."""


@dataclass(frozen=True)
class CrossEncoderSettings:
    """The cross-encoder, its training and its use.

    Attributes:
        steps: of training over all rounds; 0 leaves the cross-encoder out.
        rounds: negatives are mined anew for each.
        queries: number of judged queries to train on, those with graded lists first.
        list_size: candidates of a list in training.
        mined: hard negatives of a query before they are filtered.
        negative_margin: a mined product within so many logits of the positives' mean is taken for a positive.
        negatives: the projection learns from the filtered negatives.
        distill: how its scores of candidate lists are distilled.
        distill_into: where; the projection moves queries and products, the student only queries.
        distill_weight: beside the other losses.
        scored_texts: so many real queries get a list.
        candidates: products of a list.
        shape: how it reads and learns.
    """

    steps: int = 0
    rounds: int = 2
    queries: int = 400
    list_size: int = 8
    mined: int = 8
    negative_margin: float = 1.0
    negatives: bool = True
    distill: ScoreLossKind = "listwise-kl"
    distill_into: Literal["projection", "student", "both"] = "projection"
    distill_weight: float = 1.0
    scored_texts: int = 400
    candidates: int = 12
    shape: CrossEncoderShape = field(default_factory=CrossEncoderShape)

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing could be learned."""
        least = {"steps": 0, "rounds": 1, "queries": 1, "list_size": 2, "mined": 1, "scored_texts": 1, "candidates": 2}
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise ValueError(f"{name} is {getattr(self, name)}, expected {limit} or more")
        if not self.distill_weight >= 0:
            raise ValueError(f"distill_weight is {self.distill_weight}, expected 0 or more")

    @property
    def of_training(self) -> "CrossEncoderSettings":
        """These settings with all that only decides what its answers are used for as it is by default."""
        default = CrossEncoderSettings()
        uses = ("negatives", "distill", "distill_into", "distill_weight")
        return replace(self, **{name: getattr(default, name) for name in uses})

    @property
    def scores_projection(self) -> bool:
        """Whether the projection learns from scored lists."""
        return self.distill != "none" and self.distill_into != "student"

    @property
    def scores_student(self) -> bool:
        """Whether the student learns from scored lists."""
        return self.distill != "none" and self.distill_into != "projection"


@dataclass(frozen=True)
class Relevance:
    """What a trained cross-encoder says of a shop.

    Attributes:
        lists: real queries with their best candidates, scored.
        negatives: query -> int64 rows, hard negatives that it does not take for positives.
        dropped: how many mined products it took for positives.
        held_out: float32 scores of the judged products of each held-out query.
        loss: of the last steps.
    """

    lists: ScoredLists
    negatives: Mapping[str, Int64]
    dropped: int
    held_out: list[Float32]
    loss: float


class CrossEncoderRounds:
    """One run over one shop, resumed from `folder`."""

    def __init__(
        self,
        teacher: Teacher,
        shop: Shop,
        encode: Callable[[Sequence[str]], Float32],
        settings: CrossEncoderSettings,
        *,
        held_out: Mapping[str, Int64],
        folder: Path,
        seed: int,
        progress: Progress,
    ) -> None:
        """Encode products and queries; train nothing.

        Args:
            teacher: whose encoder becomes the cross-encoder's; used for nothing else afterwards.
            shop: what may be learned from.
            encode: the bi-encoder: texts -> float32 [texts, width], unit rows.
            settings: see `CrossEncoderSettings`.
            held_out: query -> rows of its judged products, to be scored and not learned from.
            folder: of checkpoints and mined lists.
            seed: of every draw.
            progress: called with (done, total) in scored pairs.
        """
        self._settings, self._folder, self._seed = settings, folder, seed
        self._judged = training_queries(shop, limit=settings.queries, seed=seed)
        named = [query.text for query in self._judged]
        others = [text for text in dict.fromkeys(shop.queries) if text not in set(named)]
        drawn = [others[row] for row in np.random.default_rng((seed, 1)).permutation(len(others))]
        self._asked = [*named, *drawn][: max(len(named), settings.scored_texts)]
        self._held_out = held_out
        texts = [*self._asked, *held_out]
        item_texts = [product.text for product in shop.products]
        vectors = encode([*item_texts, *texts])
        self._cosines: Float32 = vectors[len(item_texts) :] @ vectors[: len(item_texts)].T
        self._model = CrossEncoder(teacher, texts, item_texts, settings.shape)
        self._meter = _Meter(progress, self._total_pairs())

    def run(self) -> Relevance:
        """Train all rounds; score what the others learn from.

        Raises:
            DivergedError: the loss became NaN or infinite.
            StorageError: a checkpoint could not be written.
        """
        mined = [
            unjudged_candidates(self._cosines[place], query, skip=SKIPPED, count=self._settings.mined)
            for place, query in enumerate(self._judged)
        ]
        loss = 0.0
        for number in range(self._settings.rounds):
            path = self._folder / f"negatives-{number}.npz"
            loss = self._learn(number, _remembered(path, lambda: self._filtered(mined)) if number else mined)
        kept = self._filtered(mined)
        asked = len(self._asked)
        result = Relevance(
            lists=self._scored_lists(),
            negatives={query.text: rows for query, rows in zip(self._judged, kept, strict=True)},
            dropped=sum(map(len, mined)) - sum(map(len, kept)),
            held_out=self._scores(np.arange(asked, asked + len(self._held_out)), list(self._held_out.values())),
            loss=loss,
        )
        self._meter.ended()
        return result

    def _learn(self, number: int, negatives: Sequence[Int64]) -> float:
        settings = self._settings
        cosines = self._cosines[: len(self._judged)]
        lists = graded_lists(self._judged, negatives, cosines, size=settings.list_size, seed=self._seed + number)
        steps = settings.steps // settings.rounds + (number < settings.steps % settings.rounds)
        pairs = settings.list_size * settings.shape.lists_per_step * _TRAINING_COST

        def progress(done: int, _total: int) -> None:
            self._meter.at(done * pairs)

        folder = self._folder / f"round-{number}"
        loss = self._model.learn(lists, steps=steps, folder=folder, seed=self._seed + number, progress=progress)
        self._meter.passed(steps * pairs)
        return loss

    def _filtered(self, mined: Sequence[Int64]) -> list[Int64]:
        places = np.arange(len(self._judged))
        positives = self._scores(places, [_positives(query) for query in self._judged])
        scores = self._scores(places, mined)
        margin = self._settings.negative_margin
        return [
            without_false_negatives(rows, own, positive, margin=margin)
            for rows, own, positive in zip(mined, scores, positives, strict=True)
        ]

    def _scored_lists(self) -> ScoredLists:
        texts = self._asked[: self._settings.scored_texts]
        rows = top_candidates(self._cosines[: len(texts)], self._settings.candidates)
        scores = self._scores(np.arange(len(texts)), list(rows))
        return ScoredLists(texts, rows, np.stack(scores))

    def _scores(self, queries: Int64, rows: Sequence[Int64]) -> list[Float32]:
        """Return the scores of lists of unlike lengths."""
        lengths = [len(own) for own in rows]
        if not sum(lengths):
            return [np.zeros(0, np.float32) for _ in rows]
        owners, flat = np.repeat(queries, lengths), np.concatenate(rows)
        priors = self._cosines[owners, flat]
        scores = self._model.score(owners, flat, priors, progress=lambda done, _total: self._meter.at(done))
        self._meter.passed(len(flat))
        return np.split(scores, np.cumsum(lengths)[:-1])

    def _total_pairs(self) -> int:
        settings = self._settings
        trained = settings.steps * settings.list_size * settings.shape.lists_per_step * _TRAINING_COST
        filtered = sum(settings.mined + len(_positives(query)) for query in self._judged) * settings.rounds
        lists = min(len(self._asked), settings.scored_texts) * settings.candidates
        return trained + filtered + lists + sum(map(len, self._held_out.values()))


class _Meter:
    """Adds up what several loops report."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._before = progress, total, 0

    def at(self, done: int) -> None:
        self._progress(min(self._before + done, self._total), self._total)

    def passed(self, count: int) -> None:
        self._before += count

    def ended(self) -> None:
        """Where fewer products could be mined than were asked for, the total was not reached."""
        self._progress(self._total, self._total)


def _positives(query: JudgedQuery) -> Int64:
    return query.rows[query.gains >= POSITIVE_GAIN][:MAX_POSITIVES]


def _remembered(path: Path, make: Callable[[], list[Int64]]) -> list[Int64]:
    """Return what an earlier, stopped run mined, or mine it and write it down: a later model would mine otherwise."""
    if not path.exists():
        found = make()
        content = io.BytesIO()
        np.savez(content, rows=np.concatenate(found), lengths=np.array([len(rows) for rows in found], np.int64))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, content.getvalue())
    with np.load(path) as content:
        return np.split(content["rows"], np.cumsum(content["lengths"])[:-1])
