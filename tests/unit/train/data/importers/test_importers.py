"""Importers on small files in the publishers' layouts."""

import io
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge_runtime.contract.errors import ConfigError
from tests.support.shop_tables import write_parquet
from train.data.importers.esci import EXAMPLES_FILE, PRODUCTS_FILE, EsciOptions
from train.data.importing import import_shop
from train.data.reading import read_shop
from train.errors import ShopError


def imported(publisher, source, tmp_path, **arguments):
    import_shop(publisher, source, tmp_path / "shop", overwrite=True, **arguments)
    return read_shop(tmp_path / "shop")


def judged(shop):
    return {(item.query, shop.products[item.row].product_id): item.gain for item in shop.judgements}


@pytest.fixture
def esci(tmp_path):
    """The published layout: two locales, two versions, both splits."""
    rows = [
        ("lamp", 1, "A", "us", "E", 1, 1, "train"),
        ("lamp", 1, "B", "us", "S", 1, 1, "train"),
        ("sofa", 2, "B", "us", "C", 1, 1, "test"),
        ("sofa", 2, "C", "us", "I", 1, 1, "test"),
        ("rug", 3, "D", "us", "E", 0, 1, "train"),
        ("ランプ", 4, "A", "jp", "E", 1, 1, "train"),
    ]
    names = (
        "query",
        "query_id",
        "product_id",
        "product_locale",
        "esci_label",
        "small_version",
        "large_version",
        "split",
    )
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    columns["example_id"] = list(range(len(rows)))
    folder = tmp_path / "esci"
    write_parquet(folder, EXAMPLES_FILE.removesuffix(".parquet"), columns)
    products = [
        ("A", "us", "Lamp A", "Bright", "• LED", "Acme", "Red"),
        ("B", "us", "Lamp B", None, None, None, None),
        ("C", "us", "Sofa C", None, "• Soft", "Sit", None),
        ("D", "us", "Rug D", "Wool", None, "Knot", "Blue"),
        ("E", "us", "Never judged", None, None, None, None),
        ("A", "jp", "ランプ A", None, None, None, None),
    ]
    names = (
        "product_id", "product_locale", "product_title", "product_description",
        "product_bullet_point", "product_brand", "product_color",
    )  # fmt: skip
    write_parquet(
        folder,
        PRODUCTS_FILE.removesuffix(".parquet"),
        dict(zip(names, map(list, zip(*products, strict=True)), strict=True)),
    )
    return folder


class TestEsci:
    def test_judged_products_of_one_marketplace_become_the_shop(self, esci, tmp_path):
        shop = imported("esci", esci, tmp_path)
        assert [product.product_id for product in shop.products] == ["A", "B", "C"]
        first = shop.products[0]
        assert (first.title, first.description, first.brand) == ("Lamp A", "Bright • LED", "Acme")
        assert dict(first.attributes) == {"color": "Red"}
        assert judged(shop) == {("lamp", "A"): 1.0, ("lamp", "B"): 0.1, ("sofa", "B"): 0.01, ("sofa", "C"): 0.0}

    @pytest.mark.parametrize(
        ("options", "queries"),
        [
            (EsciOptions(version="large"), {"lamp", "sofa", "rug"}),
            (EsciOptions(split="train"), {"lamp"}),
            (EsciOptions(split="test"), {"sofa"}),
            (EsciOptions(locale="jp"), {"ランプ"}),
        ],
    )
    def test_options_choose_the_part(self, esci, tmp_path, options, queries):
        shop = imported("esci", esci, tmp_path, options=options)
        assert {judgement.query for judgement in shop.judgements} == queries

    def test_products_have_the_text_of_their_marketplace(self, esci, tmp_path):
        assert imported("esci", esci, tmp_path, options=EsciOptions(locale="jp")).products[0].title == "ランプ A"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (EsciOptions(locale="es"), "has no row with locale es"),
            (EsciOptions(extra_pairs=True), "further pairs can be added to the small US cut only"),
        ],
    )
    def test_part_that_is_not_there_is_named(self, esci, tmp_path, options, message):
        with pytest.raises(ShopError, match=message):
            imported("esci", esci, tmp_path, options=options)

    def test_missing_and_foreign_files_are_named(self, esci, tmp_path):
        (esci / PRODUCTS_FILE).write_bytes(b"version https://git-lfs.github.com/spec/v1")
        with pytest.raises(ShopError, match=r"products.parquet is not the published file"):
            imported("esci", esci, tmp_path)
        (esci / EXAMPLES_FILE).unlink()
        with pytest.raises(ShopError, match=f"holds no {EXAMPLES_FILE}"):
            imported("esci", esci, tmp_path)
        write_parquet(esci, EXAMPLES_FILE.removesuffix(".parquet"), {"query": ["a"]})
        with pytest.raises(ShopError, match=r"examples.parquet is not the published file"):
            imported("esci", esci, tmp_path)

    def test_unknown_label_names_the_row(self, esci, tmp_path):
        table = pq.read_table(esci / EXAMPLES_FILE)
        labels = pa.array(["exact", "substitute", "irrelevant", "?", "E", "E"])
        pq.write_table(
            table.set_column(table.column_names.index("esci_label"), "esci_label", labels), esci / EXAMPLES_FILE
        )
        with pytest.raises(ShopError, match=r"row 4, column 'esci_label': expected E, S, C or I, found '\?'"):
            imported("esci", esci, tmp_path)


