"""From feedback to a better bundle: judgements -> fine-tuned encoder -> gates -> a bundle with a small delta.

log -> position bias, attractions -> tune (word table and ranges frozen) -> convert -> pack -> off-policy and holdout gates
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tokenizers import Tokenizer

from compress.errors import CompressionError
from compress.measure.evaluate import evaluate_bundle
from compress.measure.quality import unit_rows
from compress.tflite import convert_encoder
from edge_runtime.contract.atomic_files import disk_errors_named, write_bytes_atomically
from edge_runtime.contract.bundle import (
    CATALOGUE_ROWS_FILE,
    ENCODER_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    REPORT_FILE,
    TOKENIZER_FILE,
    Bundle,
    open_bundle,
    seal_bundle,
)
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.golden import read_golden
from edge_runtime.contract.types import NamedProgress
from edge_runtime.products.rows_database import RowsDatabase
from edge_runtime.recommender import Recommender
from edge_runtime.updates.self_test import golden_answers
from pocketrec.pipeline.graph import TUNED, Artifacts, artifacts_of, record_artifacts
from pocketrec.pipeline.history_stages import HistoryStages, TaskStages, task_stage_names
from pocketrec.pipeline.packing import install_bundle, refuse_to_replace
from pocketrec.pipeline.settings import BuildSettings, GateSettings, RetrainSettings, build_settings_of
from pocketrec.pipeline.stages import KEY_FILE, LOCK_FILE, digest_of, locked
from pocketrec.pipeline.student_stages import WEIGHTS_FILE, StudentStages, distillation_set
from pocketrec.pipeline.teacher_stages import read_vectors
from pocketrec.publishing.deltas import make_delta
from train.backend import make_reproducible
from train.clicks.click_model import (
    Attractions,
    PositionBias,
    estimate_attractions,
    estimate_position_bias,
)
from train.clicks.log import FeedbackLog, read_feedback_log, split_by_device
from train.clicks.off_policy import OffPolicyResult, Rankings, compare_off_policy
from train.clicks.ranknet_tuning import ClickTargets, FrozenTable, tuning_batches, tuning_loss
from train.data.splits import split_holdout
from train.data.tables import Shop
from train.errors import EmptyDatasetError
from train.loop import FitSettings, fit
from train.models.vocabulary import token_ids

NEEDED_STAGES = ("vectors", "prune", "history", "history-int8")
_PAGE = 10
_ENCODE_BATCH = 512


@dataclass(frozen=True)
class RetrainReport:
    """What a retraining did.

    Attributes:
        bundle_id: of the new bundle.
        base_bundle_id: of the bundle it was made from.
        lists: logged lists used for training, and for evaluation.
        queries: number of queries used for training.
        position_bias: examination by place, as the teaching devices tell.
        position_bias_is_estimated: False when it was assumed.
        left_out: reason -> how many events were not used.
        trained_weights: how many numbers were free to change.
        off_policy: the estimate from the devices that were not used for training.
        holdout_before: re-rank nDCG@10 on the held-out queries; None without any.
        holdout_after: the same of the new bundle.
        delta_bytes: of the encoder's file.
        encoder_bytes: of the new encoder's file.
        failed_gates: a sentence for each gate that the bundle did not pass; none: it may go out.
    """

    bundle_id: str
    base_bundle_id: str
    lists: tuple[int, int]
    queries: int
    position_bias: list[float]
    position_bias_is_estimated: bool
    left_out: Mapping[str, int]
    trained_weights: int
    off_policy: OffPolicyResult
    holdout_before: float | None
    holdout_after: float | None
    delta_bytes: int
    encoder_bytes: int
    failed_gates: list[str]


def retrain_bundle(
    base: Path,
    shop: Shop,
    events: Path,
    out: Path,
    settings: RetrainSettings,
    *,
    work: Path,
    created_at: str,
    progress: NamedProgress,
) -> RetrainReport:
    """Make the bundle `out` from the bundle `base` and what devices reported.

    `out` is written whether the gates pass or not, so that it can be looked at; `RetrainReport.failed_gates` says whether
    it may be published. Stopped halfway, `out` is what it was.

    Args:
        base: the bundle that the fleet has.
        shop: the shop that it was built from.
        events: what `pocketrec feedback export` wrote.
        out: folder of the new bundle; its stages go to `out`.build, so that it can be retrained again.
        settings: see `RetrainSettings`.
        work: folder of the stages that the build of `base` left.
        created_at: ISO 8601 time for the manifest.
        progress: called with steps and queries done.

    Raises:
        ConfigError: `work` is not the build of `base`, or `shop` not its shop.
        EmptyDatasetError: nothing in the events can be learned from.
        TrainingError, CompressionError: training or converting failed.
        StorageError: the disk is full, read-only or not permitted.
    """
    refuse_to_replace(out)
    bundle, kept = open_bundle(base), out.with_name(f"{out.name}.build")
    build = build_settings_of(bundle)
    _check_base(bundle, build, shop, work=work, kept=kept)
    artifacts = artifacts_of(bundle.bundle_id, work)
    teaching, judging = _split_log(events, settings)
    make_reproducible(settings.seed)
    with disk_errors_named(out), locked(work), locked(kept):
        stages = _copy_stages(artifacts, kept)
        bias = estimate_position_bias(teaching, settings.clicks)
        weights = _tune(bundle, build, shop, teaching, bias, settings, stages, progress)
        made = _pack(bundle, build, shop, stages, kept, created_at)
        report = {**_judge(bundle, made, shop, judging, settings, progress), **_counts(teaching, judging)}
        new = _seal_with_report(made, bundle, {**_plain(report), "settings": asdict(settings)}, created_at)
        installed = install_bundle(new.folder, out)
        record_artifacts(kept, installed.bundle_id, stages)
        shutil.rmtree(new.folder, ignore_errors=True)
    return RetrainReport(
        bundle_id=installed.bundle_id,
        base_bundle_id=bundle.bundle_id,
        position_bias=[float(one) for one in bias.examination],
        position_bias_is_estimated=bias.is_estimated,
        left_out=teaching.left_out,
        trained_weights=weights,
        **report,
    )


def _split_log(events: Path, settings: RetrainSettings) -> tuple[FeedbackLog, FeedbackLog]:
    log, devices = read_feedback_log(events, settings.log)
    teaching, judging = split_by_device(log, devices, settings.gate.judge_share)
    if not teaching.lists or not judging.lists:
        raise ConfigError("the devices of the log are too few to teach and to judge apart; wait for more feedback")
    return teaching, judging


def _check_base(bundle: Bundle, build: BuildSettings, shop: Shop, *, work: Path, kept: Path) -> None:
    if kept.resolve() == work.resolve():
        raise ConfigError(f"{kept} is the base's own folder of stages; give the new bundle another --out")
    if build.variant == "dynamic-range":
        raise CompressionError("a dynamic-range encoder has no frozen ranges to keep; build with variant int8 first")
    with contextlib.closing(RowsDatabase(bundle.path(CATALOGUE_ROWS_FILE))) as database:
        rows = [one for (one,) in database.fetch("SELECT product_id FROM products ORDER BY row")]
    if rows != [one.product_id for one in shop.products]:
        raise ConfigError(
            f"the bundle has {len(rows)} products and the shop {len(shop.products)}, and they are not the same; name the "
            "shop that the bundle was built from, or build the bundle again first"
        )


def _copy_stages(base: Artifacts, kept: Path) -> dict[str, Path]:
    """Copy what the base was made of into `kept`, with a folder for what will be tuned; return the folders by stage."""
    for path in kept.iterdir():
        if path.name != LOCK_FILE:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    names = (*NEEDED_STAGES, *task_stage_names(), TUNED if TUNED in base.folders else "quantize")
    stages = {name: kept / name for name in names}
    for name, folder in stages.items():
        shutil.copytree(base.folder(name), folder, ignore=shutil.ignore_patterns("checkpoint.*"))
    stages[TUNED] = kept / TUNED
    stages[TUNED].mkdir(exist_ok=True)
    return stages


def _student(bundle: Bundle, build: BuildSettings, shop: Shop, stages: Mapping[str, Path]) -> StudentStages:
    tokenizer = Tokenizer.from_file(str(bundle.path(TOKENIZER_FILE)))
    data = distillation_set(tokenizer, build, read_vectors(stages["vectors"]), [one.text for one in shop.products])
    return StudentStages(build, data, tokenizer)


def _tune(
    bundle: Bundle,
    build: BuildSettings,
    shop: Shop,
    teaching: FeedbackLog,
    bias: PositionBias,
    settings: RetrainSettings,
    stages: Mapping[str, Path],
    progress: NamedProgress,
) -> int:
    """Train the shipped encoder on; leave its weights in `TUNED`. Return how many numbers were free."""
    student = _student(bundle, build, shop, stages)
    tuned = stages[TUNED]
    model = _before_tuning(student, build, stages)
    attractions = estimate_attractions(teaching, bias, settings.clicks)
    items = np.load(stages["history"] / "item_vectors.npy")
    with Recommender(bundle) as recommender:
        targets = click_targets(attractions, teaching, shop, recommender, student.query_ids)
    vectors = read_vectors(stages["vectors"])
    others = token_ids(
        Tokenizer.from_file(str(bundle.path(TOKENIZER_FILE))), vectors.student_texts, build.student.query_tokens
    )
    old = unit_rows(
        np.concatenate(
            [model(others[i : i + _ENCODE_BATCH], training=False).numpy() for i in range(0, len(others), _ENCODE_BATCH)]
        )
    )
    frozen = FrozenTable(model)
    tune = settings.tune
    fit(
        frozen,
        tuning_loss(model, items, tune),
        tuning_batches(targets, others, old, tune, seed=settings.seed),
        FitSettings(tune.steps, tune.learning_rate),
        checkpoint_folder=tuned / "tune",
        progress=lambda done, total: progress("training steps", done, total),
    )
    shutil.rmtree(tuned / "tune", ignore_errors=True)
    model.save_weights(tuned / WEIGHTS_FILE)
    write_bytes_atomically(
        tuned / KEY_FILE,
        digest_of(TUNED, bundle.bundle_id, hashlib.sha256((tuned / WEIGHTS_FILE).read_bytes()).hexdigest()).encode(),
    )
    return frozen.free


def _before_tuning(student: StudentStages, build: BuildSettings, stages: Mapping[str, Path]) -> Any:
    """Return the quantized encoder that the fleet has: of an earlier retraining, or as the build shipped it."""
    if (stages[TUNED] / WEIGHTS_FILE).exists():
        return student.quantized(stages["prune"], stages[TUNED])
    return student.as_variant(build.variant, stages["prune"], stages["quantize"])


def _pack(
    bundle: Bundle, build: BuildSettings, shop: Shop, stages: Mapping[str, Path], kept: Path, created_at: str
) -> Bundle:
    """Write the bundle with the tuned encoder beside the stages; everything else is the base's."""
    student = _student(bundle, build, shop, stages)
    vectors = np.load(stages["vectors"] / "items.npy")
    training_shop, _ = split_holdout(shop, build.holdout)
    history = HistoryStages(build, training_shop, vectors)
    model = convert_encoder(
        student.quantized(stages["prune"], stages[TUNED]),
        history.quantized(stages["history"], stages["history-int8"]),
        bundle.manifest.encoder,
        dim=build.dim,
        heads=TaskStages(build, training_shop, history.item_vectors(stages["history"])).quantized(stages),
    )
    target = kept / "bundle"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for artifact in bundle.manifest.artifacts:
        shutil.copyfile(bundle.path(artifact.path), target / artifact.path)
    write_bytes_atomically(target / ENCODER_FILE, model)
    return _seal(target, bundle, created_at)


