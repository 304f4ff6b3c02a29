import subprocess
import sys

import numpy as np
import pytest

from edge_runtime.contract.errors import ConfigError
from edge_runtime.settings import from_mapping
from tests.support.shops import make_shop
from train.data.tables import Judgement, Product
from train.text.augmentation import TextSettings, distillation_texts
from train.text.typing_errors import with_typing_error

ONLY = {"title_pieces": 0.0, "back_translation": 0.0, "phrases": 0.0, "noise": 0.0, "synonyms": 0.0, "word_order": 0.0}


def lamp_shop(**options):
    products = [
        Product(
            f"p{number}",
            f"Acme Model{number} Reading Lamp, Dimmable for Desk - {color.title()}",
            brand="Acme",
            category="Home > Lighting",
            attributes={"color": color},
        )
        for number, color in enumerate(["red", "blue", "green", "amber", "ivory", "violet"])
    ]
    return make_shop(products, **options)


def only(origin, count=30):
    return TextSettings(count=count, **{**ONLY, origin: 1.0})


def texts_of(origin, shop, count=30):
    return [pair for pair in distillation_texts(shop, only(origin, count), seed=3) if pair.origin == origin]


def test_every_real_query_is_taken_whatever_the_count():
    shop = lamp_shop(judgements=[Judgement("red lamp", 0, 1.0)], queries=[f"query {n}" for n in range(50)])
    pairs = distillation_texts(shop, TextSettings(count=10), seed=0)
    assert [pair.student_text for pair in pairs] == ["red lamp", *(f"query {n}" for n in range(50))]
    assert all(pair.origin == "query" and pair.teacher_text == pair.student_text for pair in pairs)


def test_same_seed_gives_the_same_texts_and_another_seed_gives_others():
    shop = lamp_shop(queries=["desk lamp"], synonyms={"lamp": ("light",)})
    first = distillation_texts(shop, TextSettings(count=120), seed=5)
    assert first == distillation_texts(shop, TextSettings(count=120), seed=5)
    assert first != distillation_texts(shop, TextSettings(count=120), seed=6)


def test_student_texts_are_distinct_whatever_their_case():
    shop = lamp_shop(queries=["Red Lamp", "red lamp", "  red   lamp ", "\x00"])
    pairs = distillation_texts(shop, TextSettings(count=200), seed=0)
    keys = [pair.student_text.casefold() for pair in pairs]
    assert len(keys) == len(set(keys))
    assert all(keys)
    assert keys.count("red lamp") == 1


def test_count_is_kept_where_the_shop_can_give_as_many():
    assert len(distillation_texts(lamp_shop(queries=["desk lamp"]), TextSettings(count=40), seed=0)) == 40


@pytest.mark.parametrize("origin", sorted({*ONLY} - {"back_translation"}))
def test_each_kind_can_be_made_alone(origin):
    shop = lamp_shop(queries=["red desk lamp", "blue reading lamp"], synonyms={"lamp": ("light", "desk light")})
    origins = {pair.origin for pair in distillation_texts(shop, only(origin), seed=0)}
    assert origins == {"query", origin}


def test_all_kinds_switched_off_leaves_the_real_queries():
    pairs = distillation_texts(lamp_shop(queries=["red lamp"]), TextSettings(count=50, **ONLY), seed=0)
    assert [pair.student_text for pair in pairs] == ["red lamp"]


def test_title_pieces_are_words_in_a_row_of_one_segment_and_begin_and_end_with_a_telling_word():
    shop = lamp_shop()
    segments = [part for product in shop.products for part in product.title.replace(" - ", ", ").split(", ")]
    pieces = texts_of("title_pieces", shop, 40)
    assert len(pieces) > 10
    for pair in pieces:
        assert any(pair.student_text in segment for segment in segments)
        assert not {"for"} & {pair.student_text.split()[0].lower(), pair.student_text.split()[-1].lower()}
        assert pair.teacher_text == pair.student_text


def test_phrases_say_a_word_once():
    for pair in texts_of("phrases", lamp_shop(), 40):
        words = pair.student_text.casefold().split()
        assert len(words) == len(set(words))


def test_damaged_texts_have_the_clean_text_as_target():
    shop = lamp_shop(queries=["red desk lamp", "blue reading lamp"])
    pairs = texts_of("noise", shop, 60)
    assert len(pairs) > 40
    clean = {"red desk lamp", "blue reading lamp", *(product.title for product in shop.products)}
    for pair in pairs:
        assert pair.teacher_text in clean
        assert pair.student_text != pair.teacher_text
        assert abs(len(pair.student_text) - len(pair.teacher_text)) <= 2