class TestWands:
    def write(self, folder, **tables):
        folder.mkdir(exist_ok=True)
        texts = {
            "product": (
                "product_id\tproduct_name\tproduct_class\tcategory hierarchy\tproduct_description\tproduct_features\n"
                '0\toak bed\tBeds\tFurniture / Bedroom / Beds\tsolid, "good" bed\t'
                "color : brown|overallwidth:64.7|material:oak|color:tan|dsprimaryproductstyle: rustic|broken\n"
                "1\tfloor lamp\tLamps\t\t\t\n"
            ),
            "query": "query_id\tquery\tquery_class\n0\tbed frame\tBeds\n",
            "label": "id\tquery_id\tproduct_id\tlabel\n0\t0\t0\tExact\n1\t0\t1\tIrrelevant\n",
            **tables,
        }
        for name, text in texts.items():
            (folder / f"{name}.csv").write_text(text)
        return folder

    def test_tab_separated_files_become_the_shop(self, tmp_path):
        shop = imported("wands", self.write(tmp_path / "wands"), tmp_path)
        bed, lamp = shop.products
        assert (bed.title, bed.category) == ("oak bed", "Furniture > Bedroom > Beds")
        assert bed.description == 'solid, "good" bed'
        assert dict(bed.attributes) == {"color": "brown", "material": "oak", "dsprimaryproductstyle": "rustic"}
        assert dict(lamp.attributes) == {}
        assert judged(shop) == {("bed frame", "0"): 1.0, ("bed frame", "1"): 0.0}

    def test_partial_is_half_a_gain(self, tmp_path):
        folder = self.write(tmp_path / "wands", label="id\tquery_id\tproduct_id\tlabel\n0\t0\t0\tPartial\n")
        assert judged(imported("wands", folder, tmp_path)) == {("bed frame", "0"): 0.5}

    @pytest.mark.parametrize(
        ("label", "message"),
        [
            (
                "id\tquery_id\tproduct_id\tlabel\n0\t7\t0\tExact\n",
                r"label.csv row 1, column 'query_id': '7' does not stand",
            ),
            (
                "id\tquery_id\tproduct_id\tlabel\n0\t0\t0\tGood\n",
                r"row 1, column 'label': expected Exact.* found 'Good'",
            ),
            ("id\tquery_id\tproduct_id\tlabel\n", r"label.csv has no rows"),
            ("id,query_id,product_id,label\n0,0,0,Exact\n", r"column 'query_id' is missing"),
        ],
    )
    def test_malformed_labels_are_named(self, tmp_path, label, message):
        with pytest.raises(ShopError, match=message):
            imported("wands", self.write(tmp_path / "wands", label=label), tmp_path)


RETAIL_HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
RETAIL_LINES = (
    "536365,85123A,WHITE HEART,6,12/1/2010 8:26,2.55,17850,United Kingdom\n"
    "536365,71053,METAL LANTERN,6,12/1/2010 8:26,3.39,17850.0,United Kingdom\n"
    "536366,85123A,WHITE HEART,1,12/1/2010 9:00,2.55,13047,France\n"
    "536366,85123A,damaged,1,12/1/2010 9:00,2.95,13047,France\n"
    "C536379,71053,METAL LANTERN,-1,12/1/2010 9:41,3.39,17850,United Kingdom\n"
    "536370,POST,POSTAGE,3,12/1/2010 8:45,18,12583,France\n"
    "536414,22139,,56,12/1/2010 11:52,0,,United Kingdom\n"
    "536415,22139,?,0,12/1/2010 11:52,0,17850,United Kingdom\n"
)