def _counts(teaching: FeedbackLog, judging: FeedbackLog) -> dict[str, Any]:
    return {"lists": (teaching.lists, judging.lists), "queries": len(np.unique(teaching.query))}


def _seal(target: Path, base: Bundle, created_at: str) -> Bundle:
    manifest = base.manifest
    (target / MANIFEST_FILE).unlink(missing_ok=True)
    return seal_bundle(
        target,
        name=manifest.name,
        created_at=created_at,
        config_digest=manifest.config_digest,
        shop_digest=manifest.shop_digest,
        space=manifest.space,
        encoder=manifest.encoder,
        catalogue=manifest.catalogue,
        fusion=manifest.fusion,
    )


def rankings(bundle: Bundle, queries: tuple[str, ...], *, k: int, progress: NamedProgress) -> Rankings:
    """Return the `k` best products of each query under a bundle."""
    found = {}
    with Recommender(bundle) as recommender:
        for done, query in enumerate(queries, 1):
            found[query] = recommender.search(query, k=k).product_ids
            progress("queries", done, len(queries))
    return found


def _judge(
    base: Bundle, made: Bundle, shop: Shop, judging: FeedbackLog, settings: RetrainSettings, progress: NamedProgress
) -> dict[str, Any]:
    asked = tuple(judging.queries[number] for number in np.unique(judging.query))
    places = int(judging.position.max())
    verdict = compare_off_policy(
        judging,
        rankings(base, asked, k=places, progress=progress),
        rankings(made, asked, k=places, progress=progress),
        settings=settings.clicks,
        seed=settings.seed,
    )
    before, after = (_holdout_quality(bundle, shop) for bundle in (base, made))
    old, new = base.path(ENCODER_FILE).read_bytes(), made.path(ENCODER_FILE).read_bytes()
    delta = make_delta(old, new)
    delta_bytes = len(new) if delta is None else len(delta.data)
    return {
        "off_policy": verdict,
        "holdout_before": before,
        "holdout_after": after,
        "delta_bytes": delta_bytes,
        "encoder_bytes": len(new),
        "failed_gates": _failed_gates(verdict, before, after, delta_bytes / len(new), settings.gate),
    }