def test_synonyms_are_replaced_in_both_directions():
    shop = lamp_shop(queries=["red sofa", "blue couch", "green boys and girls bed"], synonyms={"Sofa": ("couch",)})
    made = {(pair.student_text, pair.teacher_text) for pair in texts_of("synonyms", shop)}
    assert made == {("red couch", "red sofa"), ("blue Sofa", "blue couch")}


def test_synonyms_of_several_words_are_found():
    shop = lamp_shop(queries=["bed for boys and girls", "kids bed"], synonyms={"kids": ("boys and girls",)})
    made = {(pair.student_text, pair.teacher_text) for pair in texts_of("synonyms", shop)}
    assert made == {("bed for kids", "bed for boys and girls"), ("boys and girls bed", "kids bed")}


def test_synonyms_that_no_text_uses_make_nothing():
    assert texts_of("synonyms", lamp_shop(queries=["red lamp"], synonyms={"sofa": ("couch",)})) == []


def test_word_order_keeps_the_words():
    for pair in texts_of("word_order", lamp_shop(queries=["red desk lamp"])):
        assert sorted(pair.student_text.split()) == sorted(pair.teacher_text.split())
        assert pair.student_text != pair.teacher_text


@pytest.mark.parametrize("title", ["L", "12", "台灯", "🛋️", "a , b", "----"])
def test_odd_titles_make_no_trouble(title):
    pairs = distillation_texts(make_shop([Product("p", title)]), TextSettings(count=40), seed=0)
    assert len(pairs) <= 40


def test_titles_without_latin_letters_are_learned():
    texts = {
        pair.student_text for pair in distillation_texts(make_shop([Product("p", "台灯")]), TextSettings(), seed=0)
    }
    assert "台灯" in texts


def test_typing_errors_change_at_most_two_letters_and_leave_digits_alone():
    random = np.random.default_rng(0)
    assert with_typing_error("1234 - 56", random) == "1234 - 56"
    for _ in range(200):
        assert abs(len(with_typing_error("a dimmable desk lamp 42", random)) - 23) <= 2


def test_negative_share_is_an_error_of_ours():
    with pytest.raises(ConfigError, match=r"build\.toml: noise is -1\.0, expected 0 or more"):
        from_mapping({"noise": -1.0}, TextSettings, source="build.toml")


def test_importing_it_loads_no_tensorflow():
    code = "import sys, train.text.augmentation, train.sampling.contrastive_batches; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture
def translator(tmp_path, monkeypatch):
    """A module of the user's own in the working folder."""
    (tmp_path / "my_translations.py").write_text(
        "def there_and_back(texts):\n    return [f'{text} again' for text in texts]\n\n\n"
        "def short(texts):\n    return texts[1:]\n\n\n"
        "def numbers(texts):\n    return [1 for _ in texts]\n\n\n"
        "def broken(texts):\n    raise RuntimeError('no model')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "my_translations"
    sys.modules.pop("my_translations", None)


def test_back_translations_go_with_the_text_that_they_say_again(translator):
    shop = lamp_shop(queries=["red lamp", "desk lamp"])
    shares = {**ONLY, "title_pieces": 0.5, "back_translation": 0.5}
    settings = TextSettings(count=22, back_translator=f"{translator}:there_and_back", **shares)
    pairs = distillation_texts(shop, settings, seed=0)
    said = [pair for pair in pairs if pair.origin == "back_translation"]
    assert 5 < len(said) <= 10
    assert all(pair.student_text == f"{pair.teacher_text} again" for pair in said)


def test_without_a_back_translator_its_share_changes_nothing():
    one, other = (distillation_texts(lamp_shop(), TextSettings(count=60, back_translation=n), seed=0) for n in (0, 0.9))
    assert one == other


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere_at_all:f", "cannot find nowhere_at_all:f"),
        ("my_translations:none", "cannot find my_translations:none"),
        ("my_translations:short", r"returned \d+ texts for \d+, expected one for each"),
        ("my_translations:numbers", "returned list, expected a list of texts"),
        ("my_translations:broken", "failed with RuntimeError: no model"),
    ],
)
def test_a_back_translator_that_cannot_be_used_is_named(translator, name, message):
    with pytest.raises(ConfigError, match=f"texts.back_translator: .*{message}"):
        distillation_texts(lamp_shop(), TextSettings(count=60, back_translator=name), seed=0)


def test_what_names_no_function_is_refused_with_the_settings():
    with pytest.raises(ConfigError, match="back_translator is 'paraphrases', expected module:function"):
        from_mapping({"back_translator": "paraphrases"}, TextSettings, source="build.toml")
