"""Purchases: lines become baskets; times in every usual form; what cannot be used is counted."""

import time
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from tests.support.shop_tables import write_csv_shop, write_parquet
from train.data.reading import read_shop
from train.errors import ShopError

NOON_S = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


def baskets(shop):
    return {user: [(basket.timestamp_s, basket.rows.tolist()) for basket in of] for user, of in shop.baskets.items()}


def read(tmp_path, text):
    return read_shop(write_csv_shop(tmp_path, purchases=text))


def test_lines_of_one_time_are_one_basket(tmp_path):
    shop = read(tmp_path, "user_id,product_id,timestamp\nu,p2,50\nv,p1,50\nu,p1,20\nu,p3,50\n")
    assert baskets(shop) == {"u": [(20.0, [0]), (50.0, [1, 2])], "v": [(50.0, [0])]}
    assert shop.baskets["u"][0].rows.dtype == np.int32


def test_basket_id_joins_lines_of_several_times_and_parts_lines_of_one(tmp_path):
    table = (
        "user_id,product_id,timestamp,basket_id\nu,p1,50,b1\nu,p2,40,b1\nu,p3,50,b2\nu,p1,50,\nu,p2,50,\nv,p1,50,b1\n"
    )
    assert baskets(read(tmp_path, table)) == {
        "u": [(40.0, [0, 1]), (50.0, [2]), (50.0, [0, 1])],
        "v": [(50.0, [0])],
    }


def test_product_stands_once_in_a_basket_in_the_order_of_the_table(tmp_path):
    table = "user_id,product_id,timestamp\nu,p3,5\nu,p1,5\nu,p3,5\nu,p2,5\nu,p3,6\n"
    assert baskets(read(tmp_path, table)) == {"u": [(5.0, [2, 0, 1]), (6.0, [2])]}


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01 12:00",
        "2026-03-01T13:00:00+01:00",
        " 2026-03-01 12:00:00.000 ",
        str(int(NOON_S)),
        f"{NOON_S:.1f}",
        f"{NOON_S * 1000:.0f}",
    ],
)
def test_times_are_read_in_every_usual_form(tmp_path, text):
    assert baskets(read(tmp_path, f"user_id,product_id,timestamp\nu,p1,{text}\n")) == {"u": [(NOON_S, [0])]}


def test_date_alone_is_midnight(tmp_path):
    found = baskets(read(tmp_path, "user_id,product_id,timestamp\nu,p1,2026-03-01\nu,p2,20260301\n"))
    assert found == {"u": [(NOON_S - 12 * 3600, [0, 1])]}


@pytest.mark.parametrize(
    "column",
    [
        pa.array([datetime(2026, 3, 1, 12)]),
        pa.array([datetime(2026, 3, 1, 12, tzinfo=UTC)]),
        pa.array([int(NOON_S)]),
        pa.array([int(NOON_S) * 1000]),
        pa.array([NOON_S]),
        pa.array([int(NOON_S) * 10**9]).cast(pa.timestamp("ns")),
    ],
)
def test_times_are_read_from_every_column_type(tmp_path, column):
    folder = write_csv_shop(tmp_path)
    write_parquet(folder, "purchases", {"user_id": [7], "product_id": ["p1"], "timestamp": column})
    assert baskets(read_shop(folder)) == {"7": [(NOON_S, [0])]}


