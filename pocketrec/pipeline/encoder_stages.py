"""The student's stages, from the teacher's vectors to `encoder.tflite`: in the build's own folder or a candidate's."""

import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from compress.measure.quality import StageQuality, rank_quality
from compress.tflite import convert_encoder
from compress.variants import VARIANTS, convert_outcome, write_variant
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import ENCODER_FILE, TOKENIZER_FILE, EncoderSpec
from edge_runtime.contract.types import Progress
from pocketrec.pipeline.graph import version_of
from pocketrec.pipeline.history_stages import HistoryStages
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.stages import StageResult, Stages, StageWork
from pocketrec.pipeline.student_stages import StudentStages, distillation_set
from pocketrec.pipeline.teacher_stages import TeacherVectors, student_vocabulary, teacher_token_embeddings
from train.backend import make_reproducible
from train.data.tables import Judgement, Shop
from train.models.vocabulary import CutVocabulary

RunStage = Callable[[str, list[Any], StageWork], StageResult]


@dataclass(frozen=True)
class EncoderInputs:
    """What every student of one build starts from.

    Attributes:
        shop: whose products are read.
        training_shop: without the held-out queries; the vocabulary is cut to it.
        held_out: the queries that measure.
        teacher: stage with the fine-tuned teacher.
        encoded: stage with its vectors.
        vectors: what `encoded` holds.
        history: trains the history head over these vectors.
        head: stage with the trained head.
        head_int8: stage with the quantized head.
        cross_encoder: its stage; None where it was left out.
    """

    shop: Shop
    training_shop: Shop
    held_out: Mapping[str, Sequence[Judgement]]
    teacher: StageResult
    encoded: StageResult
    vectors: TeacherVectors
    history: HistoryStages
    head: StageResult
    head_int8: StageResult
    cross_encoder: StageResult | None = None

    @property
    def stages(self) -> list[StageResult]:
        """All of them, in their order."""
        first = [self.teacher, *([self.cross_encoder] if self.cross_encoder else [])]
        return [*first, self.encoded, self.head, self.head_int8]


@dataclass(frozen=True)
class EncoderBuild:
    """What the stages left.

    Attributes:
        stages: all of them, in their order.
        folders: name of a stage -> the folder of the weights that it left.
        converted: the one whose folder holds `encoder.tflite` and `tokenizer.json`.
        quality: of the stages, on the held-out queries.
        spec: lengths of the encoder's signatures.
    """

    stages: list[StageResult]
    folders: dict[str, Path]
    converted: StageResult
    quality: list[StageQuality]
    spec: EncoderSpec


class EncoderStages:
    """Runs the student's stages under one `BuildSettings`."""

    def __init__(self, inputs: EncoderInputs, settings: BuildSettings, run: RunStage) -> None:
        self._inputs = inputs
        self._settings = settings
        self._run = run

    @cached_property
    def vocabulary(self) -> CutVocabulary:
        """The student's vocabulary."""
        inputs = self._inputs
        return student_vocabulary(inputs.teacher.folder, inputs.training_shop, self._settings.student.vocabulary)

    @cached_property
    def student(self) -> StudentStages:
        """Trains the student and loads what training left."""
        texts = [product.text for product in self._inputs.shop.products]
        data = distillation_set(self.vocabulary.tokenizer, self._settings, self._inputs.vectors, texts)
        return StudentStages(self._settings, data, self.vocabulary.tokenizer)

    def distil(self, name: str = "student") -> StageResult:
        """Run the stage that trains the float student."""
        return self._run(
            name,
            [self._inputs.encoded.key, self._settings.student, self._settings.distill],
            lambda folder, progress: self.student.distil(
                folder, self.vocabulary, teacher_token_embeddings(self._inputs.teacher.folder), progress
            ),
        )

    def prune(self, distilled: StageResult) -> StageResult:
        """Run the stage that prunes the float student."""
        return self._run(
            "prune",
            [distilled.key, self._settings.prune],
            lambda folder, progress: self.student.prune(distilled.folder, folder, progress),
        )

    def build(self, distilled: StageResult | None = None) -> EncoderBuild:
        """Run all stages: distil (unless `distilled` is its result already), prune, quantize, convert."""
        inputs, settings, student = self._inputs, self._settings, self.student
        distilled = distilled or self.distil()
        pruned = self.prune(distilled)
        quantized = self._run(
            "quantize",
            [pruned.key, settings.quantize],
            lambda folder, progress: student.quantize(pruned.folder, folder, progress),
        )
        converted = self._run(
            "convert",
            [quantized.key, inputs.head_int8.key, settings.variant, inputs.held_out],
            lambda folder, progress: self._convert(folder, pruned.folder, quantized.folder, progress),
        )
        return EncoderBuild(
            stages=[distilled, pruned, quantized, converted],
            folders={"student": distilled.folder, "prune": pruned.folder, "quantize": quantized.folder},
            converted=converted,
            quality=self._quality(distilled, pruned),
            spec=self._spec(),
        )

    def _convert(self, folder: Path, pruned: Path, quantized: Path, progress: Progress) -> tuple[str, dict[str, Any]]:
        inputs, settings, student = self._inputs, self._settings, self.student
        history, head = inputs.history, inputs.head.folder
        made = {}
        for number, name in enumerate(VARIANTS, 1):
            float_head = name == "dynamic-range"
            made[name] = write_variant(
                name,
                convert_encoder(
                    student.as_variant(name, pruned, quantized),
                    history.trained(head) if float_head else history.quantized(head, inputs.head_int8.folder),
                    self._spec(),
                    dim=settings.dim,
                ),
                folder,
                query_ids=student.query_ids(list(inputs.held_out)),
                judged=inputs.held_out,
                items=history.item_vectors(head),
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
                pruned_queries @ inputs.history.item_vectors(inputs.head.folder).T,
            ),
        ]
        return [row for row in rows if row is not None]

    def _spec(self) -> EncoderSpec:
        student = self._settings.student
        return EncoderSpec(
            query_tokens=student.query_tokens,
            item_tokens=student.item_tokens,
            history_items=self._settings.history.items,
        )


def seeded_runner(stages: Stages, seed: int) -> RunStage:
    """Return a function that runs a stage of `stages` with every random generator set to `seed` first."""

    def run(name: str, key_parts: list[Any], work: StageWork) -> StageResult:
        def seeded(folder: Path, progress: Progress) -> tuple[str, dict[str, Any]]:
            # A stage must not depend on how many random numbers the stages before it drew in this process.
            make_reproducible(seed)
            return work(folder, progress)

        return stages.run(name, [*key_parts, *version_of(name)], seeded)

    return run
