"""The ESCI search protocol: five folds by query, a shop per fold, and the figures of one ranking.

150 judged queries over 6,764 products. Each fold's shop is without the test queries: their judgements, their text, and
every other query whose words overlap one of theirs by Jaccard >= 0.6.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from edge_runtime.contract.errors import ConfigError
from train.data.splits import FOLDS, NearCopies, assign_folds
from train.data.tables import Product
from train.evaluation.intervals import estimate_mean
from train.evaluation.metrics import chance_ndcg, recall_at_k, rerank_ndcg, retrieval_ndcg
from train.evaluation.quality_rows import Interval, SearchQuality

GAINS = {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}
RELEVANT_GAIN = GAINS["E"]
"""Recall counts Exact products only."""

RETRIEVED = 100

CATALOGUE_GROUP = "catalogue"
"""`group` of the 6,764 products that are ranked; the products of `esci_pairs` are of another group."""

PAIRS_GROUP = "pairs"


@dataclass(frozen=True)
class LabelledPair:
    """One training pair: a query, the id of a product, its gain."""

    query: str
    product_id: str
    gain: float


@dataclass(frozen=True)
class EsciData:
    """The data of the protocol.

    Attributes:
        products: the 6,764 products that are ranked, in the order of the table.
        peer_texts: title, brand and color of each of them, which is what peers index.
        judged: query -> {row of the product: gain}, 150 queries.
        folds: fold of each judged query and of each query of `extras`.
        extras: further Exact pairs of the same products.
        pairs: pairs of `esci_pairs`, without its marked rows.
        pair_products: the products of `pairs` that are not among `products`.
        wands_queries: unlabelled furniture queries.
    """

    products: tuple[Product, ...]
    peer_texts: tuple[str, ...]
    judged: Mapping[str, Mapping[int, float]]
    folds: Mapping[str, int]
    extras: tuple[LabelledPair, ...]
    pairs: tuple[LabelledPair, ...]
    pair_products: tuple[Product, ...]
    wands_queries: tuple[str, ...]

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        """Product id -> row of `products`."""
        return {product.product_id: row for row, product in enumerate(self.products)}


@dataclass(frozen=True)
class QueryFigures:
    """The figures of one ranking of one query."""

    rerank_ndcg10: float
    retrieval_ndcg10: float
    recall100: float


@dataclass(frozen=True, kw_only=True)
class Figures(SearchQuality):
    """Quality of search, with the share of the relevant products among the first 100."""

    recall100: float
    recall100_ci95: Interval


def load_esci(data: Path) -> EsciData:
    """Read `esci_us`, `esci_pairs` and `wands_queries` below `data`.

    Raises:
        ConfigError: a table is missing.
    """
    rows = _read(data, "esci_us/products.parquet")
    products = tuple(_catalogue_product(row) for row in rows)
    row_of = {product.product_id: row for row, product in enumerate(products)}
    judged: dict[str, dict[int, float]] = defaultdict(dict)
    for judgement in _read(data, "esci_us/judgments.parquet"):
        judged[judgement["query"]][row_of[judgement["product_id"]]] = GAINS[judgement["esci_label"]]
    extras = tuple(
        LabelledPair(row["query"], row["product_id"], GAINS["E"])
        for row in _read(data, "esci_us/extra_exact_pairs_unjudged_queries.parquet")
        if not row["in_judged_query"]
    )
    pair_rows = [row for row in _read(data, "esci_pairs/pairs_us.parquet") if not row["query_in_esci_us_small"]]
    pair_products = {row["product_id"]: _pair_product(row) for row in pair_rows if row["product_id"] not in row_of}
    return EsciData(
        products=products,
        peer_texts=tuple(" ".join(filter(None, (row["title"], row["brand"], row["color"]))) for row in rows),
        judged=judged,
        folds=assign_folds(list(judged), sorted({pair.query for pair in extras}), folds=FOLDS),
        extras=extras,
        pairs=tuple(LabelledPair(row["query"], row["product_id"], GAINS[row["esci_label"]]) for row in pair_rows),
        pair_products=tuple(pair_products.values()),
        wands_queries=tuple(row["query"] for row in _read(data, "wands_queries/query.parquet")),
    )


def _read(data: Path, name: str) -> list[dict[str, Any]]:
    try:
        return pq.read_table(data / name).to_pylist()
    except OSError as error:
        raise ConfigError(
            f"POCKETREC_DATA: expected the table {data / name}, which cannot be read ({error})"
        ) from error


def _catalogue_product(row: Mapping[str, Any]) -> Product:
    categories = json.loads(row["category"] or "[]")
    return Product(
        product_id=row["asin"],
        title=row["title"],
        description=_joined(row["bullet_points"], row["description"]),
        brand=row["brand"] or None,
        category=" > ".join(categories) or None,
        attributes={"color": row["color"]} if row["color"] else {},
        group=CATALOGUE_GROUP,
    )


def _pair_product(row: Mapping[str, Any]) -> Product:
    return Product(
        product_id=row["product_id"],
        title=row["product_title"],
        description=_joined(row["product_bullet_point"], row["product_description"]),
        brand=row["product_brand"] or None,
        attributes={"color": row["product_color"]} if row["product_color"] else {},
        group=PAIRS_GROUP,
    )


def _joined(*parts: str | None) -> str | None:
    return " ".join(filter(None, parts)) or None


def queries_of(data: EsciData, fold: int) -> list[str]:
    """Return the judged queries of `fold`, in the order of the table."""
    return [query for query in data.judged if data.folds[query] == fold]


@dataclass(frozen=True)
class FoldShop:
    """What may be trained on when `fold` is the test: everything that `write_shop` writes."""

    products: tuple[Product, ...]
    labelled: tuple[LabelledPair, ...]
    queries: tuple[str, ...]


def shop_without(data: EsciData, fold: int, *, pairs: bool = True, wands: bool = True) -> FoldShop:
    """Return the shop of all folds but one.

    Args:
        data: the whole data.
        fold: the test fold, whose queries appear nowhere in the result.
        pairs: include the pairs (and products) of `esci_pairs`.
        wands: include the WANDS queries among the unlabelled ones.
    """
    tests = NearCopies(queries_of(data, fold))

    def allowed(query: str) -> bool:
        return not tests.has(query)

    ids = [product.product_id for product in data.products]
    labelled = [
        LabelledPair(query, ids[row], gain)
        for query, gains in data.judged.items()
        if data.folds[query] != fold and allowed(query)
        for row, gain in gains.items()
    ]
    labelled += [pair for pair in data.extras if data.folds[pair.query] != fold and allowed(pair.query)]
    if pairs:
        labelled += [pair for pair in data.pairs if allowed(pair.query)]
    queries = dict.fromkeys(pair.query for pair in labelled)
    if wands:
        queries |= dict.fromkeys(query for query in data.wands_queries if allowed(query))
    return FoldShop(
        products=data.products + (data.pair_products if pairs else ()),
        labelled=tuple(labelled),
        queries=tuple(queries),
    )


def query_figures(
    gains: Mapping[int, float], *, rerank: npt.NDArray[np.floating[Any]], retrieved: Sequence[int]
) -> QueryFigures:
    """Return the figures of one query's ranking.

    Args:
        gains: row of each judged product -> its gain.
        rerank: float [judged], a score for each judged product, in the order of `gains`; of equal scores the earlier
            product comes first.
        retrieved: rows of the catalogue, best first; the first 100 count, and what is not judged has gain 0.
    """
    relevant = [row for row, gain in gains.items() if gain >= RELEVANT_GAIN]
    return QueryFigures(
        rerank_ndcg10=rerank_ndcg(np.array(list(gains.values())), rerank, 10),
        retrieval_ndcg10=retrieval_ndcg(gains, retrieved, 10),
        recall100=recall_at_k(retrieved, relevant, RETRIEVED),
    )


def score_figures(gains: Mapping[int, float], scores: npt.NDArray[np.floating[Any]]) -> QueryFigures:
    """Return the figures of one score for each product of the catalogue, float [products]."""
    top = np.argsort(-scores, kind="stable")[:RETRIEVED]
    return query_figures(gains, rerank=scores[list(gains)], retrieved=top.tolist())


def random_floor(gains: Mapping[int, float], products: int) -> QueryFigures:
    """Return the expected figures of a random ranking of a catalogue of that many products."""
    judged = np.array(list(gains.values()))
    rerank, retrieval = (chance_ndcg(judged, 10, among=among) for among in (len(judged), products))
    return QueryFigures(rerank, retrieval, min(1.0, RETRIEVED / products) if judged.max() >= RELEVANT_GAIN else 0.0)


def summarize(per_query: Iterable[QueryFigures]) -> Figures:
    """Return means and 95% bootstrap intervals over queries."""
    figures = list(per_query)
    recall = estimate_mean([one.recall100 for one in figures])
    return Figures.of(
        [one.rerank_ndcg10 for one in figures],
        [one.retrieval_ndcg10 for one in figures],
        recall100=recall.mean,
        recall100_ci95=recall.ci95,
    )
