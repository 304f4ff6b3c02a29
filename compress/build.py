"""From a shop to a bundle: the stages of `pocketrec build`, in their order.

shop -> teacher -> vectors -> history -> student -> prune -> quantize -> convert -> pack
"""

import hashlib
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from compress.convert import convert_encoder
from compress.history_stages import HistoryStages
from compress.holdout import split_holdout
from compress.pack import BUNDLE_FOLDER, BuildFacts, install_bundle, pack_bundle, refuse_to_replace
from compress.quality import Float32, StageQuality, rank_quality
from compress.settings import BuildSettings
from compress.student_stages import StudentStages, distillation_set
from compress.teacher_stages import (
    TeacherVectors,
    encode_shop,
    read_vectors,
    student_vocabulary,
    teach,
    teacher_token_embeddings,
)
from compress.variants import VARIANTS, convert_outcome, write_variant
from edge_runtime.contract.atomic_files import disk_errors_named, write_bytes_atomically
from edge_runtime.contract.bundle import ENCODER_FILE, TOKENIZER_FILE, Bundle, EncoderSpec
from train.backend import make_reproducible
from train.shop.tables import Shop
from train.stages import Progress, Reporter, StageResult, Stages, StageWork, digest_of


def build_bundle(
    shop: Shop, out: Path, settings: BuildSettings, *, work: Path, resume: bool, reporter: Reporter, created_at: str
) -> Bundle:
    """Train, distil and compress `shop` into the bundle `out`.

    Killed at any moment and called again with `resume`, it goes on from the last finished stage or checkpoint. Equal
    shop, settings and machine give the same model bytes. `out` is replaced only by a finished bundle.

    Args:
        shop: from `read_shop`.
        out: the bundle's folder; an older bundle there is replaced.
        settings: see `BuildSettings`.
        work: folder of the stages and checkpoints; may be removed afterwards.
        resume: keep what an earlier run left in `work`.
        reporter: shows progress and a line of result for each stage.
        created_at: ISO 8601 time for the manifest.

    Raises:
        ConfigError: `out` holds something other than a bundle.
        TrainingError: training failed.
        CompressionError: compression failed.
        StorageError: the disk is full, read-only or not permitted; `out` is what it was.
    """
    refuse_to_replace(out)
    with disk_errors_named(work):
        stages = Stages(work, resume=resume, reporter=reporter)
        return _Build(shop, settings, stages).run(out, created_at)


