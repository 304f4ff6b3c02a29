"""Judgements, unlabelled queries and synonyms: grades become gains, wrong ones name their row."""

import pyarrow as pa
import pytest

from tests.support.shop_tables import write_csv_shop, write_parquet
from train.data.cleaning import MAX_REPORTED
from train.data.reading import read_shop
from train.errors import ShopError


def judgements(tmp_path, text):
    return read_shop(write_csv_shop(tmp_path, judgements=text))


def gains(shop):
    return [judgement.gain for judgement in shop.judgements]


def test_grades_become_exponential_gains(tmp_path):
    shop = judgements(tmp_path, "query,product_id,grade\na,p1,0\na,p2,1\na,p3,2\nb,p1,3\n")
    assert gains(shop) == [0.0, pytest.approx(1 / 7), pytest.approx(3 / 7), 1.0]
    assert [(item.query, item.row, item.weight) for item in shop.judgements][1] == ("a", 1, 1.0)


def test_gains_are_taken_as_they_are(tmp_path):
    assert gains(judgements(tmp_path, "query,product_id,gain\na,p1,1\na,p2,0.1\n")) == [1.0, 0.1]


def test_grades_with_fractions_up_to_one_are_gains(tmp_path):
    assert gains(judgements(tmp_path, "query,product_id,grade\na,p1,1\na,p2,0.5\na,p3,0\n")) == [1.0, 0.5, 0.0]


def test_grades_of_zero_and_one_only_stay_grades(tmp_path):
    assert gains(judgements(tmp_path, "query,product_id,grade\na,p1,1\na,p2,0\n")) == [pytest.approx(1 / 7), 0.0]


def test_averaged_grades_above_one_stay_grades(tmp_path):
    found = gains(judgements(tmp_path, "query,product_id,grade\na,p1,2.5\na,p2,0.5\n"))
    assert found == pytest.approx([(2**2.5 - 1) / 7, (2**0.5 - 1) / 7])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("query,product_id,grade\na,p1,3\na,p2,4\n", r"judgements.csv row 2, column 'grade': .* 0 to 3, found '4'"),
        ("query,product_id,grade\na,p1,-1\n", r"row 1, column 'grade': expected a number from 0 to 3, found '-1'"),
        ("query,product_id,grade\na,p1,E\n", r"row 1, column 'grade': expected a number from 0 to 3, found 'E'"),
        ("query,product_id,grade\na,p1,\n", r"row 1, column 'grade': .* it is empty; correct the row or remove it"),
        ("query,product_id,grade\na,p1,nan\n", r"row 1, column 'grade': .* found 'nan'"),
        ("query,product_id,gain\na,p1,0.5\na,p2,1.5\n", r"row 2, column 'gain': .* 0 to 1, found '1.5'"),
        (
            "query,product_id\na,p1\n",
            r"one column 'grade' \(0 to 3\) or 'gain' \(0 to 1\), found 'query', 'product_id'",
        ),
        ("query,product_id,grade,gain\na,p1,1,1\n", r"one column 'grade' .* both"),
        ("query,grade\na,1\n", r"judgements.csv: column 'product_id' is missing"),
        ("query,product_id,grade,weight\na,p1,1,0\n", r"row 1, column 'weight': expected a number above 0, found '0'"),
        ("query,product_id,grade,weight\na,p1,1,x\n", r"row 1, column 'weight': expected a number above 0, found 'x'"),
    ],
)
def test_malformed_judgements_name_file_column_and_row(tmp_path, table, message):
    with pytest.raises(ShopError, match=message):
        judgements(tmp_path, table)


def test_missing_weight_is_one(tmp_path):
    shop = judgements(tmp_path, "query,product_id,grade,weight\na,p1,1,\na,p2,1,2.5\n")
    assert [item.weight for item in shop.judgements] == [1.0, 2.5]


def test_unknown_products_and_empty_queries_are_left_out_and_counted(tmp_path):
    rows = "".join(f"a,x{number},1\n" for number in range(5))
    shop = judgements(tmp_path, f"query,product_id,grade\n{rows} ,p1,1\na,,1\na,p1,1\n")
    assert len(shop.judgements) == 1
    assert [(item.reason, item.count, item.examples) for item in shop.dropped] == [
        (
            "left out: unknown product",
            6,
            ("judgements.csv row 1 ('x0')", "judgements.csv row 2 ('x1')", "judgements.csv row 3 ('x2')"),
        ),
        ("left out: no query", 1, ("judgements.csv row 6",)),
    ]


