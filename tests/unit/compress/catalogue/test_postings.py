"""Postings say exactly what the full-text index says, and suggestions what the shop's tables say."""

import contextlib
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from compress.catalogue import postings
from compress.catalogue.rows import write_catalogue_rows
from compress.catalogue.suggestions import popular_queries
from edge_runtime.contract.errors import BundleFormatError
from edge_runtime.products.rows_database import RowsDatabase
from edge_runtime.search.postings import Postings
from train.data.tables import Judgement, Product

WORDS = ("lamp", "lamps", "oak", "brass", "reading", "café", "desk", "floor", "quiet", "blue")
WEIGHTS = {"title": 3.0, "brand": 2.0, "description": 0.5}


def products(count: int) -> list[Product]:
    rng = np.random.default_rng(3)
    return [
        Product(
            f"p{row}",
            " ".join(rng.choice(WORDS, rng.integers(1, 7))),
            brand=str(rng.choice(WORDS[:4])),
            description=" ".join(rng.choice(WORDS, rng.integers(0, 30))) or None,
            attributes={"color": str(rng.choice(WORDS))},
        )
        for row in range(count)
    ]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postings, "MIN_HITS", 1)
    write_catalogue_rows(tmp_path, products(300))
    with contextlib.closing(RowsDatabase(tmp_path / "catalogue.sqlite")) as opened:
        yield opened


def of(database: RowsDatabase) -> Postings:
    return Postings(database, products=300, field_weights=WEIGHTS, columns=["brand", "title"])


def test_postings_equal_the_index_to_the_last_bit(database: RowsDatabase) -> None:
    made = of(database)
    for word in ("lamp", "oak", "brass", "reading", "cafe", "desk", "blue"):
        read, asked = made._read(word), made._ask(word)
        assert read is not None
        np.testing.assert_array_equal(read.rows, asked.rows)
        np.testing.assert_array_equal(read.bm25, asked.bm25)
        for column in ("brand", "title"):
            np.testing.assert_array_equal(read.by_field[column], np.sort(asked.by_field[column]))


def test_forms_of_a_word_share_their_postings(database: RowsDatabase) -> None:
    assert database.fetch("SELECT count(DISTINCT posting) FROM posting_words WHERE word IN ('lamp', 'lamps')") == [(1,)]


def test_rows_far_apart_are_written_whole() -> None:
    far = [(0, "title"), (70_000, "title"), (70_000, "brand")]
    hits, rows, codes, counts = postings._packed(far)
    assert (hits, np.frombuffer(rows, "<i4").tolist()) == (2, [0, 70_000])
    assert np.frombuffer(counts, np.uint8).reshape(-1, 5)[np.frombuffer(codes, np.uint8)].tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
    ]


def test_more_than_256_kinds_of_counts_take_two_bytes() -> None:
    found = [(row, "title") for row in range(300) for _ in range(1 + row % 200)]
    found += [(row, "brand") for row in range(300) for _ in range(row // 10)]
    hits, _, codes, counts = postings._packed(found)
    kinds = np.frombuffer(counts, np.uint8).reshape(-1, 5)[np.frombuffer(codes, "<u2")]
    assert len(codes) == 2 * hits
    assert kinds[:, 0].tolist() == [1 + row % 200 for row in range(300)]


@pytest.mark.parametrize(
    "damage",
    ["hits = hits + 1", "codes = x'ff'", "counts = x'0102'", "rows = zeroblob(0), hits = 0"],
)
def test_damaged_postings_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setattr(postings, "MIN_HITS", 1)
    write_catalogue_rows(tmp_path, products(300))
    with contextlib.closing(sqlite3.connect(tmp_path / "catalogue.sqlite")) as writable, writable:
        writable.execute(f"UPDATE postings SET {damage}")
    with (
        contextlib.closing(RowsDatabase(tmp_path / "catalogue.sqlite")) as opened,
        pytest.raises(BundleFormatError, match="the postings of 'oak' are malformed"),
    ):
        of(opened).of("oak")


def test_only_queries_with_a_good_product_are_suggested() -> None:
    judged = [Judgement("Red Lamp", 0, 1.0), Judgement("red lamp", 1, 0.5), Judgement("nothing fits", 2, 0.0),
              Judgement("me@example.org", 0, 1.0)]  # fmt: skip
    assert popular_queries(judged) == {"red lamp": 2.0}
