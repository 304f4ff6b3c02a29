"""The cross-encoder's stage of a build: trained on the judgements, then it scores candidates of real queries.

The scores are written into the stage's folder, for the stages that train on them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.types import Progress
from pocketrec.pipeline.settings import BuildSettings
from train.data.tables import Judgement, Shop
from train.evaluation.metrics import rerank_ndcg
from train.losses.distillation import ScoreLoss
from train.models.cross_encoder_training import CrossEncoderRounds, CrossEncoderSettings
from train.models.projection import CrossEncoderLabels
from train.models.teacher import Teacher
from train.sampling.hard_negatives import ScoredLists
from train.text.embedding_cache import EmbeddingCache

VECTORS_FOLDER = "encoded"
"""Where the stage remembers vectors when the build has no folder for them."""


def teach_cross_encoder(
    folder: Path,
    teacher_folder: Path,
    shop: Shop,
    held_out: Mapping[str, Sequence[Judgement]],
    settings: BuildSettings,
    progress: Progress,
    *,
    remembered: Path | None = None,
) -> tuple[str, dict[str, Any]]:
    """Teach a cross-encoder that starts as the teacher saved in `teacher_folder`; write what `read_labels` reads."""
    encoder = EmbeddingCache(Teacher.load(teacher_folder), remembered or folder / VECTORS_FOLDER)
    rounds = CrossEncoderRounds(
        Teacher.load(teacher_folder),
        shop,
        encoder.encode,
        settings.cross_encoder,
        held_out={query: np.array([one.row for one in judged], np.int64) for query, judged in held_out.items()},
        folder=folder,
        seed=settings.seed,
        progress=progress,
    )
    result = rounds.run()
    write_labels(folder, result.lists, result.negatives)
    quality = _rerank(held_out, result.held_out)
    mined = sum(map(len, result.negatives.values()))
    line = f"{len(result.lists.texts):,} lists scored, {mined:,} hard negatives, {result.dropped:,} more taken for positives"
    line += f"; re-rank NDCG@10 {quality:.3f}" if quality is not None else ""
    report = {"lists": len(result.lists.texts), "negatives": mined, "dropped": result.dropped, "loss": result.loss}
    return line, {**report, "rerank_ndcg10": quality}


def _rerank(held_out: Mapping[str, Sequence[Judgement]], scores: Sequence[Any]) -> float | None:
    values = []
    for judged, own in zip(held_out.values(), scores, strict=True):
        gains = np.array([one.gain for one in judged])
        if gains.any():
            values.append(rerank_ndcg(gains, own, 10))
    return float(np.mean(values)) if values else None


_LISTS_FILE, _NEGATIVES_FILE = "lists.npz", "negatives.npz"


def write_labels(folder: Path, scored: ScoredLists, mined: Mapping[str, npt.NDArray[np.int64]]) -> None:
    """Write scored lists, and query -> int64 rows of mined negatives, for `read_labels`.

    Raises:
        StorageError: the disk is full, read-only or not permitted.
    """
    write_lists(folder / _LISTS_FILE, scored)
    queries, negatives = list(mined), list(mined.values())
    with disk_errors_named(folder):
        np.savez(
            folder / _NEGATIVES_FILE,
            queries=np.array(queries, dtype=np.str_),
            rows=np.concatenate(negatives) if negatives else np.zeros(0, np.int64),
            lengths=np.array([len(rows) for rows in negatives], np.int64),
        )


def read_labels(folder: Path) -> CrossEncoderLabels:
    """Return what `write_labels` left in `folder`."""
    with np.load(folder / _NEGATIVES_FILE) as content:
        rows = np.split(content["rows"], np.cumsum(content["lengths"])[:-1])
        negatives = dict(zip(content["queries"].tolist(), rows, strict=True))
    return CrossEncoderLabels(negatives, read_lists(folder / _LISTS_FILE))


def write_lists(path: Path, lists: ScoredLists) -> None:
    """Write what `read_lists` reads.

    Raises:
        StorageError: the disk is full, read-only or not permitted.
    """
    with disk_errors_named(path):
        np.savez(path, texts=np.array(lists.texts, dtype=np.str_), rows=lists.rows, scores=lists.scores)


def read_lists(path: Path) -> ScoredLists:
    """Return the lists in `path`."""
    with np.load(path) as content:
        return ScoredLists(content["texts"].tolist(), content["rows"], content["scores"])


def projection_labels(labels: CrossEncoderLabels, settings: CrossEncoderSettings) -> CrossEncoderLabels:
    """Return those of `labels` that the settings let the projection learn from, with the loss of their scores."""
    return CrossEncoderLabels(
        negatives=labels.negatives if settings.negatives else {},
        lists=labels.lists if settings.scores_projection else None,
        loss=ScoreLoss(settings.distill, settings.distill_weight),
    )
