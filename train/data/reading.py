"""Reading a shop: a folder of tables -> a checked and cleaned `Shop` (docs/shop-format.md)."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.product_columns import PRODUCT_COLUMNS
from train.data.cleaning import DropLog
from train.data.judgement_table import read_judgements, read_queries, read_synonyms
from train.data.product_table import read_products
from train.data.purchase_table import read_purchases
from train.data.table_files import SUFFIXES, find_table
from train.data.tables import Basket, Judgement, Product, Shop
from train.errors import ShopError

TABLES = ("products", "judgements", "purchases", "queries", "synonyms")


def read_shop(folder: Path) -> Shop:
    """Read, check and clean the shop in `folder`.

    Rows that cannot be used but do no harm (a purchase of an unknown product, a product without title) are left out
    and counted in `Shop.dropped`; whatever would make the shop mean something else is an error.

    Raises:
        ShopError: no such folder, no products, or a table that is malformed; names file, row and column of every cell
            that is wrong, what was expected and what was found.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ShopError(f"{folder} is not a folder; expected one with products.parquet or products.csv")
    paths = {table: find_table(folder, table) for table in TABLES}
    products_path = paths["products"]
    if products_path is None:
        raise ShopError(f"{folder} has no products.parquet and no products.csv; {_found_instead(folder)}")
    log = DropLog()
    table = read_products(products_path, log)
    judgements_path, purchases_path = paths["judgements"], paths["purchases"]
    queries_path, synonyms_path = paths["queries"], paths["synonyms"]
    judgements = read_judgements(judgements_path, table.ids, log) if judgements_path else ()
    baskets = read_purchases(purchases_path, table.ids, log) if purchases_path else {}
    queries = read_queries(queries_path, log) if queries_path else ()
    synonyms = read_synonyms(synonyms_path, log) if synonyms_path else {}
    log.raise_refused()
    return Shop(
        name=folder.resolve().name,
        products=table.products,
        judgements=judgements,
        baskets=baskets,
        queries=queries,
        synonyms=synonyms,
        image_vectors=table.image_vectors,
        dropped=log.dropped(),
        digest=shop_digest(table.products, judgements, baskets, queries, synonyms, table.image_vectors),
    )


def shop_digest(
    products: tuple[Product, ...],
    judgements: tuple[Judgement, ...],
    baskets: Mapping[str, tuple[Basket, ...]],
    queries: tuple[str, ...],
    synonyms: Mapping[str, tuple[str, ...]],
    image_vectors: npt.NDArray[np.float32] | None,
) -> str:
    """Return the SHA-256, in hex, over the content of a shop; the same on every platform and in every format."""
    digest = hashlib.sha256()
    _add(digest, msgspec.json.encode(_plain(products, is_optional=False)))
    for part in (judgements, queries, sorted(synonyms.items())):
        _add(digest, msgspec.json.encode(part, order="deterministic"))
    users = sorted(baskets)
    _add(digest, msgspec.json.encode([(user, len(baskets[user])) for user in users]))
    every = [basket for user in users for basket in baskets[user]]
    _add(digest, np.array([basket.timestamp_s for basket in every], dtype="<f8").tobytes())
    _add(digest, np.array([len(basket.rows) for basket in every], dtype="<i8").tobytes())
    _add(digest, b"".join(basket.rows.astype("<i4").tobytes() for basket in every))
    if image_vectors is not None:
        _add(digest, image_vectors.astype("<f4").tobytes() + str(image_vectors.shape).encode())
    # Added only where there is something, so that a shop without these columns keeps its digest, and what was built by it.
    if any(optional := _plain(products, is_optional=True)):
        _add(digest, b"optional columns" + msgspec.json.encode(optional))
    return digest.hexdigest()


def _plain(products: tuple[Product, ...], *, is_optional: bool) -> list[dict[str, object]]:
    """Return the products by column; of optional columns only those that a product has."""
    names = [column.name for column in PRODUCT_COLUMNS if column.is_optional == is_optional]
    rows: list[dict[str, object]] = []
    for product in products:
        values = {name: getattr(product, name) for name in names}
        values = {name: dict(sorted(one.items())) if isinstance(one, Mapping) else one for name, one in values.items()}
        rows.append({name: value for name, value in values.items() if not is_optional or value not in (None, {})})
    return rows


def _add(digest: "hashlib._Hash", part: bytes) -> None:
    # The length stands before each part, so that no two shops differ only in where a part ends.
    digest.update(len(part).to_bytes(8, "little"))
    digest.update(part)


def _found_instead(folder: Path) -> str:
    found = sorted(
        path.name for path in folder.iterdir() if path.suffix.lower() in {*SUFFIXES, ".tsv", ".xlsx", ".json"}
    )
    if not found:
        return "write the table of products there"
    return f"found {', '.join(found[:5])}: rename or convert the one that holds the products"
