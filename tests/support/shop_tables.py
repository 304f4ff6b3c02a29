"""Shops written by hand for tests: CSV text per table, or columns for Parquet."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PRODUCTS = "product_id,title\np1,red lamp\np2,blue sofa\np3,green rug\n"


def write_csv_shop(folder: Path, *, products: str | bytes = PRODUCTS, **tables: str | bytes) -> Path:
    """Write `NAME.csv` for each table; text is written as UTF-8 and exactly as it stands."""
    folder.mkdir(exist_ok=True)
    for name, content in {"products": products, **tables}.items():
        (folder / f"{name}.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def write_parquet(folder: Path, name: str, columns: Mapping[str, object]) -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(dict(columns)), folder / f"{name}.parquet")
    return folder
