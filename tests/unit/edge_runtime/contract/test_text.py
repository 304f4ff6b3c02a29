import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.text import MAX_TEXT_CHARS, item_text, normalize_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  red \t\n lamp ", "red lamp"),
        ("ｒｅｄ １００ㇺ", "red 100ㇺ"),
        ("ﬁne cafe\u0301", "fine café"),
        ("a\x00b\x07c", "a b c"),
        ("red\u200blamp\ufeff", "red lamp"),
        ("one\ud800two", "one two"),
        ("\u00a0\u2003", ""),
        ("", ""),
        ("👩\u200d🚀 lamp", "👩\u200d🚀 lamp"),
        ("Red LAMP", "Red LAMP"),
    ],
)
def test_text_is_normalized(text, expected):
    assert normalize_text(text) == expected


def test_long_text_is_cut_before_anything_else():
    assert normalize_text("a" * MAX_TEXT_CHARS + "b") == "a" * MAX_TEXT_CHARS


@given(st.text(max_size=60))
def test_normalizing_twice_is_normalizing_once(text):
    once = normalize_text(text)
    assert normalize_text(once) == once
    assert once == once.strip()
    assert not set(once) & set("\t\n\r\x00")


@given(st.text(max_size=60))
def test_normal_text_can_always_be_written_as_utf8(text):
    assert normalize_text(text + "\udfff").encode("utf-8").decode("utf-8") == normalize_text(text + "\udfff")


def test_an_item_is_its_title_brand_values_and_last_category():
    text = item_text(title="Lamp", brand="Acme", category="home > light", attributes={"color": "red", "power": "5 W"})
    assert text == "Lamp Acme red 5 W light"


def test_what_was_said_is_not_said_again():
    assert item_text(title="ACME red lamp", brand="Acme", attributes={"color": "Red"}) == "ACME red lamp"


def test_a_part_of_a_word_was_not_said():
    assert item_text(title="bored lamp", attributes={"color": "red"}) == "bored lamp red"


@pytest.mark.parametrize("nothing", [None, "", "  ", "\u200b"])
def test_empty_parts_leave_no_gap(nothing):
    assert item_text(title="lamp", brand=nothing, category=nothing, attributes={"a": nothing or ""}) == "lamp"


def test_a_title_alone_is_enough():
    assert item_text(title=string.ascii_letters) == string.ascii_letters