def _holdout_quality(bundle: Bundle, shop: Shop) -> float | None:
    _, held_out = split_holdout(shop, build_settings_of(bundle).holdout)
    if not held_out:
        return None
    judged = tuple(judgement for found in held_out.values() for judgement in found)
    result = evaluate_bundle(bundle.folder, replace(shop, judgements=judged, baskets={}))
    return next(one.rerank_ndcg10 for one in result.ranking if one.mode == "hybrid")


def _failed_gates(
    verdict: OffPolicyResult, before: float | None, after: float | None, delta_share: float, gate: GateSettings
) -> list[str]:
    failed = []
    gain = verdict.gain["dr"]
    if not gain.low > gate.min_gain:
        failed.append(
            f"the gain in clicked or bought products per list is {gain.value:+.4f}, surely only more than {gain.low:+.4f}; "
            f"expected more than {gate.min_gain:+.4f}"
        )
    if before is not None and after is not None and before - after > gate.max_holdout_loss:
        failed.append(
            f"re-rank nDCG@10 on held-out queries fell from {before:.4f} to {after:.4f}, by more than "
            f"{gate.max_holdout_loss}"
        )
    if delta_share > gate.max_delta_share:
        failed.append(f"the delta is {delta_share:.1%} of the encoder, expected at most {gate.max_delta_share:.0%}")
    return failed


