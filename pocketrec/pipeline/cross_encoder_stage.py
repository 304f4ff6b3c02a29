"""The cross-encoder's stage of a build: taught from the judgements, then asked about candidates of real queries."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.contract.types import Progress
from pocketrec.pipeline.cross_encoder_labels import Said, write_said
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.teacher_stages import TEACHER_FOLDER
from train.data.tables import Judgement, Shop
from train.evaluation.metrics import rerank_ndcg
from train.models.cross_encoder_training import CrossEncoderRounds
from train.models.teacher import Teacher
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
    """Teach a cross-encoder that starts as the teacher in `teacher_folder`; write what `read_said` reads."""
    source = teacher_folder / TEACHER_FOLDER
    encoder = EmbeddingCache(Teacher.load(source), remembered or folder / VECTORS_FOLDER)
    rounds = CrossEncoderRounds(
        Teacher.load(source),
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
