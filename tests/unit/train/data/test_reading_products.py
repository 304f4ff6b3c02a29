"""Products: every malformed table is named with file, column and row; every odd but usable text survives."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from edge_runtime.contract.text import MAX_TEXT_CHARS
from tests.support.shop_tables import PRODUCTS, write_csv_shop, write_parquet
from train.data.cleaning import MAX_DESCRIPTION_CHARS
from train.data.reading import read_shop
from train.errors import ShopError


def dropped(shop):
    return {(item.table, item.reason): (item.count, item.examples) for item in shop.dropped}


def test_smallest_shop_has_products_and_nothing_else(tmp_path):
    shop = read_shop(write_csv_shop(tmp_path / "corner"))
    assert shop.name == "corner"
    assert [(product.product_id, product.title) for product in shop.products] == [
        ("p1", "red lamp"),
        ("p2", "blue sofa"),
        ("p3", "green rug"),
    ]
    assert (shop.judgements, shop.baskets, shop.queries, shop.synonyms, shop.image_vectors) == ((), {}, (), {}, None)
    assert shop.dropped == ()


def test_every_field_is_read(tmp_path):
    products = (
        "product_id,title,description,brand,category,attributes,attribute.size,price,group\n"
        'p1,Lamp,"<p>Bright &amp; small</p>",Acme,Home > Light,"{""color"": ""red"", ""watt"": 5, ""led"": true}",S,9.5,Shop A\n'
    )
    product = read_shop(write_csv_shop(tmp_path, products=products)).products[0]
    assert product.description == "Bright & small"
    assert (product.brand, product.category, product.price, product.group) == ("Acme", "Home > Light", 9.5, "Shop A")
    assert dict(product.attributes) == {"color": "red", "watt": "5", "led": "yes", "size": "S"}
    assert product.text.startswith("Lamp Acme red")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing", "is not a folder"),
        (lambda folder: folder, "no products.parquet and no products.csv; write"),
        (lambda folder: write_csv_shop(folder, products="product_id,title\n"), "has no rows"),
        (lambda folder: write_csv_shop(folder, products=""), "products.csv is empty; expected a header"),
        (lambda folder: write_csv_shop(folder, products="product_id,title\np1,\np2, \n"), "2 rows and not one title"),
        (lambda folder: write_csv_shop(folder, products="product_id,name\np1,x\n"), "column 'title' is missing, found"),
        (lambda folder: write_csv_shop(folder, products="title,Title,product_id\na,b,c\n"), "'title' stands twice"),
    ],
)
def test_folder_without_usable_products_is_named(tmp_path, make, message):
    with pytest.raises(ShopError, match=message):
        read_shop(make(tmp_path))


def test_other_files_in_the_folder_are_mentioned(tmp_path):
    (tmp_path / "items.csv").write_text(PRODUCTS)
    with pytest.raises(ShopError, match=r"found items.csv: rename"):
        read_shop(tmp_path)


def test_two_files_for_one_table_are_ambiguous(tmp_path):
    write_csv_shop(tmp_path)
    write_parquet(tmp_path, "products", {"product_id": ["a"], "title": ["b"]})
    with pytest.raises(ShopError, match=r"both products.parquet and products.csv; keep"):
        read_shop(tmp_path)


def test_repeated_id_names_both_rows(tmp_path):
    with pytest.raises(ShopError, match=r"products.csv row 4, column 'product_id': 'p1' is the id of row 1 too"):
        read_shop(write_csv_shop(tmp_path, products=PRODUCTS + " p1 ,again\n"))


def test_missing_and_endless_ids_are_refused(tmp_path):
    with pytest.raises(ShopError, match=r"row 4, column 'product_id': expected an id of 1 to 200 .*, it is empty"):
        read_shop(write_csv_shop(tmp_path, products=PRODUCTS + ",lamp\n"))
    with pytest.raises(ShopError, match=r"row 4, column 'product_id': expected an id of 1 to 200 characters, found 'x"):
        read_shop(write_csv_shop(tmp_path, products=PRODUCTS + "x" * 201 + ",lamp\n"))


def test_product_without_title_is_left_out_and_counted(tmp_path):
    shop = read_shop(write_csv_shop(tmp_path, products=PRODUCTS + "p4,\np5,\u200b \np6,ok\n"))
    assert [product.product_id for product in shop.products] == ["p1", "p2", "p3", "p6"]
    assert dropped(shop) == {("products.csv", "left out: no title"): (2, ("products.csv row 4", "products.csv row 5"))}


@pytest.mark.parametrize(
    "title", ["🛋️ couch 👨‍👩‍👧", "红色 台灯", "مصباح أحمر", "מנורה אדומה", 'TV 55" & more', "Ünïcödé naïve", "ﬁne ½ cup"]
)
def test_titles_of_the_world_survive(tmp_path, title):
    product = read_shop(
        write_csv_shop(tmp_path, products=f'product_id,title\np1,"{title.replace(chr(34), chr(34) * 2)}"\n')
    )

    assert product.products[0].title == unicodedata.normalize("NFKC", title)
    assert product.dropped == ()


def test_endless_title_is_cut_and_reported(tmp_path):
    shop = read_shop(write_csv_shop(tmp_path, products="product_id,title\np1," + "x" * 100_000 + "\n"))
    assert len(shop.products[0].title) == MAX_TEXT_CHARS
    assert dropped(shop)["products.csv", f"title cut to {MAX_TEXT_CHARS} characters"][0] == 1


def test_nul_bytes_are_cleaned_and_reported(tmp_path):
    shop = read_shop(write_csv_shop(tmp_path, products="product_id,title\np\0001,red\0lamp\n"))
    assert (shop.products[0].product_id, shop.products[0].title) == ("p1", "red lamp")
    assert dropped(shop)["products.csv", "title cleaned of NUL characters"][0] == 1


def test_text_decoded_wrongly_before_is_repaired_and_reported(tmp_path):
    shop = read_shop(write_csv_shop(tmp_path, products="product_id,title\np1,cafÃ© table\np2,café &amp; chair\n"))
    assert [product.title for product in shop.products] == ["café table", "café & chair"]
    assert [count for (_, reason), (count, _) in dropped(shop).items() if "repaired" in reason] == [1]


def test_long_description_keeps_more_than_a_title_may_have(tmp_path):
    text = "word " * 10_000
    shop = read_shop(write_csv_shop(tmp_path, products=f"product_id,title,description\np1,lamp,{text}\n"))
    assert MAX_TEXT_CHARS < len(shop.products[0].description) <= MAX_DESCRIPTION_CHARS
    assert "description cut" in shop.dropped[0].reason


def test_duplicates_are_kept_and_reported(tmp_path):
    products = "product_id,title,brand\np1,Red Lamp,Acme\np2,Red Lamp,Acme\np3,lamp RED!,acme\np4,lamp,Acme\n"
    shop = read_shop(write_csv_shop(tmp_path, products=products))
    assert len(shop.products) == 4
    assert dropped(shop) == {
        ("products.csv", "kept, but says the same as another product in every field"): (
            1,
            ("products.csv row 2 = products.csv row 1",),
        ),
        ("products.csv", "kept, but has the same words as another product"): (
            1,
            ("products.csv row 3 ~ products.csv row 1",),
        ),
    }


def test_unknown_column_is_reported(tmp_path):
    shop = read_shop(write_csv_shop(tmp_path, products="product_id,title,colour\np1,lamp,red\n"))
    assert dropped(shop) == {("products.csv", "column is not known and was not read"): (1, ("'colour'",))}


def test_prices_that_are_none_are_left_out_and_counted(tmp_path):
    products = "product_id,title,price\np1,a,9.99\np2,b,$5\np3,c,-1\np4,d,\np5,e,nan\np6,f,0\n"
    shop = read_shop(write_csv_shop(tmp_path, products=products))
    assert [product.price for product in shop.products] == [9.99, None, None, None, None, 0.0]
    assert dropped(shop)["products.csv", "price left out: not a number of at least 0"] == (
        3,
        ("products.csv row 2 ('$5')", "products.csv row 3 ('-1')", "products.csv row 5 ('nan')"),
    )


@pytest.mark.parametrize("value", ["red", "[1, 2]", '{""a"": }', '{""a"": {""b"": 1}}', '{""a"": [[1]]}', "[" * 9_000])
def test_malformed_attributes_name_the_row(tmp_path, value):
    with pytest.raises(ShopError, match=r"products.csv row 2, column 'attributes'"):
        read_shop(write_csv_shop(tmp_path, products=f'product_id,title,attributes\np1,a,\np2,b,"{value}"\n'))


def test_attributes_may_be_records_maps_and_lists_in_parquet(tmp_path):
    records = pa.array([{"color": "red", "tags": ["a", "b"]}, {"color": None, "tags": None}, None])
    write_parquet(
        tmp_path / "a", "products", {"product_id": ["1", "2", "3"], "title": ["x", "y", "z"], "attributes": records}
    )
    assert [dict(product.attributes) for product in read_shop(tmp_path / "a").products] == [
        {"color": "red", "tags": "a, b"},
        {},
        {},
    ]
    pairs = pa.array([[("size", "XL")]], pa.map_(pa.string(), pa.string()))
    write_parquet(tmp_path / "b", "products", {"product_id": ["1"], "title": ["x"], "attributes": pairs})
    assert dict(read_shop(tmp_path / "b").products[0].attributes) == {"size": "XL"}


def test_whole_numbers_stored_as_floats_stay_whole_ids(tmp_path):
    write_parquet(tmp_path, "products", {"product_id": pa.array([12.0, 13.0]), "title": ["a", "b"]})
    assert [product.product_id for product in read_shop(tmp_path).products] == ["12", "13"]


def test_nested_title_and_bytes_that_are_no_text_are_named(tmp_path):
    write_parquet(tmp_path / "a", "products", {"product_id": ["1"], "title": [["x"]]})
    with pytest.raises(ShopError, match="column 'title' holds list"):
        read_shop(tmp_path / "a")
    write_parquet(tmp_path / "b", "products", {"product_id": ["1"], "title": pa.array([b"\xff\xfe"])})
    with pytest.raises(ShopError, match="column 'title' is not UTF-8 text"):
        read_shop(tmp_path / "b")


def test_dictionary_columns_are_read_as_text(tmp_path):
    titles = pa.array(["lamp", "lamp"]).dictionary_encode()
    write_parquet(tmp_path, "products", {"product_id": ["1", "2"], "title": titles})
    assert [product.title for product in read_shop(tmp_path).products] == ["lamp", "lamp"]


class TestImageVectors:
    def shop(self, tmp_path, vectors, titles=("a", "b")):
        ids = [str(number) for number in range(len(titles))]
        write_parquet(tmp_path, "products", {"product_id": ids, "title": list(titles), "image_vector": vectors})
        return read_shop(tmp_path)

    @pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float64(), 2), pa.large_list(pa.float32())])
    def test_lists_of_one_width_become_a_matrix(self, tmp_path, kind):
        shop = self.shop(tmp_path, pa.array([[1.0, 2.0], [3.0, 4.0]], kind))
        assert shop.image_vectors.dtype == np.float32
        np.testing.assert_array_equal(shop.image_vectors, [[1, 2], [3, 4]])

    def test_row_of_a_product_that_is_left_out_goes_with_it(self, tmp_path):
        shop = self.shop(tmp_path, pa.array([[1.0], [2.0], [3.0]]), titles=("a", "", "c"))
        np.testing.assert_array_equal(shop.image_vectors, [[1], [3]])

    def test_missing_vector_is_zeros_and_counted(self, tmp_path):
        shop = self.shop(tmp_path, pa.array([None, [2.0, 2.0]], pa.list_(pa.float32())))
        np.testing.assert_array_equal(shop.image_vectors, [[0, 0], [2, 2]])
        assert dropped(shop)["products.parquet", "no picture vector: zeros stand for it"][0] == 1

    def test_column_without_any_vector_is_none(self, tmp_path):
        assert self.shop(tmp_path, pa.array([None, None], pa.list_(pa.float32()))).image_vectors is None

    @pytest.mark.parametrize(
        ("vectors", "message"),
        [
            (pa.array([[1.0, 2.0], [3.0]]), "row 2, column 'image_vector': has 1 numbers where earlier rows have 2"),
            (pa.array([[1.0], [float("nan")]]), "row 2, column 'image_vector': expected a list of finite numbers"),
            (pa.array([[], []], pa.list_(pa.float32())), "row 1, column 'image_vector': expected a list of finite"),
            (pa.array([["x"], ["y"]]), "row 1, column 'image_vector': expected a list of finite numbers"),
            (pa.array(["[1, 2]", "[1, oops]"]), "row 2, column 'image_vector': expected a list of finite numbers like"),
            (pa.array([[1e300], [1.0]]), "row 1, column 'image_vector': expected a list of finite numbers"),
            (pa.array(["[1]", f"[{'9' * 400}]"]), "row 2, column 'image_vector': expected a list of finite numbers"),
            (pa.array(["3", "4"]), "row 1, column 'image_vector': expected a list of finite .*, found '3'"),
        ],
    )
    def test_malformed_vector_names_the_row(self, tmp_path, vectors, message):
        with pytest.raises(ShopError, match=message):
            self.shop(tmp_path, vectors)

    def test_csv_holds_vectors_as_json(self, tmp_path):
        products = 'product_id,title,image_vector\np1,a,"[1, 2.5]"\np2,b,"[0, 1]"\n'
        shop = read_shop(write_csv_shop(tmp_path, products=products))
        np.testing.assert_array_equal(shop.image_vectors, [[1, 2.5], [0, 1]])


class TestDigest:
    def test_format_does_not_matter(self, tmp_path):
        write_parquet(tmp_path / "a", "products", {"product_id": ["p1", "p2"], "title": ["x", "y"]})
        write_csv_shop(tmp_path / "b", products="title;product_id\nx;p1\n y ;p2\n")
        assert read_shop(tmp_path / "a").digest == read_shop(tmp_path / "b").digest

    def test_every_kind_of_change_shows(self, tmp_path):
        tables = {
            "judgements": "query,product_id,grade\nlamp,p1,3\n",
            "purchases": "user_id,product_id,timestamp\nu,p1,5\nu,p2,9\n",
            "queries": "query\nsofa\n",
            "synonyms": "term,alternatives\nsofa,couch\n",
        }
        changed = {
            "products": PRODUCTS.replace("rug", "mat"),
            "judgements": tables["judgements"].replace("3", "2"),
            "purchases": tables["purchases"].replace("9", "5"),
            "queries": "query\nrug\n",
            "synonyms": "term,alternatives\nsofa,settee\n",
        }
        digests = [read_shop(write_csv_shop(tmp_path / "base", **tables)).digest]
        for name, content in changed.items():
            digests.append(read_shop(write_csv_shop(tmp_path / name, **{**tables, name: content})).digest)
        assert len(set(digests)) == len(digests)
