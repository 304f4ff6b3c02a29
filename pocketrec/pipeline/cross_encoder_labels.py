"""What a cross-encoder said, between the stage that asked it and those that learn from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.atomic_files import disk_errors_named
from train.losses.distillation import ScoreLoss
from train.models.cross_encoder_training import CrossEncoderSettings
from train.models.projection import CrossEncoderLessons
from train.sampling.hard_negatives import ScoredLists

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
        loss=ScoreLoss(settings.distil, settings.distil_weight),
    )