class TestOnlineRetail:
    def expected(self, shop):
        assert [(product.product_id, product.title, product.price) for product in shop.products] == [
            ("85123A", "WHITE HEART", 2.55),
            ("71053", "METAL LANTERN", 3.39),
        ]
        assert {user: [basket.rows.tolist() for basket in baskets] for user, baskets in shop.baskets.items()} == {
            "17850": [[0, 1]],
            "13047": [[0]],
        }
        assert shop.baskets["17850"][0].timestamp_s == 1_291_191_960  # 2010-12-01 08:26

    def test_invoices_become_baskets_of_customers(self, tmp_path):
        (tmp_path / "data.csv").write_text(RETAIL_HEADER + RETAIL_LINES)
        self.expected(imported("online-retail", tmp_path / "data.csv", tmp_path))

    def test_latin_1_copy_and_folder_are_read(self, tmp_path):
        folder = tmp_path / "retail"
        folder.mkdir()
        (folder / "data.csv").write_bytes((RETAIL_HEADER + RETAIL_LINES.replace("METAL", "MÉTAL")).encode("latin-1"))
        assert imported("online-retail", folder, tmp_path).products[1].title == "MÉTAL LANTERN"

    @pytest.mark.parametrize("dates_styled", [True, False])
    def test_workbook_is_read_as_published(self, tmp_path, dates_styled):
        path = tmp_path / "Online Retail.xlsx"
        rows = [line.split(",") for line in (RETAIL_HEADER + RETAIL_LINES).splitlines()]
        for row in rows[1:]:
            row[4] = {"8:26": "40513.35138888889", "9:00": "40513.375"}.get(row[4].split()[1], "40513.5")
        path.write_bytes(workbook(rows, dates_styled=dates_styled))
        self.expected(imported("online-retail", path, tmp_path))

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (RETAIL_HEADER, "has no line with a customer"),
            (RETAIL_HEADER.replace("CustomerID", "Client") + RETAIL_LINES, "column 'customerid' is missing"),
            (RETAIL_HEADER + RETAIL_LINES.replace("12/1/2010 9:00", "someday"), "'InvoiceDate': .* found 'someday'"),
            (RETAIL_HEADER + RETAIL_LINES.replace("12/1/2010 9:00", ""), "row 3, column 'InvoiceDate': is empty"),
        ],
    )
    def test_malformed_lines_are_named(self, tmp_path, content, message):
        (tmp_path / "data.csv").write_text(content)
        with pytest.raises(ShopError, match=message):
            imported("online-retail", tmp_path / "data.csv", tmp_path)

    def test_source_must_be_one_readable_file(self, tmp_path):
        folder = tmp_path / "retail"
        folder.mkdir()
        with pytest.raises(ShopError, match=r"expected one file .* found none"):
            imported("online-retail", folder, tmp_path)
        for name in ("a.csv", "b.csv"):
            (folder / name).write_text(RETAIL_HEADER)
        with pytest.raises(ShopError, match=r"found a.csv, b.csv; name the file itself"):
            imported("online-retail", folder, tmp_path)
        (folder / "c.pdf").write_text("x")
        with pytest.raises(ShopError, match=r"c.pdf: expected a file"):
            imported("online-retail", folder / "c.pdf", tmp_path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"no zip", "is not a readable .xlsx workbook"),
            (None, "is not a readable .xlsx workbook"),
            ([], "the first sheet is empty"),
            ([["InvoiceNo", "StockCode"]], "column 'description' is missing"),
        ],
    )
    def test_malformed_workbook_is_named(self, tmp_path, content, message):
        path = tmp_path / "x.xlsx"
        path.write_bytes(content if isinstance(content, bytes) else workbook(content))
        with pytest.raises(ShopError, match=message):
            imported("online-retail", path, tmp_path)