def _plain(report: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(report)
    return plain


def _seal_with_report(made: Bundle, base: Bundle, retrained: dict[str, Any], created_at: str) -> Bundle:
    """Write golden answers and what the retraining did into the bundle."""
    golden = read_golden(base.path(GOLDEN_FILE))
    with Recommender(made) as recommender:
        answers = golden_answers(
            recommender,
            queries=[one.text for one in golden.queries],
            histories=[one.history for one in golden.histories],
        )
    write_bytes_atomically(made.folder / GOLDEN_FILE, msgspec.json.encode(answers))
    report = json.loads(base.path(REPORT_FILE).read_bytes())
    report["retrained"] = {"from": base.bundle_id, "at": created_at, **retrained}
    write_bytes_atomically(made.folder / REPORT_FILE, json.dumps(report, ensure_ascii=False).encode())
    sealed = _seal(made.folder, base, created_at)
    with Recommender(sealed) as recommender:
        recommender.prove()
    return sealed


_MAX_SHOWN = 40


def click_targets(
    attractions: Attractions,
    log: FeedbackLog,
    shop: Shop,
    recommender: Recommender,
    query_ids: Callable[[list[str]], Any],
) -> ClickTargets:
    """Return the targets of every query that has two products which the shop still sells.

    Args:
        attractions: estimated from the training devices.
        log: whose query and product numbers `attractions` uses.
        shop: rows of products.
        recommender: the bundle that is being tuned; tells what words contribute to the hybrid score.
        query_ids: texts -> int32 [texts, query_tokens].

    Raises:
        EmptyDatasetError: there is no such query.
    """
    row_of = {product.product_id: row for row, product in enumerate(shop.products)}
    texts: list[str] = []
    rows: list[tuple[list[int], list[float], Sequence[float]]] = []
    for query in np.unique(attractions.query):
        mine = attractions.query == query
        shown = [
            (product_id, float(attraction))
            for product_id, attraction in sorted(
                zip(
                    (log.products[one] for one in attractions.product[mine]), attractions.attraction[mine], strict=True
                ),
                key=lambda pair: -pair[1],
            )
            if product_id in row_of
        ][:_MAX_SHOWN]
        if len(shown) < 2:
            continue
        ids = [product_id for product_id, _ in shown]
        texts.append(log.queries[query])
        offsets = _word_offsets(recommender, log.queries[query], ids)
        rows.append(([row_of[one] for one in ids], [attraction for _, attraction in shown], offsets))
    if not texts:
        raise EmptyDatasetError("no query of the feedback has two products that the shop still sells")
    items = np.zeros((len(rows), _MAX_SHOWN), np.int32)
    targets, mask, words = (np.zeros((len(rows), _MAX_SHOWN), np.float32) for _ in range(3))
    for number, (products, estimates, offsets) in enumerate(rows):
        count = len(products)
        items[number, :count] = products
        targets[number, :count] = estimates
        mask[number, :count] = 1.0
        words[number, :count] = offsets
    return ClickTargets(query_ids(texts), items, targets, mask, words)


def _word_offsets(recommender: Recommender, query: str, ids: list[str]) -> Any:
    """Return what must be added to each cosine so that cosines order as hybrid scores do."""
    fusion = recommender.bundle.manifest.fusion
    if fusion.dense_weight <= 0.0:
        return np.zeros(len(ids), np.float32)
    cosines, _ = recommender.score_parts(query, ids)
    hybrid = recommender.score(query, ids)
    # hybrid = w (cosine + 1) / (best + 1) + words: solved for the words, in units of a cosine.
    scale = fusion.dense_weight / (
        1.0
        + float(
            np.max(
                recommender.score(query, [recommender.search(query, k=1, mode="dense").product_ids[0]], mode="dense")
            )
        )
    )
    return (hybrid / scale - (cosines + 1.0)).astype(np.float32)
