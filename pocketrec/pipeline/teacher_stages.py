"""The teacher's stages of a build: fine-tune it on the shop, then encode all texts that the student is trained on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from compress.measure.quality import unit_rows
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import TOKENIZER_FILE
from edge_runtime.contract.types import Float32, Progress
from pocketrec.pipeline.cross_encoder import projection_labels, read_lists, write_lists
from pocketrec.pipeline.settings import BuildSettings
from train.data.tables import Shop
from train.fine_tuning import fine_tune
from train.models.projection import CrossEncoderLabels, learn_projection, start_projection
from train.models.teacher import Teacher
from train.models.vocabulary import CutVocabulary, cut_vocabulary
from train.sampling.hard_negatives import ScoredLists
from train.text.augmentation import distillation_texts
from train.text.embedding_cache import EmbeddingCache

QUERY_WEIGHT = 3.0
"""A token of a query counts this often when the vocabulary is cut: queries are few, and they are what is typed."""

TEACHER_FOLDER = "teacher"
_STUDENT_TEXTS = "student_texts.txt"
_LISTS_FILE = "scored_lists.npz"


@dataclass(frozen=True)
class TeacherVectors:
    """The teacher's vectors, reduced to the device's width unless named wide; rows are of unit length.

    Attributes:
        items: float32 [products, dim].
        student_texts: what the student reads.
        targets: float32 [student_texts, dim], what it shall answer.
        held_out: float32 [held-out queries, dim].
        wide_items: float32 [products, teacher's width].
        wide_held_out: float32 [held-out queries, teacher's width].
        scored: lists that a cross-encoder scored; None unless the student learns from them.
    """

    items: Float32
    student_texts: list[str]
    targets: Float32
    held_out: Float32
    wide_items: Float32
    wide_held_out: Float32
    scored: ScoredLists | None = None


def teach(folder: Path, shop: Shop, settings: BuildSettings, progress: Progress) -> tuple[str, dict[str, Any]]:
    """Fine-tune the teacher on `shop` and save it below `folder`."""
    teacher = Teacher.open(settings.teacher_source)
    result = fine_tune(teacher, shop, settings.teacher, seed=settings.seed, checkpoint_folder=folder, progress=progress)
    teacher.save(folder / TEACHER_FOLDER)
    return result.summary, asdict(result)


def encode_shop(
    folder: Path,
    teacher_folder: Path,
    shop: Shop,
    held_out: Sequence[str],
    settings: BuildSettings,
    progress: Progress,
    *,
    remembered: Path | None = None,
    labels: CrossEncoderLabels | None = None,
) -> tuple[str, dict[str, Any]]:
    """Encode items, distillation texts and held-out queries; write what `read_vectors` reads.

    Args:
        folder: of the stage.
        teacher_folder: of the stage that left the teacher.
        shop: what may be learned from.
        held_out: queries that may not.
        settings: see `BuildSettings`.
        progress: called with (done, total) texts.
        remembered: vectors of texts that other builds have encoded (train/text/embedding_cache.py).
        labels: a cross-encoder's scores and hard negatives of this shop.
    """
    encoder = EmbeddingCache(Teacher.load(teacher_folder / TEACHER_FOLDER), remembered)
    pairs = distillation_texts(shop, settings.texts, seed=settings.seed)
    texts = sorted({pair.teacher_text for pair in pairs})
    item_texts = [product.text for product in shop.products]
    vectors = encoder.encode([*item_texts, *texts, *held_out], progress=progress)
    items, made, asked = np.split(vectors, [len(item_texts), len(item_texts) + len(texts)])
    matrix = start_projection(np.concatenate([items, made]), settings.dim, whitening=settings.projection.whitening)
    taught = projection_labels(labels, settings.cross_encoder) if labels else None
    matrix = learn_projection(
        matrix, shop, items, encoder.encode, settings.projection, seed=settings.seed, labels=taught
    )
    row_of = {text: row for row, text in enumerate(texts)}
    student_texts = [pair.student_text.replace("\n", " ") for pair in pairs]
    of_pairs = [row_of[pair.teacher_text] for pair in pairs]
    arrays = {
        "items": unit_rows(items @ matrix),
        "targets": unit_rows(made @ matrix)[of_pairs],
        "held_out": unit_rows(asked @ matrix),
        "wide_items": items,
        "wide_held_out": asked,
    }
    if labels and labels.lists is not None and settings.cross_encoder.scores_student:
        write_lists(folder / _LISTS_FILE, labels.lists)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    write_bytes_atomically(folder / _STUDENT_TEXTS, "\n".join(student_texts).encode())
    error = _cosine_error(items, arrays["items"], seed=settings.seed)
    width = items.shape[1]
    line = f"{len(items):,} products and {len(texts):,} texts; {settings.dim} of {width} dimensions change cosines by {error:.3f}"
    return line, {"products": len(items), "texts": len(texts), "teacher_dim": width, "cosine_error": error}


def read_vectors(folder: Path) -> TeacherVectors:
    """Return what `encode_shop` left in `folder`."""
    arrays = {
        name: np.load(folder / f"{name}.npy")
        for name in ("items", "targets", "held_out", "wide_items", "wide_held_out")
    }
    lists = folder / _LISTS_FILE
    return TeacherVectors(
        student_texts=(folder / _STUDENT_TEXTS).read_bytes().decode().split("\n"),
        scored=read_lists(lists) if lists.exists() else None,
        **arrays,
    )


def student_vocabulary(teacher_folder: Path, shop: Shop, size: int) -> CutVocabulary:
    """Cut the teacher's vocabulary to the shop's items and queries."""
    tokenizer = Tokenizer.from_file(str(teacher_folder / TEACHER_FOLDER / TOKENIZER_FILE))
    queries = sorted({*shop.queries, *(judgement.query for judgement in shop.judgements)})
    return cut_vocabulary(
        tokenizer, [([product.text for product in shop.products], 1.0), (queries, QUERY_WEIGHT)], size
    )


def teacher_token_embeddings(teacher_folder: Path) -> Float32 | None:
    """Return the fine-tuned teacher's word table, or None where it is unknown."""
    return Teacher.load(teacher_folder / TEACHER_FOLDER).token_embeddings()


def _cosine_error(wide: Float32, narrow: Float32, *, seed: int, sample: int = 500) -> float:
    """Return the mean absolute change of the cosines between items that the projection made."""
    rows = np.random.default_rng(seed).permutation(len(wide))[:sample]
    return float(np.abs(wide[rows] @ wide[rows].T - narrow[rows] @ narrow[rows].T).mean())
