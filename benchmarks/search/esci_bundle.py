"""Our side of the ESCI benchmark: one bundle for each fold, built by `pocketrec build`, and its figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from benchmarks.command import build_bundle
from benchmarks.search.esci_protocol import (
    CATALOGUE_GROUP,
    RETRIEVED,
    EsciData,
    FoldShop,
    QueryFigures,
    query_figures,
)
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import MODEL_FILES, REPORT_FILE, open_bundle
from edge_runtime.recommender import Recommender
from train.data.writing import write_shop

MODES: tuple[Literal["hybrid", "dense"], ...] = ("hybrid", "dense")


@dataclass(frozen=True)
class FoldResult:
    """What one bundle did on the queries of one fold.

    Attributes:
        fold: the test fold.
        bundle_id: which bundle it was.
        config_digest: of the build's settings.
        model_bytes: encoder and tokenizer.
        bundle_bytes: all files of the bundle.
        stages: quality that the build measured on its own held-out queries, stage by stage (another protocol).
        figures: mode -> query -> figures.
    """

    fold: int
    bundle_id: str
    config_digest: str
    model_bytes: int
    bundle_bytes: int
    stages: list[dict[str, Any]]
    figures: dict[str, dict[str, QueryFigures]]


def write_fold_shop(shop: FoldShop, folder: Path) -> None:
    """Write what may be trained on as the shop `folder`, in the place of an earlier one."""
    products = [
        {
            "product_id": product.product_id,
            "title": product.title,
            "description": product.description,
            "brand": product.brand,
            "category": product.category,
            "attributes": json.dumps(dict(product.attributes), ensure_ascii=False),
            "group": product.group,
        }
        for product in shop.products
    ]
    tables = {
        "products": pa.Table.from_pylist(products),
        "judgements": pa.Table.from_pylist([asdict(pair) for pair in shop.labelled]),
        "queries": pa.Table.from_pylist([{"query": query} for query in shop.queries]),
    }
    write_shop(folder, tables, overwrite=True)


def build_fold(shop: Path, bundle: Path, *, config: Path | None, teacher: Path, remembered: Path) -> None:
    """Build the shop of a fold from the shared teacher.

    Raises:
        PocketrecError: the build failed; it printed why to stderr.
    """
    build_bundle(shop, bundle, config=config, options=("--teacher", str(teacher), "--remember", str(remembered)))


def judge_bundle(folder: Path, data: EsciData, fold: int, queries: Sequence[str], *, kept: Path) -> FoldResult:
    """Return the figures of the bundle in `folder`; read from `kept` when this very bundle was judged before.

    Args:
        folder: the bundle.
        data: the data of the protocol.
        fold: the test fold.
        queries: its queries.
        kept: the file that remembers per-query figures.
    """
    bundle = open_bundle(folder)
    remembered = _read_kept(kept, bundle.bundle_id, queries)
    if remembered is not None:
        return remembered
    with Recommender.open(folder) as recommender:
        figures: dict[str, dict[str, QueryFigures]] = {
            mode: {query: _figures_of(recommender, data, query, mode) for query in queries} for mode in MODES
        }
    sizes = {artifact.path: artifact.length_bytes for artifact in bundle.manifest.artifacts}
    result = FoldResult(
        fold=fold,
        bundle_id=bundle.bundle_id,
        config_digest=bundle.manifest.config_digest,
        model_bytes=sum(sizes[name] for name in MODEL_FILES),
        bundle_bytes=sum(sizes.values()),
        stages=_stages(folder / REPORT_FILE),
        figures=figures,
    )
    write_bytes_atomically(kept, json.dumps(asdict(result), indent=1).encode())
    return result


def _figures_of(recommender: Recommender, data: EsciData, query: str, mode: Literal["hybrid", "dense"]) -> QueryFigures:
    gains = data.judged[query]
    ids = [data.products[row].product_id for row in gains]
    found = recommender.search(query, k=RETRIEVED, mode=mode, where={"group": CATALOGUE_GROUP})
    row_of = data.row_of
    return query_figures(
        gains,
        rerank=np.asarray(recommender.score(query, ids, mode=mode)),
        retrieved=[row_of[product_id] for product_id in found.product_ids],
    )


def _read_kept(kept: Path, bundle_id: str, queries: Sequence[str]) -> FoldResult | None:
    try:
        content = json.loads(kept.read_bytes())
        by_mode: Mapping[str, Mapping[str, Mapping[str, float]]] = content.pop("figures")
        figures = {mode: {query: QueryFigures(**one) for query, one in by_mode[mode].items()} for mode in MODES}
        result = FoldResult(**content, figures={str(mode): of_mode for mode, of_mode in figures.items()})
    except (OSError, ValueError, KeyError, TypeError):
        # Missing, or written by another version: ranking again is always right.
        return None
    same = result.bundle_id == bundle_id and all(list(result.figures[mode]) == list(queries) for mode in MODES)
    return result if same else None


def _stages(report: Path) -> list[dict[str, Any]]:
    try:
        quality = json.loads(report.read_bytes()).get("quality", [])
    except (OSError, ValueError):
        return []
    return list(quality)
