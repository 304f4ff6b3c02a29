"""A wordnet's synonyms: of the shop's own words, of few meanings, beside the shop's own table."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pocketrec import verbs
from tests.support.shop_tables import write_csv_shop
from train.data.reading import read_shop
from train.errors import ShopError
from train.text.wordnet import read_synsets, synonyms_of, write_synonyms

SYNSETS = [
    ("sofa", "couch", "lounge"),
    ("couch", "redact", "put"),
    ("couch", "frame"),
    ("Settee", "sofa"),
    ("coat_hanger", "clothes hanger"),
    ("yacht", "racing boat"),
]
LMF = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE LexicalResource SYSTEM "http://globalwordnet.github.io/schemas/WN-LMF-1.3.dtd">
<LexicalResource xmlns:dc="https://globalwordnet.github.io/schemas/dc/">
  <Lexicon id="small" label="Small" language="en" email="a@example.org" license="CC0" version="1">
    <LexicalEntry id="e1"><Lemma writtenForm="sofa" partOfSpeech="n"/><Sense id="s1" synset="y1"/></LexicalEntry>
    <LexicalEntry id="e2"><Lemma writtenForm="couch" partOfSpeech="n"/><Sense id="s2" synset="y1"/></LexicalEntry>
    <Synset id="y1" ili="i1" partOfSpeech="n"/>
  </Lexicon>
</LexicalResource>
"""


@pytest.fixture
def shop_folder(tmp_path):
    return write_csv_shop(
        tmp_path / "corner",
        products="product_id,title\np1,Blue Sofa\np2,wooden Coat Hanger\np3,old couch\n",
        queries="query\nframe for pictures\n",
        synonyms="term,alternatives\nlamp,light|lantern\n",
    )


def test_only_words_of_the_shop_with_few_meanings_get_synonyms(shop_folder):
    found = synonyms_of(read_shop(shop_folder), SYNSETS)
    assert found == {
        "coat hanger": ("clothes hanger",),
        "frame": ("couch",),
        "sofa": ("couch", "lounge", "settee"),
    }


def test_more_meanings_are_allowed_where_asked_for(shop_folder):
    assert synonyms_of(read_shop(shop_folder), SYNSETS, max_senses=3)["couch"] == (
        "sofa", "lounge", "redact", "put", "frame",
    )  # fmt: skip


def test_a_shops_own_rows_stay_and_an_earlier_wordnets_go(shop_folder):
    write_synonyms(shop_folder, {"sofa": ("couch",)})
    write_synonyms(shop_folder, {"frame": ("border",)})
    assert read_shop(shop_folder).synonyms == {"lamp": ("light", "lantern"), "frame": ("border",)}
    assert not (shop_folder / "synonyms.csv").exists()


@pytest.mark.parametrize("name", ["small.xml", "small.xml.gz"])
def test_lmf_is_read_packed_or_not(tmp_path, name):
    content = LMF.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert read_synsets(tmp_path / name) == [("sofa", "couch")]


def test_a_table_of_synsets_is_read(tmp_path):
    pq.write_table(pa.table({"members": [json.dumps(words) for words in SYNSETS]}), tmp_path / "synsets.parquet")
    assert read_synsets(tmp_path / "synsets.parquet") == SYNSETS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.xml", b"<LexicalResource>", "as WN-LMF"),
        ("w.xml", b"just words", "as WN-LMF"),
        ("w.xml.gz", b"no gzip", "cannot unpack"),
        ("w.csv", b"members\nsofa couch\n", "expected a JSON list of words"),
        ("w.json", b"{}", "expected a wordnet as"),
        ("missing.xml", None, "cannot read"),
    ],
)
def test_what_is_no_wordnet_is_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ShopError, match=message):
        read_synsets(tmp_path / name)


def test_the_command_writes_the_table_and_counts_its_terms(shop_folder, tmp_path, capsys):
    pq.write_table(pa.table({"members": [json.dumps(words) for words in SYNSETS]}), tmp_path / "synsets.parquet")
    arguments = ["shop", "synonyms", str(shop_folder), "--wordnet", str(tmp_path / "synsets.parquet"), "--json"]
    assert verbs.main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["synonyms"] == 4
    assert verbs.main([*arguments, "--max-senses", "0"]) == 1
    assert "--max-senses: expected 1 or more" in capsys.readouterr().err