class _Build:
    def __init__(self, shop: Shop, settings: BuildSettings, stages: Stages) -> None:
        self._shop = shop
        self._settings = settings
        self._stages = stages
        self._training_shop, self._held_out = split_holdout(shop, settings.holdout)
        self._quality: list[StageQuality] = []

    def run(self, out: Path, created_at: str) -> Bundle:
        settings, run = self._settings, self._run_stage
        teacher = run(
            "teacher",
            [learning_digest(self._training_shop), settings.teacher_source, settings.teacher, settings.seed],
            lambda folder, progress: teach(folder, self._training_shop, settings, progress),
        )
        encoded = run(
            "vectors",
            [teacher.key, settings.texts, settings.dim, list(self._held_out)],
            lambda folder, progress: encode_shop(
                folder, teacher.folder, self._training_shop, list(self._held_out), settings, progress
            ),
        )
        vectors = read_vectors(encoded.folder)
        self._measure("teacher", vectors.wide_held_out, vectors.wide_items)
        self._measure(f"teacher, {settings.dim} dimensions", vectors.held_out, vectors.items)
        history = HistoryStages(settings, self._training_shop, vectors.items)
        head = run("history", [encoded.key, settings.history], history.train)
        head_int8 = run(
            "history-int8",
            [head.key, settings.quantize],
            lambda folder, progress: history.quantize(head.folder, folder, progress),
        )
        student_stages, encoder = self._encoder(teacher, encoded, vectors, history, head, head_int8)
        stages = [teacher, encoded, head, head_int8, *student_stages, encoder]
        facts = BuildFacts(
            shop=self._shop,
            held_out=self._held_out,
            settings=settings,
            encoder_folder=encoder.folder,
            encoder_spec=self._encoder_spec(),
            item_vectors=history.item_vectors(head.folder),
            space_id=head.key,
            quality=self._quality,
            stages=stages,
            created_at=created_at,
        )
        packed = run(
            "pack",
            [encoder.key, self._shop.digest, settings.candidates],
            lambda folder, progress: pack_bundle(folder, facts, progress),
        )
        return install_bundle(packed.folder / BUNDLE_FOLDER, out)

    def _run_stage(self, name: str, key_parts: list[Any], work: StageWork) -> StageResult:
        def seeded(folder: Path, progress: Progress) -> tuple[str, dict[str, Any]]:
            # A stage must not depend on how many random numbers the stages before it drew in this process.
            make_reproducible(self._settings.seed)
            return work(folder, progress)

        return self._stages.run(name, key_parts, seeded)

    def _encoder(
        self,
        teacher: StageResult,
        encoded: StageResult,
        vectors: TeacherVectors,
        history: HistoryStages,
        head: StageResult,
        head_int8: StageResult,
    ) -> tuple[list[StageResult], StageResult]:
        """Run the student's stages and convert; return them and the stage that holds `encoder.tflite`."""
        settings, run = self._settings, self._run_stage
        cut = student_vocabulary(teacher.folder, self._training_shop, settings.student.vocabulary)
        data = distillation_set(cut.tokenizer, settings, vectors, [product.text for product in self._shop.products])
        student = StudentStages(settings, data, cut.tokenizer)
        distilled = run(
            "student",
            [encoded.key, settings.student, settings.distill],
            lambda folder, progress: student.distil(folder, cut, teacher_token_embeddings(teacher.folder), progress),
        )
        self._measure("student", self._encode(student, student.student(distilled.folder)), vectors.items)
        pruned = run(
            "prune",
            [distilled.key, settings.prune],
            lambda folder, progress: student.prune(distilled.folder, folder, progress),
        )
        pruned_queries = self._encode(student, student.student(pruned.folder))
        self._measure("pruned", pruned_queries, vectors.items)
        # Apart from int8, so that a loss here is known to come from what purchases did to the item vectors.
        self._measure("pruned, items by purchases", pruned_queries, history.item_vectors(head.folder))
        quantized = run(
            "quantize",
            [pruned.key, settings.quantize],
            lambda folder, progress: student.quantize(pruned.folder, folder, progress),
        )

        def convert(folder: Path, progress: Progress) -> tuple[str, dict[str, Any]]:
            head_of = {"dynamic-range": lambda: history.trained(head.folder)}
            encoder_of = {
                "int8": lambda: student.quantized(pruned.folder, quantized.folder),
                "int8-calibrated": lambda: student.calibrated(pruned.folder),
                "dynamic-range": lambda: student.student(pruned.folder),
            }
            made = {}
            for number, name in enumerate(VARIANTS, 1):
                quantized_head = head_of.get(name, lambda: history.quantized(head.folder, head_int8.folder))()
                made[name] = write_variant(
                    name,
                    convert_encoder(encoder_of[name](), quantized_head, self._encoder_spec(), dim=settings.dim),
                    folder,
                    query_ids=student.query_ids(list(self._held_out)),
                    judged=self._held_out,
                    items=history.item_vectors(head.folder),
                )
                progress(number, len(VARIANTS))
            shutil.copyfile(folder / settings.variant / ENCODER_FILE, folder / ENCODER_FILE)
            write_bytes_atomically(folder / TOKENIZER_FILE, cut.tokenizer.to_str().encode())
            return convert_outcome(made, settings.variant)

        encoder = run("convert", [quantized.key, head_int8.key, settings.variant, list(self._held_out)], convert)
        return [distilled, pruned, quantized], encoder

    def _encoder_spec(self) -> EncoderSpec:
        student = self._settings.student
        return EncoderSpec(
            query_tokens=student.query_tokens,
            item_tokens=student.item_tokens,
            history_items=self._settings.history.items,
        )

    def _encode(self, student: StudentStages, model: Any) -> Float32:
        return student.encode(model, list(self._held_out))

    def _measure(self, stage: str, queries: Float32, items: Float32) -> None:
        quality = rank_quality(stage, self._held_out, queries @ items.T) if self._held_out else None
        if quality is not None:
            self._quality.append(quality)


def learning_digest(shop: Shop) -> str:
    """Return a digest of all that models learn from, so that a new price or seller trains nothing again."""
    return digest_of(
        [asdict(replace(product, price=None, group=None)) for product in shop.products],
        [asdict(judgement) for judgement in shop.judgements],
        {user: [(b.timestamp_s, b.rows.tolist()) for b in baskets] for user, baskets in shop.baskets.items()},
        list(shop.queries),
        {term: list(alternatives) for term, alternatives in shop.synonyms.items()},
        None if shop.image_vectors is None else hashlib.sha256(shop.image_vectors.tobytes()).hexdigest(),
    )