def workbook(rows, *, dates_styled=False):
    """A workbook as spreadsheets write it: texts shared, numbers in place, empty cells left out; None has no sheet."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    packages = "http://schemas.openxmlformats.org/package/2006/relationships"
    shared: dict[str, int] = {}
    lines = []
    for number, row in enumerate(rows or [], 1):
        cells = []
        for letter, text in zip("ABCDEFGH", row, strict=False):
            if text.replace(".", "", 1).lstrip("-").isdigit():
                style = ' s="1"' if letter == "E" and dates_styled else ""
                cells.append(f'<c r="{letter}{number}"{style}><v>{text}</v></c>')
            elif letter == "H":
                cells.append(f'<c r="{letter}{number}" t="inlineStr"><is><t>{text}</t></is></c>')
            elif text:
                index = shared.setdefault(text, len(shared))
                cells.append(f'<c r="{letter}{number}" t="s"><v>{index}</v></c>')
            else:
                cells.append(f'<c r="{letter}{number}"/>')
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        texts = "".join(f"<si><t>{text}</t></si>" for text in shared)
        archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="{main}">{texts}</sst>')
        sheets = '<sheets><sheet name="Online Retail" sheetId="1" r:id="rId1"/></sheets>'
        archive.writestr("xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{office}">{sheets}</workbook>')
        for name, kind, target in (
            ("_rels/.rels", "officeDocument", "xl/workbook.xml"),
            ("xl/_rels/workbook.xml.rels", "worksheet", "worksheets/sheet1.xml"),
        ):
            link = f'<Relationship Id="rId1" Type="{office}/{kind}" Target="{target}"/>'
            archive.writestr(name, f'<Relationships xmlns="{packages}">{link}</Relationships>')
        # Style 1 is a date, as in the published workbook.
        formats = '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs>'
        archive.writestr("xl/styles.xml", f'<styleSheet xmlns="{main}">{formats}</styleSheet>')
        if rows is not None:
            sheet = f'<worksheet xmlns="{main}"><sheetData>{"".join(lines)}</sheetData></worksheet>'
            archive.writestr("xl/worksheets/sheet1.xml", sheet)
    return packed.getvalue()


MOVIES = (
    'movieId,title,genres\n1,Toy Story (1995),Adventure|Animation\n2,"Matrix, The (1999)",Action\n'
    "3,Nameless,(no genres listed)\n"
)
RATINGS = "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,2,3.5,964982703\n2,2,5.0,964982704\n"
TAGS = "userId,movieId,tag,timestamp\n1,1,Pixar,1\n2,1,pixar,2\n2,1,fun,3\n"


class TestMovieLens:
    def write(self, folder, *, movies=MOVIES, ratings=RATINGS, tags=TAGS):
        folder.mkdir(exist_ok=True)
        for name, text in (("movies", movies), ("ratings", ratings), ("tags", tags)):
            if text is not None:
                (folder / f"{name}.csv").write_text(text)
        return folder

    def test_liked_movies_become_purchases(self, tmp_path):
        shop = imported("movielens", self.write(tmp_path / "ml"), tmp_path)
        first, second, third = shop.products
        assert (first.title, first.category, first.description) == ("Toy Story", "Movies > Adventure", "pixar, fun")
        assert dict(first.attributes) == {"genres": "Adventure, Animation", "year": "1995"}
        assert second.title == "The Matrix"
        assert (third.title, third.category, dict(third.attributes)) == ("Nameless", "Movies", {})
        assert {user: [basket.rows.tolist() for basket in baskets] for user, baskets in shop.baskets.items()} == {
            "1": [[0]],
            "2": [[1]],
        }

    def test_tags_are_optional(self, tmp_path):
        assert imported("movielens", self.write(tmp_path / "ml", tags=None), tmp_path).products[0].description is None

    def test_ratings_that_say_nothing_are_named(self, tmp_path):
        with pytest.raises(ShopError, match=r"ratings.csv row 1, column 'rating': expected a number, found 'good'"):
            imported("movielens", self.write(tmp_path / "a", ratings=RATINGS.replace("4.0", "good")), tmp_path)
        low = "userId,movieId,rating,timestamp\n1,1,2.0,5\n"
        with pytest.raises(ShopError, match=r"no rating of 4.0 or more"):
            imported("movielens", self.write(tmp_path / "b", ratings=low), tmp_path)


def test_target_is_checked_before_anything_is_read(tmp_path):
    write_parquet(tmp_path / "shop", "products", {"product_id": ["1"], "title": ["mine"]})
    with pytest.raises(ShopError, match=r"already holds products\.parquet"):
        import_shop("esci", tmp_path / "missing", tmp_path / "shop")
    assert read_shop(tmp_path / "shop").products[0].title == "mine"


def test_unknown_source_and_foreign_options_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="unknown data set 'amazon'; known are esci, wands"):
        import_shop("amazon", tmp_path, tmp_path / "shop")
    with pytest.raises(ConfigError, match="wands has no such parts"):
        import_shop("wands", tmp_path, tmp_path / "shop", options=EsciOptions())
    with pytest.raises(ShopError, match="does not exist; give the folder"):
        import_shop("wands", tmp_path / "missing", tmp_path / "shop")