def test_dates_in_parquet_are_midnight(tmp_path):
    folder = write_csv_shop(tmp_path)
    column = pa.array([datetime(2026, 3, 1, tzinfo=UTC).date()])
    write_parquet(folder, "purchases", {"user_id": ["u"], "product_id": ["p1"], "timestamp": column})
    assert baskets(read_shop(folder)) == {"u": [(NOON_S - 12 * 3600, [0])]}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "user_id,product_id,timestamp\nu,p1,5\nu,p2,soon\n",
            r"purchases.csv row 2, column 'timestamp': .* found 'soon'",
        ),
        ("user_id,product_id,timestamp\nu,p1,\n", r"row 1, column 'timestamp': .* it is empty"),
        ("user_id,product_id,timestamp\nu,p1,inf\n", r"row 1, column 'timestamp': .* found 'inf'"),
        ("user_id,product_id,timestamp\nu,p1,01.03.2026\n", r"row 1, column 'timestamp'.*found '01.03.2026'"),
        ("user_id,product_id,timestamp,quantity\nu,p1,5,two\n", r"row 1, column 'quantity': .* found 'two'"),
        ("user_id,product_id\nu,p1\n", r"purchases.csv: column 'timestamp' is missing"),
    ],
)
def test_malformed_purchases_name_file_column_and_row(tmp_path, table, message):
    with pytest.raises(ShopError, match=message):
        read(tmp_path, table)


def test_lines_that_are_no_purchase_are_left_out_and_counted(tmp_path):
    table = (
        "user_id,product_id,timestamp,quantity\n"
        ",p1,5,1\nu,p1,5,-1\nu,p1,5,0\nu,nothing,5,1\nu,p2,5,\n,,,-5\nw,nothing,5,1\n"
    )
    shop = read(tmp_path, table)
    assert baskets(shop) == {"u": [(5.0, [1])]}
    assert [(item.reason, item.count, item.examples[0]) for item in shop.dropped] == [
        ("left out: no user", 2, "purchases.csv row 1"),
        ("left out: cancelled or returned (quantity not above 0)", 2, "purchases.csv row 2"),
        ("left out: unknown product", 2, "purchases.csv row 4 ('nothing')"),
    ]


def test_cancelled_line_needs_no_time(tmp_path):
    shop = read(tmp_path, "user_id,product_id,timestamp,quantity\nu,p1,never,-1\nu,p1,5,1\n")
    assert baskets(shop) == {"u": [(5.0, [0])]}


def test_nothing_left_is_no_basket_and_no_error(tmp_path):
    shop = read(tmp_path, "user_id,product_id,timestamp\nu,x,5\n")
    assert shop.baskets == {}
    assert shop.dropped[0].count == 1


def test_users_and_products_match_without_outer_space(tmp_path):
    assert baskets(read(tmp_path, "user_id,product_id,timestamp\n u , p1 ,5\nu,p2,5\n")) == {"u": [(5.0, [0, 1])]}


def test_baskets_agree_with_a_plain_count_of_random_lines(tmp_path):
    random = np.random.default_rng(4)
    lines = [(f"u{u}", p, int(t)) for u, p, t in random.integers(0, [5, 3, 6], size=(200, 3))]
    text = "user_id,product_id,timestamp\n" + "".join(f"{user},p{row + 1},{moment}\n" for user, row, moment in lines)
    expected = {}
    for user, row, moment in lines:
        expected.setdefault(user, {}).setdefault(float(moment), dict.fromkeys([], None))[int(row)] = None
    assert baskets(read(tmp_path, text)) == {
        user: [(moment, list(rows)) for moment, rows in sorted(of_user.items())] for user, of_user in expected.items()
    }


def test_ten_times_the_lines_take_about_ten_times_the_work(tmp_path):
    def seconds(count):
        random = np.random.default_rng(0)
        folder = tmp_path / str(count)
        folder.mkdir()
        write_parquet(folder, "products", {"product_id": [f"p{i}" for i in range(3_000)], "title": ["x"] * 3_000})
        orders = random.integers(0, count // 25, count)
        products = pa.array([f"p{row}" for row in random.integers(0, 3_000, count)])
        write_parquet(
            folder, "purchases", {"user_id": orders % 4_000, "product_id": products, "timestamp": orders * 100}
        )
        before = time.process_time()
        shop = read_shop(folder)
        spent = time.process_time() - before
        assert len(shop.baskets) == min(4_000, count // 25)
        return spent

    # Comparing each line with each would take a hundred times the work.
    assert seconds(400_000) < 40 * seconds(40_000)
