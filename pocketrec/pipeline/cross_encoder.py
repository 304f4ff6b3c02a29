"""The cross-encoder's stage of a build: trained on the judgements, then it scores candidates of real queries.

The scores are written into the stage's folder, for the stages that train on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from train.models.projection import CrossEncoderLessons
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
    """Teach a cross-encoder that starts as the teacher saved in `teacher_folder`; write what `read_said` reads."""
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
    said = rounds.run()
    write_said(folder, Said(said.lists, said.negatives))
    quality = _rerank(held_out, said.held_out)
    mined = sum(map(len, said.negatives.values()))
    line = (
        f"{len(said.lists.texts):,} lists scored, {mined:,} hard negatives, {said.dropped:,} more taken for positives"
    )
    line += f"; re-rank NDCG@10 {quality:.3f}" if quality is not None else ""
    report = {"lists": len(said.lists.texts), "negatives": mined, "dropped": said.dropped, "loss": said.loss}
    return line, {**report, "rerank_ndcg10": quality}


def _rerank(held_out: Mapping[str, Sequence[Judgement]], scores: Sequence[Any]) -> float | None:
    values = []
    for judged, own in zip(held_out.values(), scores, strict=True):
        gains = np.array([one.gain for one in judged])
        if gains.any():
            values.append(rerank_ndcg(gains, own, 10))
    return float(np.mean(values)) if values else None


_LISTS_FILE, _NEGATIVES_FILE = "lists.npz", "negatives.npz"


@dataclass(frozen=True)
class Said:
    """Scored lists, and query -> int64 rows of mined negatives."""

    lists: ScoredLists
    negatives: Mapping[str, npt.NDArray[np.int64]]


def write_said(folder: Path, said: Said) -> None:
    """Write what `read_said` reads.

    Raises:
        StorageError: the disk is full, read-only or not permitted.
    """
    write_lists(folder / _LISTS_FILE, said.lists)
    queries, negatives = list(said.negatives), list(said.negatives.values())
    with disk_errors_named(folder):
        np.savez(
            folder / _NEGATIVES_FILE,
            queries=np.array(queries, dtype=np.str_),
            rows=np.concatenate(negatives) if negatives else np.zeros(0, np.int64),
            lengths=np.array([len(rows) for rows in negatives], np.int64),
        )


def read_said(folder: Path) -> Said:
    """Return what `write_said` left in `folder`."""
    with np.load(folder / _NEGATIVES_FILE) as content:
        rows = np.split(content["rows"], np.cumsum(content["lengths"])[:-1])
        return Said(read_lists(folder / _LISTS_FILE), dict(zip(content["queries"].tolist(), rows, strict=True)))


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


def lessons(said: Said, settings: CrossEncoderSettings) -> CrossEncoderLessons:
    """Return what the projection learns of it."""
    return CrossEncoderLessons(
        negatives=said.negatives if settings.negatives else {},
        lists=said.lists if settings.scores_projection else None,
        loss=ScoreLoss(settings.distill, settings.distill_weight),
    )
