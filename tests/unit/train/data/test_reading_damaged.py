"""Damage at random: whatever stands in a table, the answer is a shop, or sentences that name what is wrong."""

import random

import pytest

from edge_runtime.contract.errors import PocketrecError
from tests.support.shop_tables import write_csv_shop
from train.data.reading import read_shop

TABLES = {
    "products": (
        b"product_id,title,description,attributes,attribute.size,price,image_vector\n"
        b'p1,"red, lamp",d,"{""a"":1}",S,3,"[1,2]"\np2,sofa,,,,,"[3,4]"\n'
    ),
    "judgements": b"query,product_id,grade,weight\nlamp,p1,3,1\nsofa,p2,0.5,\n",
    "purchases": b"user_id,product_id,timestamp,basket_id,quantity\nu,p1,2026-03-01,b,1\nu,p2,55,,2\n",
    "queries": b"query\nlamp\n",
    "synonyms": b'term,alternatives\nsofa,couch|x\nlamp,"[""light""]"\n',
}
PIECES = [
    *(b'"', b",", b"\n", b"\r", b";", b"\t", b" ", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", "😀".encode(), b""),
    *(b"nan", b"-1", b"1e999", b"1e300", b"9" * 400, b"[", b"{", b"[[1]]", b"null", b"1_0", b"product_id"),
    *(b"0001-01-01", b"9999-12-31T23:59:59+23:59", b'"\\ud800"', b"&#xD800;"),
]


@pytest.mark.parametrize("table", list(TABLES))
def test_damaged_table_is_read_or_refused_with_a_sentence_for_each_wrong_cell(tmp_path, table):
    source = random.Random(table)
    for _ in range(60):
        damaged = bytearray(TABLES[table])
        for _ in range(source.choice([1, 1, 2, 3])):
            start = source.randrange(len(damaged) + 1)
            damaged[start : start + source.choice([0, 0, 1, 3, 8])] = source.choice(PIECES)
        write_csv_shop(tmp_path, **{**TABLES, table: bytes(damaged)})
        try:
            shop = read_shop(tmp_path)
        except PocketrecError as error:
            first, *others = str(error).split("\n  ")
            assert len(first) < 600
            assert bool(others) == (first == "several rows are wrong:")
            assert all(len(line) < 600 and " row " in line for line in others)
        else:
            assert shop.products
            assert all(0 <= judgement.gain <= 1 and judgement.row < len(shop.products) for judgement in shop.judgements)
