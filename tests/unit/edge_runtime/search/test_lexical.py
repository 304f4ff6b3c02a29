"""The full-text side: quoting, weights, common words, corrections."""

import contextlib
import math
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compress.catalogue.rows import write_catalogue_rows
from edge_runtime.contract.bundle import FusionSpec
from edge_runtime.contract.errors import BundleFormatError, ModelLoadError
from edge_runtime.products.rows_database import RowsDatabase
from edge_runtime.search.lexical import MAX_WORDS, LexicalIndex
from edge_runtime.search.spelling import edit_distance, fold_word, trigrams_of, words_of
from train.data.tables import Product

Index = Callable[..., LexicalIndex]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened: list[RowsDatabase] = []

    def make(*titles: str, weights: dict[str, float] | None = None, **fields: str) -> LexicalIndex:
        products = [Product(f"p{row}", title, **fields) for row, title in enumerate(titles)]  # type: ignore[arg-type]
        write_catalogue_rows(tmp_path, products)
        opened.append(RowsDatabase(tmp_path / "catalogue.sqlite"))
        return LexicalIndex(
            opened[-1], products=len(products), fusion=FusionSpec(dense_weight=0.5, field_weights=weights or {})
        )

    yield make
    for database in opened:
        database.close()


def ranked(index: LexicalIndex, text: str) -> list[int]:
    scores = index.scores(index.understand(text))
    return [int(row) for row in np.argsort(-scores, kind="stable") if scores[row] > 0]


def test_forms_and_accents_of_a_word_meet(index: Index) -> None:
    made = index("Café tables", "garden chair", "steel lamp")
    assert ranked(made, "CAFE table") == [0]
    assert ranked(made, "lamps") == [2]


def test_rare_word_counts_more_than_frequent_one(index: Index) -> None:
    made = index("red lamp", "red chair", "blue mug", "green mug", "white mug", "oak bench")
    assert ranked(made, "red bench")[0] == 5


def test_field_weight_decides_between_title_and_description(tmp_path: Path) -> None:
    products = [Product("a", "lamp one", description="table two"), Product("b", "table three", description="lamp four")]
    products += [Product(f"c{number}", f"mug {number}") for number in range(5)]
    write_catalogue_rows(tmp_path, products)
    database = RowsDatabase(tmp_path / "catalogue.sqlite")
    for weights, best in (({"title": 5.0, "description": 0.1}, 0), ({"title": 0.1, "description": 5.0}, 1)):
        assert ranked(LexicalIndex(database, products=7, fusion=FusionSpec(0.5, weights)), "lamp")[0] == best
    database.close()


def test_weight_for_an_unknown_column_is_refused(index: Index) -> None:
    with pytest.raises(BundleFormatError, match="text column 'colour'"):
        index("lamp", weights={"colour": 2.0})


def test_word_of_most_products_is_left_out_unless_alone(index: Index) -> None:
    made = index("lamp red", "lamp blue", "lamp green", "mug white")
    assert made.understand("lamp red").terms == ("red",)
    assert made.understand("lamp").terms == ("lamp",)


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("lmap", "lamp"), ("candel", "candle"), ("furnitrue", "furniture"), ("chiar", "chair"), ("wodden", "wooden"),
     ("alarmclok", "alarmclock"), ("lmp", None), ("xyzzyx", None), ("l4mp", None), ("candles", None)],
)  # fmt: skip
def test_unknown_word_is_read_as_the_nearest_known(index: Index, typo: str, meant: str | None) -> None:
    made = index("lamp candle", "furniture chair", "wooden alarmclock", "mug", "cup", "shirt")
    assert made.understand(typo).corrections == ({typo: (meant,)} if meant else {})


def test_of_equally_near_words_the_two_most_frequent_are_taken(index: Index) -> None:
    made = index("band", "band", "bang", "bane", "bane", "bane", "mug", "mug", "cup", "cup", "tea", "pot", "jar", "jug")
    assert made.understand("banx").corrections == {"banx": ("bane", "band")}


def test_long_query_is_cut_to_its_first_words(index: Index) -> None:
    made = index("lamp", "mug", "cup")
    query = made.understand(" ".join(f"w{number}" for number in range(500)))
    assert len(query.terms) == MAX_WORDS


@pytest.mark.parametrize("text", ["", "!!!", "\u0301", "😀"])
def test_text_without_words_matches_nothing(index: Index, text: str) -> None:
    made = index("lamp", "mug")
    assert made.understand(text).terms == ()
    assert not made.scores(made.understand(text)).any()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(text=st.text(max_size=40))
def test_any_text_is_only_words_to_the_index(index: Index, text: str) -> None:
    made = index("lamp", "mug café", "größe стол 椅子")
    query = made.understand(text)
    scores = made.scores(query)
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    for term in query.terms:
        made.fields_with(term, 1)


def test_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    path.write_bytes(b"no database" * 500)
    with pytest.raises(BundleFormatError, match=r"cannot read .*catalogue.sqlite"):
        RowsDatabase(path)
    with pytest.raises(BundleFormatError, match="cannot open"):
        RowsDatabase(tmp_path / "missing.sqlite")


