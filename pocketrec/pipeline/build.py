"""From a shop to a bundle: the stages of `pocketrec build`, in their order.

shop -> teacher -> (cross-encoder ->) vectors -> history -> student -> prune -> quantize -> convert -> pack
"""

import hashlib
from dataclasses import asdict
from pathlib import Path

from compress.measure.quality import StageQuality, rank_quality
from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.bundle import Bundle
from edge_runtime.contract.product_columns import PRODUCT_COLUMNS
from edge_runtime.contract.types import Float32
from pocketrec.pipeline.cross_encoder import VECTORS_FOLDER, read_labels, teach_cross_encoder
from pocketrec.pipeline.graph import StageRunner, record_artifacts
from pocketrec.pipeline.history_stages import HistoryStages, TaskStages
from pocketrec.pipeline.packing import BUNDLE_FOLDER, BuildFacts, install_bundle, pack_bundle, refuse_to_replace
from pocketrec.pipeline.search import BudgetSearch
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.stages import Reporter, StageResult, Stages, digest_of, locked
from pocketrec.pipeline.student_stages import EncoderInputs, EncoderStages
from pocketrec.pipeline.teacher_stages import TEACHER_FOLDER, encode_shop, read_vectors, teach
from train.data.splits import split_holdout
from train.data.tables import Shop
from train.models.pretrained import source_identity
from train.sampling.contrastive_batches import POSITIVE_GAIN


def build_bundle(
    shop: Shop,
    out: Path,
    settings: BuildSettings,
    *,
    work: Path,
    resume: bool,
    reporter: Reporter,
    created_at: str,
    remembered: Path | None = None,
) -> Bundle:
    """Train, distill and compress `shop` into the bundle `out`.

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
        remembered: folder of vectors that builds with the same teacher share (train/text/embedding_cache.py).

    Raises:
        ConfigError: `out` holds something other than a bundle.
        TrainingError: training failed.
        CompressionError: compression failed.
        QualityGateError: no student holds `settings.budget`; the text names the nearest one.
        StorageError: the disk is full, read-only or not permitted; `out` is what it was.
    """
    refuse_to_replace(out)
    with disk_errors_named(work), locked(work):
        stages = Stages(work, resume=resume, reporter=reporter)
        search = BudgetSearch(settings, work, reporter) if settings.budget.asked else None
        build = BundleBuild(shop, settings, stages, search, remembered)
        bundle = build.run(out, created_at)
        record_artifacts(work, bundle.bundle_id, build.folders)
        return bundle


