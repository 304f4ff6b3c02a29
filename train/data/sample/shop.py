"""The sample shop: synthetic, seeded, and with enough structure to learn from; for quick starts and tests."""

import random
from pathlib import Path

import msgspec
import pyarrow as pa

from edge_runtime.contract.errors import ConfigError
from train.data.sample.products import SampleProduct, Shelves, make_products, shelve
from train.data.sample.purchases import make_purchases
from train.data.sample.queries import SampleQuery, judge, make_queries
from train.data.sample.words import Words, load_words
from train.data.writing import write_shop

# Below, most kinds of products are missing; above, it is no sample any more.
SMALLEST, LARGEST = 20, 1_000_000
# Enough to learn from and to measure on, few enough for a quick first build.
JUDGED_QUERIES = 600
UNLABELLED_QUERIES = 3_000
USERS = 800


def write_sample_shop(folder: Path, *, products: int = 2000, seed: int = 0, overwrite: bool = False) -> None:
    """Write the sample shop into `folder` (as `write_shop` does): equal arguments give equal tables.

    Some 100 kinds of products in eight departments; 600 judged queries with 20 products each, graded by how much of
    what they ask for a product is; 3,000 unlabelled queries; 800 people who have favorite departments, brands and
    colors, buy together what goes together and buy again what is used up.

    Args:
        folder: new or empty; with `overwrite` it may hold a shop.
        products: how many, 20 to 1,000,000.
        seed: another seed gives another shop.
        overwrite: replace the tables that are there.

    Raises:
        ConfigError: `products` is out of range.
        ShopError: the folder already holds tables.
        StorageError: the disk is full, read-only or not permitted.
    """
    if not SMALLEST <= products <= LARGEST:
        raise ConfigError(f"a sample shop has {SMALLEST} to {LARGEST} products, not {products}; choose another number")
    write_shop(folder, sample_tables(products=products, seed=seed), overwrite=overwrite)


def sample_tables(*, products: int, seed: int) -> dict[str, pa.Table]:
    """Return the tables of the sample shop by name."""
    words = load_words()
    made = make_products(words, products, _source(seed, "products"))
    shelves = shelve(made)
    queries = make_queries(words, made, JUDGED_QUERIES + UNLABELLED_QUERIES, _source(seed, "queries"))
    judged = queries[: min(JUDGED_QUERIES, max(1, len(queries) // 2))]
    return {
        "products": _product_table(made),
        "judgements": _judgement_table(judged, shelves, _source(seed, "judgements")),
        "purchases": pa.Table.from_pylist(make_purchases(shelves, USERS, _source(seed, "purchases"))),
        "queries": pa.table({"query": [query.text for query in queries[len(judged) :]]}),
        "synonyms": _synonym_table(words),
    }


def _source(seed: int, purpose: str) -> random.Random:
    # A stream for each purpose: more products do not change what people do.
    return random.Random(f"{seed} {purpose}")  # noqa: S311 (nothing secret is drawn)


def _product_table(products: list[SampleProduct]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "product_id": product.product_id,
                "title": product.title,
                "description": product.description,
                "brand": product.brand,
                "category": product.kind.category,
                "attributes": msgspec.json.encode(product.attributes).decode(),
                "price": product.price,
                "group": product.seller,
            }
            for product in products
        ]
    )


def _judgement_table(queries: list[SampleQuery], shelves: Shelves, random_source: random.Random) -> pa.Table:
    rows = [
        (query.text, product.product_id, grade)
        for query in queries
        for product, grade in judge(query, shelves, random_source)
    ]
    texts, ids, grades = zip(*rows, strict=True)
    return pa.table({"query": texts, "product_id": ids, "grade": pa.array(grades, pa.int8())})


def _synonym_table(words: Words) -> pa.Table:
    pairs = [(kind.noun, kind.also) for kind in words.kinds if kind.also] + list(words.word_synonyms.items())
    return pa.table(
        {"term": [term for term, _ in pairs], "alternatives": ["|".join(alternatives) for _, alternatives in pairs]}
    )
