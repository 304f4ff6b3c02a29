"""Amazon ESCI, the Shopping Queries Dataset (Reddy et al. 2022, arXiv:2206.06588, Apache-2.0) -> a shop.

Two layouts: the publisher's two Parquet files, and the small US cut with `products.parquet` and `judgments.parquet`,
to which further pairs may be added.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from train.data.column_rules import ColumnRule, list_of_texts, require_column, texts
from train.data.importers.source_files import RemoteFile, require_file
from train.data.table_files import TableFile, load_table
from train.errors import ShopError

EXAMPLES_FILE = "shopping_queries_dataset_examples.parquet"
PRODUCTS_FILE = "shopping_queries_dataset_products.parquet"

_BASE_URL = "https://media.githubusercontent.com/media/amazon-science/esci-data/main/shopping_queries_dataset/"
# Digests as the publisher's Git LFS pointers name them.
FILES = (
    RemoteFile(
        name=EXAMPLES_FILE,
        url=_BASE_URL + EXAMPLES_FILE,
        sha256="4a735b693b4a424a6fc67f5be6e4c811495c488bbf66d02a602d308b2744263a",
        max_bytes=51_286_808,
    ),
    RemoteFile(
        name=PRODUCTS_FILE,
        url=_BASE_URL + PRODUCTS_FILE,
        sha256="25124442d064d64b26f74082d6fa09438d679efc0c183cf28d19064a2b65a265",
        max_bytes=1_108_857_465,
    ),
)

GAINS = {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}
_TEXT_COLUMNS = ("product_title", "product_description", "product_bullet_point", "product_brand", "product_color")
_LONG_LABELS = {"EXACT": "E", "SUBSTITUTE": "S", "COMPLEMENT": "C", "IRRELEVANT": "I"}


@dataclass(frozen=True)
class EsciOptions:
    """Which part of ESCI becomes the shop.

    Attributes:
        locale: marketplace of queries and products.
        version: the reduced set of harder queries, or all.
        split: of the queries.
        extra_pairs: with the small layout, add the pairs of `extra_exact_pairs_unjudged_queries.parquet`.
        pairs: a folder with `pairs_us.parquet`, whose judgements and products are added to the small layout.
    """

    locale: Literal["us", "es", "jp"] = "us"
    version: Literal["small", "large"] = "small"
    split: Literal["train", "test", "all"] = "all"
    extra_pairs: bool = False
    pairs: Path | None = None


def import_esci(source: Path, options: EsciOptions) -> dict[str, pa.Table]:
    """Return the tables of the shop in the folder `source`: judged products with their texts, and the judgements.

    Raises:
        ShopError: a file or column is missing, a label is unknown, or nothing is left.
    """
    if (source / "judgments.parquet").is_file():
        return _import_small(source, options)
    if options.extra_pairs or options.pairs is not None:
        raise ShopError(f"{source} is the published data set; further pairs can be added to the small US cut only")
    return _import_published(source, options)


def _import_published(source: Path, options: EsciOptions) -> dict[str, pa.Table]:
    wanted = pc.field("product_locale") == options.locale
    if options.version == "small":
        wanted &= pc.field("small_version") == 1
    if options.split != "all":
        wanted &= pc.field("split") == options.split
    examples = _filtered(require_file(source, EXAMPLES_FILE), ("query", "product_id", "esci_label"), wanted)
    if examples.num_rows == 0:
        raise ShopError(
            f"{source / EXAMPLES_FILE} has no row with locale {options.locale}, version {options.version}, "
            f"split {options.split}; choose others"
        )
    label = examples["esci_label"].combine_chunks()
    labels = TableFile(path=source / EXAMPLES_FILE, columns={"esci_label": label}, rows=len(label))
    judged = pc.unique(examples["product_id"])
    products = _filtered(
        require_file(source, PRODUCTS_FILE),
        ("product_id", *_TEXT_COLUMNS),
        (pc.field("product_locale") == options.locale) & pc.field("product_id").isin(judged),
    )
    return {
        "products": _products(products["product_id"], *(products[column] for column in _TEXT_COLUMNS)),
        "judgements": _judgements(examples["query"], examples["product_id"], _gains(labels)),
    }


def _import_small(source: Path, options: EsciOptions) -> dict[str, pa.Table]:
    if options.locale != "us" or options.split != "all":
        raise ShopError(
            f"{source} is the small US cut, which has no other locale and no splits; leave these options out"
        )
    products = load_table(require_file(source, "products.parquet"), required=("asin", "title"))
    fields = [products.texts(name) for name in ("asin", "title", "description", "bullet_points", "brand", "color")]
    table = _products(*fields)
    table = table.append_column("category", _categories(products)).append_column("price", _prices(products))
    judged = load_table(require_file(source, "judgments.parquet"), required=("query", "product_id", "esci_label"))
    judgements = [_pair_judgements(judged)]
    if options.extra_pairs:
        extra_path = require_file(source, "extra_exact_pairs_unjudged_queries.parquet")
        extra = load_table(extra_path, required=("query", "product_id"))
        gains = pa.array([GAINS["E"]] * extra.rows)
        judgements.append(_judgements(extra.texts("query"), extra.texts("product_id"), gains))
    tables = [table]
    if options.pairs is not None:
        pair_products, pair_judgements = _pairs(options.pairs, table["product_id"])
        tables.append(pair_products)
        judgements.append(pair_judgements)
    return {
        "products": pa.concat_tables(tables, promote_options="default"),
        "judgements": pa.concat_tables(judgements),
    }


def _pairs(folder: Path, known_ids: pa.ChunkedArray) -> tuple[pa.Table, pa.Table]:
    """Return the products that the small cut does not have, and all judgements but those of its judged queries."""
    table = load_table(
        require_file(folder, "pairs_us.parquet"),
        required=("query", "product_id", "esci_label", "product_title", "query_in_esci_us_small"),
    )
    free = pc.invert(pc.fill_null(table.columns["query_in_esci_us_small"], False))
    products = _products(*(table.texts(column) for column in ("product_id", *_TEXT_COLUMNS)))
    first: dict[str, int] = {}
    for row, product_id in enumerate(products["product_id"].to_pylist()):
        first.setdefault(product_id, row)
    products = products.take(list(first.values()))
    is_new = pc.invert(pc.is_in(products["product_id"], value_set=pa.array(known_ids.to_pylist())))
    return products.filter(is_new), _pair_judgements(table).filter(free)


def _filtered(path: Path, columns: tuple[str, ...], wanted: pc.Expression) -> pa.Table:
    try:
        return pq.read_table(path, columns=list(columns), filters=wanted, partitioning=None)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError, OSError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ShopError(f"{path} is not the published file ({reason}); get it again") from error


def _products(
    ids: pa.Array, titles: pa.Array, descriptions: pa.Array, bullets: pa.Array, brands: pa.Array, colors: pa.Array
) -> pa.Table:
    joined = [
        "\n".join(filter(None, pair)) or None
        for pair in zip(descriptions.to_pylist(), bullets.to_pylist(), strict=True)
    ]
    return pa.table(
        {
            "product_id": ids.cast(pa.string()),
            "title": titles.cast(pa.string()),
            "description": pa.array(joined, pa.string()),
            "brand": brands.cast(pa.string()),
            "attribute.color": colors.cast(pa.string()),
        }
    )


def _categories(products: TableFile) -> pa.Array:
    paths = require_column(products, "category", _CATEGORY)
    return pa.array([" > ".join(path or ()) or None for path in paths], pa.string())


def _prices(products: TableFile) -> pa.Array:
    numbers, missing = products.numbers("price")
    return pa.array(numbers, mask=missing)


def _pair_judgements(table: TableFile) -> pa.Table:
    return _judgements(table.texts("query"), table.texts("product_id"), _gains(table))


def _judgements(queries: pa.Array, ids: pa.Array, gains: pa.Array) -> pa.Table:
    return pa.table({"query": queries.cast(pa.string()), "product_id": ids.cast(pa.string()), "gain": gains})


def _gains(table: TableFile) -> pa.Array:
    return pa.array(require_column(table, "esci_label", _LABEL), pa.float64())


def _gain(label: str) -> float | None:
    short = label.strip().upper()
    return GAINS.get(_LONG_LABELS.get(short, short))


_LABEL = ColumnRule("E, S, C or I", texts(_gain), is_required=True)
_CATEGORY = ColumnRule("a JSON list of texts", texts(list_of_texts))