class BundleBuild:
    """The stages of one build."""

    def __init__(
        self,
        shop: Shop,
        settings: BuildSettings,
        stages: Stages,
        search: BudgetSearch | None = None,
        remembered: Path | None = None,
    ) -> None:
        self._shop = shop
        self._settings = settings
        self._search = search
        self._remembered = remembered
        self._stages = stages
        self._run = StageRunner(stages, settings)
        self._training_shop, self._held_out = split_holdout(shop, settings.holdout)
        self._quality: list[StageQuality] = []
        self.folders: dict[str, Path] = {}
        """Name of a stage -> where the result lies that made the bundle; known after `run`."""

    def run(self, out: Path, created_at: str) -> Bundle:
        """Run all stages and put the bundle into `out`."""
        # Before the teacher learns for minutes: a budget that no shape can hold is refused at once.
        shapes = self._search.plausible() if self._search else []
        inputs = self.inputs()
        found = self._search.search(inputs, shapes) if self._search else None
        settings = found.settings if found else self._settings
        vectors = inputs.vectors
        self._measure("teacher", vectors.wide_held_out, vectors.wide_items)
        self._measure(f"teacher, {settings.dim} dimensions", vectors.held_out, vectors.items)
        made = found.encoder if found else EncoderStages(inputs, settings, self._stages).build()
        results = {**inputs.results, **made.results}
        self.folders = {name: result.folder for name, result in results.items()}
        facts = BuildFacts(
            shop=self._shop,
            held_out=self._held_out,
            settings=settings,
            encoder_folder=results["convert"].folder,
            encoder_spec=made.spec,
            item_vectors=inputs.item_vectors,
            space_id=results["history"].key,
            quality=[*self._quality, *made.quality],
            stages=list(results.values()),
            created_at=created_at,
            budget=found.report if found else None,
        )
        packed = self._run(
            "pack",
            lambda folder, progress: pack_bundle(folder, facts, progress),
            convert=results["convert"],
            shop=self._shop.digest,
            budget_search=facts.budget,
        )
        return install_bundle(packed.folder / BUNDLE_FOLDER, out)

    def inputs(self) -> EncoderInputs:
        """Run what all students share: teacher, vectors, history head."""
        settings, run, shop = self._settings, self._run, self._training_shop
        teacher = run(
            "teacher",
            lambda folder, progress: teach(folder, shop, settings, progress),
            learning_data=learning_digest(shop),
            teacher_weights=source_identity(settings.teacher_source),
        )
        asked = self._cross_encoder(teacher)
        encoded = run(
            "vectors",
            lambda folder, progress: encode_shop(
                folder,
                teacher.folder,
                shop,
                list(self._held_out),
                settings,
                progress,
                remembered=self._remembered or (asked.folder / VECTORS_FOLDER if asked else None),
                labels=read_labels(asked.folder) if asked else None,
            ),
            teacher=teacher,
            cross_encoder=asked,
            held_out_queries=list(self._held_out),
        )
        vectors = read_vectors(encoded.folder)
        history = HistoryStages(settings, shop, vectors.items)
        head = run("history", history.train, vectors=encoded)
        run(
            "history-int8",
            lambda folder, progress: history.quantize(head.folder, folder, progress),
            history=head,
        )
        tasks = TaskStages(settings, shop, history.item_vectors(head.folder))
        tasks.run(run, head)
        return EncoderInputs(self._shop, shop, self._held_out, vectors, history, tasks, dict(run.results))

    def _cross_encoder(self, teacher: StageResult) -> StageResult | None:
        """Run the cross-encoder's stage, unless it is left out or nothing is judged that it could learn from."""
        settings, shop = self._settings, self._training_shop
        if not settings.cross_encoder.steps or not any(one.gain >= POSITIVE_GAIN for one in shop.judgements):
            return None
        return self._run(
            "cross-encoder",
            lambda folder, progress: teach_cross_encoder(
                folder,
                teacher.folder / TEACHER_FOLDER,
                shop,
                self._held_out,
                settings,
                progress,
                remembered=self._remembered,
            ),
            teacher=teacher,
            held_out_judgements=self._held_out,
        )

    def _measure(self, stage: str, queries: Float32, items: Float32) -> None:
        quality = rank_quality(stage, self._held_out, queries @ items.T) if self._held_out else None
        if quality is not None:
            self._quality.append(quality)


# Queries are made of descriptions (train/text/synthetic_queries.py), all else that is learned is the model's text.
_LEARNED_COLUMNS = (
    "product_id", "description", *(column.name for column in PRODUCT_COLUMNS if column.is_model_text),
)  # fmt: skip


def learning_digest(shop: Shop) -> str:
    """Return a digest of all that models learn from, so that a new price, stock or picture trains nothing again."""
    return digest_of(
        [[getattr(product, name) for name in _LEARNED_COLUMNS] for product in shop.products],
        [asdict(judgement) for judgement in shop.judgements],
        {user: [(b.timestamp_s, b.rows.tolist()) for b in baskets] for user, baskets in shop.baskets.items()},
        list(shop.queries),
        {term: list(alternatives) for term, alternatives in shop.synonyms.items()},
        None if shop.image_vectors is None else hashlib.sha256(shop.image_vectors.tobytes()).hexdigest(),
    )