def test_catalogue_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript("PRAGMA user_version = 9; CREATE TABLE products (row INTEGER)")
    connection.close()
    with pytest.raises(BundleFormatError, match="has version 9"):
        RowsDatabase(path)


def test_sqlite_without_full_text_search_is_told(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(
        "PRAGMA user_version = 1; CREATE TABLE search (a); PRAGMA writable_schema = ON; "
        "UPDATE sqlite_master SET type = 'table', rootpage = 0, sql = 'CREATE VIRTUAL TABLE search USING fts99(a)'"
    )
    connection.close()
    with pytest.raises(ModelLoadError, match="no full-text search"):
        RowsDatabase(path)


def test_closed_file_is_our_error(index: Index) -> None:
    made = index("lamp", "mug")
    made._database.close()
    with pytest.raises(BundleFormatError, match="closed"):
        made.scores(made.understand("lamp"))


def test_row_outside_the_catalogue_is_refused(tmp_path: Path) -> None:
    write_catalogue_rows(tmp_path, [Product("a", "lamp"), Product("b", "lamp"), Product("c", "mug")])
    with pytest.raises(BundleFormatError, match="the postings know 3 products, the manifest says 1"):
        LexicalIndex(RowsDatabase(tmp_path / "catalogue.sqlite"), products=1, fusion=FusionSpec(0.5, {}))
    with contextlib.closing(sqlite3.connect(tmp_path / "catalogue.sqlite")) as older:
        older.executescript("DROP TABLE posting_lengths; DROP TABLE posting_words; DROP TABLE postings")
    database = RowsDatabase(tmp_path / "catalogue.sqlite")
    made = LexicalIndex(database, products=1, fusion=FusionSpec(0.5, {}))
    with pytest.raises(BundleFormatError, match="names a row"):
        made.scores(made.understand("lamp"))
    database.close()


@pytest.mark.parametrize(
    ("left", "right", "distance"),
    [("lamp", "lamp", 0), ("lmap", "lamp", 1), ("lamp", "lam", 1), ("lamp", "clamp", 1), ("lamp", "limp", 1),
     ("ca", "abc", 3), ("kitten", "sitting", 3), ("", "ab", 2)],
)  # fmt: skip
def test_edit_distance_counts_a_swap_once(left: str, right: str, distance: int) -> None:
    assert edit_distance(left, right, limit=5) == distance
    assert edit_distance(right, left, limit=5) == distance


def test_edit_distance_stops_at_its_limit() -> None:
    assert edit_distance("lamp", "table", limit=1) == 2
    assert edit_distance("a", "abcdef", limit=2) == 3


def test_words_and_trigrams() -> None:
    assert words_of("AC/DC-shirt_2 größe") == ["AC", "DC", "shirt", "2", "größe"]
    assert fold_word("CRÈME") == "creme"
    assert trigrams_of("lamp") == ["1l", "1la", "lam", "amp", "mp2", "p2"]


COVERAGE = FusionSpec(dense_weight=0.5, field_weights={}, coverage_weights={"any": 2.0, "brand": 2.0})


def coverage_of(tmp_path: Path, query: str, *products: Product) -> dict[str, list[float]]:
    write_catalogue_rows(tmp_path, products)
    database = RowsDatabase(tmp_path / "catalogue.sqlite")
    index = LexicalIndex(database, products=len(products), fusion=COVERAGE)
    parts = index.parts(index.understand(query))
    database.close()
    return {name: [float(value) for value in values] for name, values in parts.coverage.items()}


OTHERS = tuple(Product(f"o{number}", f"mug {number}") for number in range(6))


def test_coverage_is_the_share_of_the_querys_rare_words(tmp_path: Path) -> None:
    products = (Product("a", "lamp red"), Product("b", "chair", brand="Red"), *OTHERS)
    found = coverage_of(tmp_path, "red lamp", *products)
    red, lamp = (math.log1p((8 - n + 0.5) / (n + 0.5)) for n in (2, 1))
    assert found["any"][:2] == pytest.approx([1.0, red / (red + lamp)])
    assert found["brand"][:2] == pytest.approx([0.0, red / (red + lamp)])
    assert not any(found["any"][2:])


def test_any_correction_of_a_word_covers_it(tmp_path: Path) -> None:
    products = (Product("a", "lamp"), Product("b", "camp"), *OTHERS)
    assert coverage_of(tmp_path, "xamp", *products)["any"][:2] == pytest.approx([1.0, 1.0])


def test_product_with_all_words_or_the_brand_beats_one_that_repeats_a_word(tmp_path: Path) -> None:
    filler = "of many other things and words that say nothing at all about it whatsoever"
    products = [
        Product("a", "lamp lamp lamp"),
        Product("b", f"oak lamp {filler}"),
        Product("c", f"thing {filler}", brand="Oak"),
    ]
    write_catalogue_rows(tmp_path, [*products, *OTHERS])
    database = RowsDatabase(tmp_path / "catalogue.sqlite")
    index = LexicalIndex(database, products=9, fusion=COVERAGE)
    assert ranked(index, "oak lamp")[:2] == [1, 2]
    database.close()
