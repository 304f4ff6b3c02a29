"""The results of all stages -> a finished bundle: catalogue, fusion weight, golden answers, report, manifest."""

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from compress.catalogue.index_dimensions import narrow_vector_index
from compress.catalogue.suggestions import popular_queries
from compress.catalogue.writing import write_catalogue
from compress.fusion import (
    DEFAULT_FUSION,
    MAX_QUERIES,
    QueryScores,
    cross_fitted_hybrid,
    learn_coverage_weights,
    learn_dense_weight,
)
from compress.measure.quality import StageQuality, rank_quality
from compress.report.diagnostics import bundle_diagnostics
from edge_runtime.contract.atomic_files import disk_errors_named, sync_folder, write_bytes_atomically
from edge_runtime.contract.bundle import (
    CATALOGUE_ROWS_FILE,
    ENCODER_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    TOKENIZER_FILE,
    Bundle,
    CatalogueSpec,
    EncoderSpec,
    FusionSpec,
    VectorSpace,
    open_bundle,
    seal_bundle,
)
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.golden import Golden
from edge_runtime.contract.text import normalize_text
from edge_runtime.contract.types import Float32, Progress
from edge_runtime.products.rows_database import RowsDatabase
from edge_runtime.recommender import Recommender
from edge_runtime.search.lexical import LexicalIndex
from edge_runtime.updates.self_test import MIN_COSINE, MIN_OVERLAP, golden_answers
from pocketrec.pipeline.report import ReportInputs, report_content, write_report
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.stages import StageResult, digest_of
from train.data.splits import ranked_queries
from train.data.tables import Judgement, Shop

BUNDLE_FOLDER = "bundle"
GOLDEN_QUERIES, GOLDEN_HISTORIES = 24, 8
_GOLDEN_HISTORY_ITEMS = 20

POPULARITY_HALF_LIFE_S = 90 * 86_400.0


@dataclass(frozen=True)
class BuildFacts:
    """What the stages before hand to the last one."""

    shop: Shop
    held_out: Mapping[str, Sequence[Judgement]]
    settings: BuildSettings
    encoder_folder: Path
    encoder_spec: EncoderSpec
    item_vectors: Float32
    space_id: str
    quality: list[StageQuality]
    stages: list[StageResult]
    created_at: str
    budget: dict[str, Any] | None = None


def pack_bundle(folder: Path, facts: BuildFacts, progress: Progress) -> tuple[str, dict[str, Any]]:
    """Write the bundle into `folder`/bundle; stopped halfway, that folder has no final manifest and is made again."""
    target = folder / BUNDLE_FOLDER
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in (ENCODER_FILE, TOKENIZER_FILE):
        shutil.copyfile(facts.encoder_folder / name, target / name)
    catalogue = write_catalogue(
        target,
        facts.shop.products,
        facts.item_vectors,
        candidates=facts.settings.candidates,
        popularity=popularity(facts.shop),
        queries=popular_queries(facts.shop.judgements),
    )
    # Every sealed bundle has golden answers; the first ones are placeholders that let the recommender open.
    unproven = Golden(min_cosine=MIN_COSINE, min_overlap=MIN_OVERLAP, queries=[], histories=[])
    write_bytes_atomically(target / GOLDEN_FILE, msgspec.json.encode(unproven))
    fusion = msgspec.structs.replace(DEFAULT_FUSION, coverage_weights=_coverage_weights(target, facts))
    with Recommender(_seal(target, facts, catalogue, fusion)) as recommender:
        scores = _held_out_scores(recommender, facts, progress)
        narrow_vector_index(
            target,
            facts.item_vectors,
            candidates=catalogue.candidates,
            encode=recommender.encode_query,
            texts=_training_texts(facts),
        )
    if scores:
        fusion = msgspec.structs.replace(fusion, dense_weight=learn_dense_weight(facts.held_out, scores))
    with Recommender(_seal(target, facts, catalogue, fusion)) as recommender:
        golden = _golden(recommender, facts)
        diagnostics = bundle_diagnostics(recommender, facts.shop, facts.held_out, seed=facts.settings.seed)
    write_bytes_atomically(target / GOLDEN_FILE, msgspec.json.encode(golden))
    quality = [*facts.quality, *_device_quality(facts, scores)]
    inputs = ReportInputs(
        facts.shop, facts.settings, facts.stages, quality, fusion, diagnostics, facts.created_at, facts.budget
    )
    write_report(target, report_content(target, inputs))
    bundle = _seal(target, facts, catalogue, fusion)
    with Recommender(bundle) as recommender:
        recommender.prove()
    size = sum(artifact.length_bytes for artifact in bundle.manifest.artifacts)
    line = f"{size / 1e6:.2f} MB in {len(bundle.manifest.artifacts)} files, dense weight {fusion.dense_weight}"
    return line, {"bytes": size, "quality": [asdict(stage) for stage in quality]}