def test_pair_judged_twice_comes_out_once(tmp_path):
    table = "query,product_id,gain,weight\na,p1,1,1\n a ,p1,0.5,3\nb,p2,0.3,1\nb,p2,0.3,2\n"
    shop = judgements(tmp_path, table)
    assert [(item.query, item.row, item.gain, item.weight) for item in shop.judgements] == [
        ("a", 0, pytest.approx((1 + 0.5 * 3) / 4), 3.0),
        ("b", 1, 0.3, 2.0),
    ]
    assert [item.reason for item in shop.dropped] == [
        "judged twice differently: mean taken",
        "judged twice alike: counted once",
    ]


def test_header_without_rows_is_an_empty_table(tmp_path):
    tables = {
        "judgements": "query,product_id,grade\n",
        "purchases": "user_id,product_id,timestamp\n",
        "queries": "query\n",
        "synonyms": "term,alternatives\n",
    }
    shop = read_shop(write_csv_shop(tmp_path, **tables))
    assert (shop.judgements, shop.baskets, shop.queries, shop.synonyms) == ((), {}, (), {})


def test_queries_are_cleaned_and_distinct(tmp_path):
    shop = read_shop(write_csv_shop(tmp_path, queries='query\nred\u00a0lamp\n"  red   lamp "\n\u200b\nsofa\n'))
    assert shop.queries == ("red lamp", "sofa")
    assert {item.reason: item.count for item in shop.dropped} == {
        "left out: repeated query": 1,
        "left out: no query": 1,
    }


def test_synonyms_are_lists_however_they_are_written(tmp_path):
    table = 'term,alternatives\nsofa,couch|settee\nsofa,divan|sofa\nlamp,"light, lantern"\nrug,"[""mat""]"\nbed,\n'
    shop = read_shop(write_csv_shop(tmp_path / "csv", synonyms=table))
    assert shop.synonyms == {"sofa": ("couch", "settee", "divan"), "lamp": ("light", "lantern"), "rug": ("mat",)}
    assert [(item.reason, item.count) for item in shop.dropped] == [("left out: no term or no alternatives", 1)]
    folder = write_csv_shop(tmp_path / "parquet")
    write_parquet(folder, "synonyms", {"term": ["sofa", "bed"], "alternatives": pa.array([["couch"], None])})
    assert read_shop(folder).synonyms == {"sofa": ("couch",)}


@pytest.mark.parametrize("value", ['"[""a"", 1]"', '"[oops"'])
def test_malformed_synonyms_name_the_row(tmp_path, value):
    with pytest.raises(ShopError, match=r"synonyms.csv row 1, column 'alternatives': expected a list"):
        read_shop(write_csv_shop(tmp_path, synonyms=f"term,alternatives\nsofa,{value}\n"))


def test_every_wrong_cell_of_every_table_is_reported_at_once(tmp_path):
    tables = {
        "products": 'product_id,title,attributes\np1,lamp,"[1]"\np1,sofa,\n,rug,\n',
        "judgements": "query,product_id,grade,weight\na,p1,4,1\na,p1,,-1\na,p1,1,1\n",
        "purchases": "user_id,product_id,timestamp,quantity\nu,p1,soon,1\nu,p1,5,two\n",
        "synonyms": 'term,alternatives\nsofa,"[1]"\n',
    }
    with pytest.raises(ShopError) as raised:
        read_shop(write_csv_shop(tmp_path, **tables))
    first, *lines = str(raised.value).split("\n  ")
    assert first == "several rows are wrong:"
    assert [line.removeprefix(f"{tmp_path}/").split(":")[0] for line in lines] == [
        "products.csv row 3, column 'product_id'",
        "products.csv row 2, column 'product_id'",
        "products.csv row 1, column 'attributes'",
        "judgements.csv row 1, column 'grade'",
        "judgements.csv row 2, column 'grade'",
        "judgements.csv row 2, column 'weight'",
        "purchases.csv row 2, column 'quantity'",
        "purchases.csv row 1, column 'timestamp'",
        "synonyms.csv row 1, column 'alternatives'",
    ]
    assert "expected a number from 0 to 3, found '4'; correct the row or remove it" in lines[3]
    assert "expected a number from 0 to 3, it is empty" in lines[4]


def test_of_very_many_wrong_cells_the_first_are_listed_and_the_others_counted(tmp_path):
    with pytest.raises(ShopError) as raised:
        judgements(tmp_path, "query,product_id,grade\n" + "a,p1,9\n" * 1_250)
    lines = str(raised.value).split("\n  ")
    assert len(lines) == 1 + MAX_REPORTED + 1
    assert lines[-1] == f"{tmp_path / 'judgements.csv'}, column 'grade': 1,150 more rows like these"
