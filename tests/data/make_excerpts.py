"""Writes tests/data/excerpts: small parts of the real data sets, so that the tests of real data need no download.

Needs the builder's environment and the full data: POCKETREC_DATA=/path/to/data python tests/data/make_excerpts.py
The NOTICE beside each table says where it comes from and under which license it may be passed on.
"""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

EXCERPTS = Path(__file__).parent / "excerpts"
NAMED_PRODUCT = "B0777K9RGX"
"""A product whose brand, color and category a test compares."""
JUDGED_QUERIES = 5
"""Some 45 judged products each: a catalogue of this many queries is about 100 kB."""
EXTRA_PAIRS = 40
OTHER_PAIRS = 50
UNLABELLED_QUERIES = 60
CUSTOMERS = 24
MOST_LINES = 30
"""Lines of a customer that is taken: many small customers show more than one wholesaler."""
LINES_WITHOUT_PRODUCT = 40
NAMED_CODE = "85123A"


def _is_in(table: pa.Table, column: str, values: pa.Array | pa.ChunkedArray | list[str]) -> pa.Table:
    wanted = pa.array(values, table[column].type) if isinstance(values, list) else values
    return table.filter(pc.is_in(table[column], value_set=wanted))


def _write(table: pa.Table, name: str) -> None:
    path = EXCERPTS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", compression_level=19)
    print(f"{path}: {table.num_rows} rows, {path.stat().st_size / 1000:.0f} kB")


def write_esci(data: Path) -> None:
    """Write whole judged queries with all their products, and pairs of every kind that the importer tells apart."""
    judgements = pq.read_table(data / "esci_us/judgments.parquet")
    products = pq.read_table(data / "esci_us/products.parquet")
    extra = pq.read_table(data / "esci_us/extra_exact_pairs_unjudged_queries.parquet")
    pairs = pq.read_table(data / "esci_pairs/pairs_us.parquet")

    # The query of the named product, that of a pair which both copies have, that of a pair which is marked as judged,
    # and the first others of the table.
    both = {(row["query"], row["product_id"]) for row in extra.to_pylist()}
    doubled = [row["product_id"] for row in pairs.to_pylist() if (row["query"], row["product_id"]) in both]
    named = _is_in(judgements, "product_id", [NAMED_PRODUCT])["query"].to_pylist()
    of_doubled = _is_in(judgements, "product_id", doubled)["query"].to_pylist()
    marked = pairs.filter(pairs["query_in_esci_us_small"])["query"].to_pylist()
    order = [*named, *of_doubled[:1], *marked[:1], *judgements["query"].to_pylist()]
    queries = list(dict.fromkeys(order))[:JUDGED_QUERIES]
    judgements = _is_in(judgements, "query", queries)
    products = _is_in(products, "asin", judgements["product_id"])

    extra = _is_in(extra, "product_id", products["asin"])
    marked_pairs = _is_in(pairs.filter(pairs["query_in_esci_us_small"]), "query", queries)
    free = pairs.filter(pc.invert(pairs["query_in_esci_us_small"]))
    known = _is_in(free, "product_id", products["asin"])
    new = free.filter(pc.invert(pc.is_in(free["product_id"], value_set=products["asin"])))

    _write(judgements, "esci_us/judgments.parquet")
    _write(products, "esci_us/products.parquet")
    _write(extra.slice(0, EXTRA_PAIRS), "esci_us/extra_exact_pairs_unjudged_queries.parquet")
    _write(pa.concat_tables([marked_pairs, known, new.slice(0, OTHER_PAIRS)]), "esci_pairs/pairs_us.parquet")
    _write(pq.read_table(data / "wands_queries/query.parquet").slice(0, UNLABELLED_QUERIES), "wands_queries/query.parquet")


def write_online_retail(data: Path) -> None:
    """Write every line of small customers, a named product's buyers first, and lines that are no purchase."""
    lines = pq.read_table(data / "online_retail/online_retail.parquet")
    sizes = lines.filter(pc.is_valid(lines["CustomerID"])).group_by("CustomerID").aggregate(
        [("InvoiceNo", "count"), ("InvoiceNo", "count_distinct")]
    )
    small = sizes.filter(
        pc.and_(
            pc.less_equal(sizes["InvoiceNo_count"], MOST_LINES), pc.greater_equal(sizes["InvoiceNo_count_distinct"], 2)
        )
    )["CustomerID"]
    bought = pc.unique(lines.filter(pc.equal(lines["StockCode"], NAMED_CODE))["CustomerID"])
    # One buyer of the named product in six; the other users are the first ones.
    candidates = pc.sort_indices(small)
    ordered = small.take(candidates).to_pylist()
    buyers = [customer for customer in ordered if customer in set(bought.to_pylist())][: CUSTOMERS // 6]
    chosen = list(dict.fromkeys([*buyers, *ordered]))[:CUSTOMERS]
    purchases = lines.filter(pc.is_in(lines["CustomerID"], value_set=pa.array(chosen, lines["CustomerID"].type)))
    nobody = lines.filter(pc.is_null(lines["CustomerID"])).slice(0, LINES_WITHOUT_PRODUCT)
    no_product = pc.invert(pc.match_substring_regex(lines["StockCode"], r"^\d{5}"))
    fees = lines.filter(pc.and_(no_product, pc.is_valid(lines["CustomerID"]))).slice(0, LINES_WITHOUT_PRODUCT)
    _write(pa.concat_tables([purchases, nobody, fees]), "online_retail/online_retail.parquet")


if __name__ == "__main__":
    source = Path(os.environ["POCKETREC_DATA"])
    write_esci(source)
    write_online_retail(source)
