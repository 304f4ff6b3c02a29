"""The student's way through a build: distil, prune, quantize; each stage starts from the weights of the one before."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from compress.measure.quality import unit_rows
from compress.pruning import kernel_sparsity, strip, with_pruning
from compress.quantization import calibrate, quantize
from compress.variants import VariantName
from edge_runtime.contract.types import Float32, Progress
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.teacher_stages import TeacherVectors
from train.checkpoints import has_checkpoint
from train.distillation import (
    DistillationSet,
    ScoredIds,
    distillation_batches,
)
from train.loop import Adversary, Batches, FitSettings, fit
from train.losses.distillation import ScoreLoss, distillation_loss
from train.models.student import build_student, start_from_teacher
from train.models.vocabulary import CutVocabulary, token_ids

WEIGHTS_FILE = "model.weights.h5"
_ENCODE_BATCH = 512

StageOutcome = tuple[str, dict[str, Any]]
"""One line for people, and what goes into the report."""


class StudentStages:
    """Trains the encoder of one build.

    Every method leaves `WEIGHTS_FILE` in the stage's folder and resumes from the checkpoint there; `student` and
    `quantized` load what the methods left.
    """

    def __init__(self, settings: BuildSettings, data: DistillationSet, tokenizer: Tokenizer) -> None:
        self._settings = settings
        self._data = data
        self._tokenizer = tokenizer
        self._dim = settings.dim

    def distil(
        self, folder: Path, vocabulary: CutVocabulary, token_embeddings: Float32 | None, progress: Progress
    ) -> StageOutcome:
        """Train the float student from the teacher's vectors."""
        model = self._new_student()
        if token_embeddings is not None:
            start_from_teacher(model, token_embeddings, teacher_ids=vocabulary.teacher_ids)
        distill = self._settings.distill
        fit_settings = FitSettings(distill.steps, distill.learning_rate)
        adversary = Adversary(model.get_layer("word").embeddings, distill.adversary) if distill.adversary else None
        loss = self._fit(model, fit_settings, folder, progress, adversary=adversary)
        model.save_weights(folder / WEIGHTS_FILE)
        size = vocabulary.tokenizer.get_vocab_size()
        line = f"{model.count_params():,} weights, {size:,} word pieces ({vocabulary.coverage:.1%} of the text), loss {loss:.4f}"
        return line, {
            "weights": model.count_params(),
            "vocabulary": size,
            "coverage": vocabulary.coverage,
            "loss": loss,
        }

    def prune(self, start: Path, folder: Path, progress: Progress) -> StageOutcome:
        """Prune the student in `start`."""
        settings = self._settings.prune
        model, loss = self.student(start), None
        if settings.prunes:
            wrapped, after_step = with_pruning(model, settings)
            fit_settings = FitSettings(settings.steps, settings.learning_rate)
            loss = self._fit(wrapped, fit_settings, folder, progress, after_step=after_step)
            model = strip(wrapped)
        model.save_weights(folder / WEIGHTS_FILE)
        sparsity = kernel_sparsity(model)
        line = f"{np.mean(list(sparsity.values())):.0%} of the kernels' weights are zero"
        return line, {"sparsity": sparsity, "loss": loss}

    def quantize(self, start: Path, folder: Path, progress: Progress) -> StageOutcome:
        """Quantization-aware training of the pruned student in `start`; its zeros stay zero."""
        settings = self._settings.quantize
        model = quantize(self.student(start))
        batches = self._batches()
        if not has_checkpoint(folder):
            calibrate(model, lambda step: batches(step)[:1])
        loss = self._fit(model, FitSettings(settings.steps, settings.learning_rate), folder, progress)
        model.save_weights(folder / WEIGHTS_FILE)
        return f"8-bit weights and activations, loss {loss:.4f}", {"loss": loss}

    def student(self, folder: Path) -> Any:
        """Return the float student whose weights lie in `folder`."""
        model = self._new_student()
        model.load_weights(folder / WEIGHTS_FILE)
        return model

    def quantized(self, pruned: Path, folder: Path) -> Any:
        """Return the quantized student in `folder`, which was made from the one in `pruned`."""
        model = quantize(self.student(pruned))
        model.load_weights(folder / WEIGHTS_FILE)
        return model

    def calibrated(self, pruned: Path) -> Any:
        """Return the quantized student of `pruned` whose ranges have settled and which was not trained: the control."""
        model = quantize(self.student(pruned))
        batches = self._batches()
        calibrate(model, lambda step: batches(step)[:1])
        return model

    def as_variant(self, variant: VariantName, pruned: Path, quantized: Path) -> Any:
        """Return the encoder that a bundle of this variant ships, as it is before conversion."""
        if variant == "int8":
            return self.quantized(pruned, quantized)
        return self.calibrated(pruned) if variant == "int8-calibrated" else self.student(pruned)

    def query_ids(self, texts: list[str]) -> Any:
        """Return int32 [texts, query_tokens]."""
        return token_ids(self._tokenizer, texts, self._settings.student.query_tokens)

    def encode(self, model: Any, texts: list[str]) -> Float32:
        """Return unit vectors float32 [texts, dim] of queries."""
        ids = self.query_ids(texts)
        parts = [model(ids[i : i + _ENCODE_BATCH], training=False).numpy() for i in range(0, len(ids), _ENCODE_BATCH)]
        return unit_rows(np.concatenate(parts)) if parts else np.zeros((0, self._dim), np.float32)

    def _new_student(self) -> Any:
        return build_student(self._settings.student, vocabulary=self._tokenizer.get_vocab_size(), dim=self._dim)

    def _batches(self) -> Batches:
        return distillation_batches(self._data, self._settings.distill, seed=self._settings.seed)

    def _fit(
        self,
        model: Any,
        settings: FitSettings,
        folder: Path,
        progress: Progress,
        *,
        after_step: Callable[[int], None] | None = None,
        adversary: Adversary | None = None,
    ) -> float:
        asked = self._settings.cross_encoder
        scores = ScoreLoss(asked.distil, asked.distil_weight)
        return fit(
            model,
            distillation_loss(model, self._settings.distill, scores=scores),
            self._batches(),
            settings,
            checkpoint_folder=folder,
            progress=progress,
            after_step=after_step,
            adversary=adversary,
        )


def distillation_set(
    tokenizer: Tokenizer, settings: BuildSettings, vectors: TeacherVectors, item_texts: list[str]
) -> DistillationSet:
    """Tokenize what the student learns from."""
    scored = vectors.scored
    return DistillationSet(
        query_ids=token_ids(tokenizer, vectors.student_texts, settings.student.query_tokens),
        query_targets=vectors.targets,
        item_ids=token_ids(tokenizer, item_texts, settings.student.item_tokens),
        item_targets=vectors.items,
        scored=None
        if scored is None
        else ScoredIds(token_ids(tokenizer, scored.texts, settings.student.query_tokens), scored.rows, scored.scores),
    )