def install_bundle(made: Path, out: Path) -> Bundle:
    """Copy a finished bundle to `out`, replacing an older one.

    The copy is made beside `out` and renamed. Stopped between the two renames, the older bundle lies beside `out` with
    the ending `.old`; the next call puts it back before anything else.

    Raises:
        ConfigError: `out` holds something other than a bundle.
        StorageError: the disk is full, read-only or not permitted; `out` is what it was.
    """
    refuse_to_replace(out)
    staged, old = out.with_name(f".{out.name}.new"), out.with_name(f".{out.name}.old")
    with disk_errors_named(out):
        if old.exists() and not out.exists():
            old.rename(out)
        for leftover in (staged, old):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            _copy_files(made, staged)
            _swap(staged, out, old)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        sync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)
    return open_bundle(out)


def refuse_to_replace(out: Path) -> None:
    """Check that a bundle may be put at `out`: nothing lies there, or an empty folder, or a bundle.

    Raises:
        ConfigError: something else lies there, which the new bundle would remove.
    """
    if not out.exists() or (out / MANIFEST_FILE).exists():
        return
    if not out.is_dir() or any(out.iterdir()):
        raise ConfigError(f"{out} exists and is no bundle; give another --out, or remove it first")


def popularity(shop: Shop) -> Float32:
    """Return float32 [products]: baskets with the product, each halved for every 90 days before the newest one."""
    counts = np.zeros(len(shop.products), dtype=np.float64)
    baskets = [basket for user_baskets in shop.baskets.values() for basket in user_baskets]
    newest = max((basket.timestamp_s for basket in baskets), default=0.0)
    for basket in baskets:
        counts[basket.rows] += 0.5 ** ((newest - basket.timestamp_s) / POPULARITY_HALF_LIFE_S)
    return counts.astype(np.float32)


def _copy_files(made: Path, staged: Path) -> None:
    staged.mkdir(parents=True)
    for path in sorted(made.iterdir()):
        shutil.copyfile(path, staged / path.name)
        with (staged / path.name).open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(staged)


def _swap(staged: Path, out: Path, old: Path) -> None:
    if not out.exists():
        staged.rename(out)
        return
    out.rename(old)
    try:
        staged.rename(out)
    except OSError:
        old.rename(out)
        raise


def _seal(target: Path, facts: BuildFacts, catalogue: CatalogueSpec, fusion: FusionSpec) -> Bundle:
    return seal_bundle(
        target,
        name=facts.shop.name,
        created_at=facts.created_at,
        config_digest=digest_of(facts.settings),
        shop_digest=facts.shop.digest,
        space=VectorSpace(id=facts.space_id, dim=int(facts.item_vectors.shape[1])),
        encoder=facts.encoder_spec,
        catalogue=catalogue,
        fusion=fusion,
    )


def _held_out_scores(recommender: Recommender, facts: BuildFacts, progress: Progress) -> dict[str, QueryScores]:
    every = [product.product_id for product in facts.shop.products]
    scores = {}
    for number, query in enumerate(facts.held_out, 1):
        scores[query] = QueryScores(*recommender.score_parts(query, every))
        progress(number, len(facts.held_out))
    return scores


def _training_texts(facts: BuildFacts) -> list[str]:
    """Return the queries that were not held out; a shop without any is asked for its titles."""
    queries = [*ranked_queries(facts.shop), *facts.shop.queries]
    known = [query for query in queries if query not in facts.held_out and normalize_text(query)]
    return known or [product.title for product in facts.shop.products if normalize_text(product.title)]


def _coverage_weights(target: Path, facts: BuildFacts) -> dict[str, float]:
    judged = {query: found for query, found in ranked_queries(facts.shop).items() if query not in facts.held_out}
    chosen = {query: judged[query] for query in list(judged)[:: -(-len(judged) // MAX_QUERIES) or 1]}
    with contextlib.closing(RowsDatabase(target / CATALOGUE_ROWS_FILE)) as database:
        index = LexicalIndex(database, products=len(facts.shop.products), fusion=DEFAULT_FUSION)
        parts = {query: index.parts(index.understand(normalize_text(query))) for query in chosen}
    return learn_coverage_weights(chosen, parts)


def _device_quality(facts: BuildFacts, scores: Mapping[str, QueryScores]) -> list[StageQuality]:
    if not scores:
        return []
    judged = facts.held_out
    rows = [
        rank_quality("int8", judged, [scores[query].cosines for query in judged]),
        rank_quality("full-text search", judged, [scores[query].lexical for query in judged]),
        rank_quality("int8 hybrid", judged, cross_fitted_hybrid(judged, scores)),
    ]
    return [row for row in rows if row is not None]


def _golden(recommender: Recommender, facts: BuildFacts) -> Golden:
    titles = [product.title for product in facts.shop.products]
    spread = titles[:: max(1, len(titles) // GOLDEN_QUERIES)]
    queries = list(dict.fromkeys([*facts.held_out, *facts.shop.queries[:GOLDEN_QUERIES], *spread]))[:GOLDEN_QUERIES]
    histories = [
        [facts.shop.products[row].product_id for basket in baskets for row in basket.rows][-_GOLDEN_HISTORY_ITEMS:]
        for baskets in list(facts.shop.baskets.values())[:GOLDEN_HISTORIES]
    ]
    return golden_answers(recommender, queries=queries, histories=histories)
