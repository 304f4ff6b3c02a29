"""The student's loss: a sum of registered terms, each times its weight.

A term is a function with `@student_term(name)` in any file of this folder; its weight is the setting `<name>_weight` of
`DistillSettings` (train/distillation.py), and a weight of 0 leaves it out.

"vector" and "ranking" are embedding distillation (Kim et al., "EmbedDistill", 2023). Two more learn from lists that a
cross-encoder has scored: Margin-MSE (Hofstätter et al., "Improving Efficient Neural Ranking Models with
Cross-Architecture Knowledge Distillation", 2020) and listwise KL. Both take scores as logits. `ScoreLoss` says which
of them is used and with which weight; the projection is trained with them as well.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import train.losses
from train.backend import tf
from train.distillation import DistillSettings

ScoreLossKind = Literal["none", "margin-mse", "listwise-kl"]

NORM = 4.0
NORM_WEIGHT = 0.01
"""Only directions rank. One length for all keeps the int8 output range used and stable; the length is of no other
meaning, and the weight is small beside a cosine. Both were chosen, not measured."""

_MARGIN_UNIT = 0.25
"""Margins are some logits apart; in this unit their squares are as large as the divergence of a list, so that one weight
suits both losses."""


@dataclass(frozen=True)
class ScoreLoss:
    """Which loss of scored lists, and how much it counts beside the others."""

    kind: ScoreLossKind = "none"
    weight: float = 1.0


@dataclass(frozen=True)
class StudentAnswers:
    """What a term of the loss sees of one batch.

    Attributes:
        raw: float32 [batch, dim], what the student answered, of any length.
        vectors: float32 [batch, dim], the same at unit length.
        targets: float32 [batch, dim], the teacher's, unit rows.
        items: float32 [sample, dim], item vectors that rankings are compared over, unit rows.
        temperature: of the cosines.
        encode: other ids -> the student's unit vectors.
        extras: further tensors of the batch, see `distillation_batches`.
    """

    raw: Any
    vectors: Any
    targets: Any
    items: Any
    temperature: float
    encode: Callable[[Any], Any]
    extras: Mapping[str, Any]


Term = Callable[[StudentAnswers], Any]
"""The answers -> float32 [batch], or [] for the whole batch."""

_TERMS: dict[str, Term] = {}


def student_term(name: str) -> Callable[[Term], Term]:
    """Register a term of the student's loss under `name`."""

    def register(term: Term) -> Term:
        _TERMS[name] = term
        return term

    return register


def student_terms() -> Mapping[str, Term]:
    """Return all terms by name, those of the other files of this folder too."""
    for module in pkgutil.iter_modules(train.losses.__path__):
        importlib.import_module(f"{train.losses.__name__}.{module.name}")
    return _TERMS


def distillation_loss(
    model: Any, settings: DistillSettings, *, training: bool = True, scores: ScoreLoss | None = None
) -> Callable[..., Any]:
    """Return the loss of a batch (ids, targets, items, extras) of `distillation_batches`.

    Args:
        model: the student.
        settings: weights and temperature.
        training: how the model is called.
        scores: how scored lists count, when the batches hold such.

    Raises:
        ValueError: a setting weighs a term that nobody registered.
    """
    weights = {**settings.weights, "norm": NORM_WEIGHT}
    if scores is not None and scores.kind != "none":
        weights[scores.kind] = scores.weight
    known = student_terms()
    if missing := sorted(set(weights) - set(known)):
        raise ValueError(f"no term of the loss is named {missing[0]}, expected one of {', '.join(sorted(known))}")
    terms = [(known[name], weight) for name, weight in weights.items() if weight]

    def encode(ids: Any) -> Any:
        return tf.nn.l2_normalize(model(ids, training=training), axis=-1)

    def loss(ids: Any, targets: Any, items: Any, extras: Any) -> Any:
        raw = model(ids, training=training)
        vectors = tf.nn.l2_normalize(raw, axis=-1)
        answers = StudentAnswers(raw, vectors, targets, items, settings.temperature, encode, extras)
        return tf.reduce_mean(sum(weight * term(answers) for term, weight in terms))

    return loss


@student_term("vector")
def vector_term(answers: StudentAnswers) -> Any:
    """Return 1 - cosine(student, teacher)."""
    return 1.0 - tf.reduce_sum(answers.vectors * answers.targets, axis=-1)


@student_term("ranking")
def ranking_term(answers: StudentAnswers) -> Any:
    """Return the divergence of the student's ranking of the sampled items from the teacher's."""
    own, wanted = (
        tf.nn.log_softmax(tf.matmul(one, answers.items, transpose_b=True) / answers.temperature)
        for one in (answers.vectors, answers.targets)
    )
    return tf.reduce_sum(tf.exp(wanted) * (wanted - own), axis=-1)


@student_term("norm")
def norm_term(answers: StudentAnswers) -> Any:
    """Return how far the raw vectors' lengths are from `NORM`, squared."""
    return tf.square(tf.norm(answers.raw, axis=-1) - NORM)


@student_term("margin-mse")
def margin_mse_term(answers: StudentAnswers) -> Any:
    """Return Margin-MSE of the batch's scored lists; 0 without such."""
    return _of_lists("margin-mse", answers)


@student_term("listwise-kl")
def listwise_kl_term(answers: StudentAnswers) -> Any:
    """Return the listwise divergence of the batch's scored lists; 0 without such."""
    return _of_lists("listwise-kl", answers)


def _of_lists(kind: ScoreLossKind, answers: StudentAnswers) -> Any:
    if "list_ids" not in answers.extras:
        return tf.zeros(())
    asked = answers.encode(answers.extras["list_ids"])
    own = tf.einsum("ld,lcd->lc", asked, answers.extras["list_items"]) / answers.temperature
    return score_loss(kind, own, answers.extras["list_scores"])


def score_loss(kind: ScoreLossKind, own: Any, teacher: Any) -> Any:
    """Return the mean loss of the lists: a scalar.

    Args:
        kind: "margin-mse", "listwise-kl", or "none" for 0.
        own: float32 [lists, candidates], what is trained.
        teacher: float32 [lists, candidates].
    """
    if kind == "margin-mse":
        best = tf.argmax(teacher, axis=1)
        wanted, found = (tf.gather(scores, best, axis=1, batch_dims=1)[:, None] - scores for scores in (teacher, own))
        candidates = tf.cast(tf.shape(own)[1], own.dtype)
        # The best one's distance from itself is 0 on both sides and is not counted.
        squares = tf.square((found - wanted) * _MARGIN_UNIT)
        return tf.reduce_mean(tf.reduce_sum(squares, axis=1) / tf.maximum(candidates - 1.0, 1.0))
    if kind == "listwise-kl":
        log_teacher, log_own = tf.nn.log_softmax(teacher), tf.nn.log_softmax(own)
        return tf.reduce_mean(tf.reduce_sum(tf.exp(log_teacher) * (log_teacher - log_own), axis=1))
    return tf.zeros(())
