"""The student's stages of a build: distill, prune, quantize, convert to `encoder.tflite`.

Each stage starts from the weights of the one before, in the build's own folder or in that of a candidate.
"""

import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from compress.measure.quality import StageQuality, rank_quality, unit_rows
from compress.pruning import kernel_sparsity, strip, with_pruning
from compress.quantization import calibrate, quantize
from compress.tflite import convert_encoder
from compress.variants import VARIANTS, VariantName, convert_outcome, write_variant
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import ENCODER_FILE, TOKENIZER_FILE, EncoderSpec
from edge_runtime.contract.types import Float32, Progress
from pocketrec.pipeline.graph import StageRunner
from pocketrec.pipeline.history_stages import HistoryStages, TaskStages, task_stage_names
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.stages import StageResult, Stages
from pocketrec.pipeline.teacher_stages import TeacherVectors, student_vocabulary, teacher_token_embeddings
from train.checkpoints import has_checkpoint
from train.data.tables import Judgement, Shop
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

    def distill(
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
        scores = ScoreLoss(asked.distill, asked.distill_weight)
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


@dataclass(frozen=True)
class EncoderInputs:
    """What every student of one build starts from.

    Attributes:
        shop: whose products are read.
        training_shop: without the held-out queries; the vocabulary is cut to it.
        held_out: the queries that measure.
        vectors: what the stage "vectors" left.
        history: trains the history head over these vectors.
        tasks: trains the heads of further tasks.
        results: name of a stage -> its result: teacher, vectors, history, history-int8, those of `tasks`, and
            cross-encoder where it ran.
    """

    shop: Shop
    training_shop: Shop
    held_out: Mapping[str, Sequence[Judgement]]
    vectors: TeacherVectors
    history: HistoryStages
    tasks: TaskStages
    results: Mapping[str, StageResult]

    @property
    def item_vectors(self) -> Float32:
        """The catalogue's vectors float32 [products, dim], unit rows, after what purchases did to them."""
        return self.history.item_vectors(self.results["history"].folder)


@dataclass(frozen=True)
class EncoderBuild:
    """What the student's stages left.

    Attributes:
        results: name of a stage -> its result; the folder of "convert" holds `encoder.tflite` and `tokenizer.json`.
        quality: of the stages, on the held-out queries.
        spec: lengths of the encoder's signatures.
    """

    results: Mapping[str, StageResult]
    quality: list[StageQuality]
    spec: EncoderSpec


class EncoderStages:
    """Runs the student's stages under one `BuildSettings`."""

    def __init__(self, inputs: EncoderInputs, settings: BuildSettings, stages: Stages) -> None:
        self._inputs = inputs
        self._settings = settings
        self._run = StageRunner(stages, settings)

    @cached_property
    def vocabulary(self) -> CutVocabulary:
        """The student's vocabulary."""
        inputs = self._inputs
        return student_vocabulary(
            inputs.results["teacher"].folder, inputs.training_shop, self._settings.student.vocabulary
        )

    @cached_property
    def student(self) -> StudentStages:
        """Trains the student and loads what training left."""
        texts = [product.text for product in self._inputs.shop.products]
        data = distillation_set(self.vocabulary.tokenizer, self._settings, self._inputs.vectors, texts)
        return StudentStages(self._settings, data, self.vocabulary.tokenizer)

    def distill(self, name: str = "student") -> StageResult:
        """Run the stage that trains the float student."""
        return self._run(
            name,
            lambda folder, progress: self.student.distill(
                folder, self.vocabulary, teacher_token_embeddings(self._inputs.results["teacher"].folder), progress
            ),
            vectors=self._inputs.results["vectors"],
        )

    def prune(self, distilled: StageResult) -> StageResult:
        """Run the stage that prunes the float student."""
        return self._run(
            "prune",
            lambda folder, progress: self.student.prune(distilled.folder, folder, progress),
            student=distilled,
        )

    def build(self, distilled: StageResult | None = None) -> EncoderBuild:
        """Run all stages: distill (unless `distilled` is its result already), prune, quantize, convert."""
        inputs, student = self._inputs, self.student
        distilled = distilled or self.distill()
        pruned = self.prune(distilled)
        quantized = self._run(
            "quantize",
            lambda folder, progress: student.quantize(pruned.folder, folder, progress),
            prune=pruned,
        )
        self._run(
            "convert",
            lambda folder, progress: self._convert(folder, pruned.folder, quantized.folder, progress),
            quantize=quantized,
            history_int8=inputs.results["history-int8"],
            task_heads=[inputs.results[name].key for name in task_stage_names()],
            held_out_judgements=inputs.held_out,
        )
        return EncoderBuild(
            results={"student": distilled, **self._run.results},
            quality=self._quality(distilled, pruned),
            spec=self._settings.encoder_spec,
        )

    def _convert(self, folder: Path, pruned: Path, quantized: Path, progress: Progress) -> tuple[str, dict[str, Any]]:
        inputs, settings, student = self._inputs, self._settings, self.student
        history, head = inputs.history, inputs.results["history"].folder
        folders = {name: result.folder for name, result in inputs.results.items()}
        made = {}
        for number, name in enumerate(VARIANTS, 1):
            float_head = name == "dynamic-range"
            made[name] = write_variant(
                name,
                convert_encoder(
                    student.as_variant(name, pruned, quantized),
                    history.trained(head)
                    if float_head
                    else history.quantized(head, inputs.results["history-int8"].folder),
                    settings.encoder_spec,
                    dim=settings.dim,
                    heads=inputs.tasks.trained(folders) if float_head else inputs.tasks.quantized(folders),
                ),
                folder,
                query_ids=student.query_ids(list(inputs.held_out)),
                judged=inputs.held_out,
                items=inputs.item_vectors,
            )
            progress(number, len(VARIANTS))
        shutil.copyfile(folder / settings.variant / ENCODER_FILE, folder / ENCODER_FILE)
        tokenizer = self.vocabulary.tokenizer.to_str().encode()
        write_bytes_atomically(folder / TOKENIZER_FILE, tokenizer)
        line, report = convert_outcome(made, settings.variant)
        return line, {**report, "tokenizer_compressed_bytes": len(zlib.compress(tokenizer, 9))}

    def _quality(self, distilled: StageResult, pruned: StageResult) -> list[StageQuality]:
        inputs, student = self._inputs, self.student
        if not inputs.held_out:
            return []
        queries = list(inputs.held_out)
        items = inputs.vectors.items
        pruned_queries = student.encode(student.student(pruned.folder), queries)
        rows = [
            rank_quality(
                "student", inputs.held_out, student.encode(student.student(distilled.folder), queries) @ items.T
            ),
            rank_quality("pruned", inputs.held_out, pruned_queries @ items.T),
            # Apart from int8, so that a loss here is known to come from what purchases did to the item vectors.
            rank_quality(
                "pruned, items by purchases",
                inputs.held_out,
                pruned_queries @ inputs.item_vectors.T,
            ),
        ]
        return [row for row in rows if row is not None]
