from dataclasses import dataclass

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from edge_runtime.contract.bundle import TOKENIZER_FILE
from edge_runtime.inference.encoder import Encoder
from tests.support.tiny_student import SPECIAL, WORDS, spelling_tokenizer
from tests.support.toy_bundle import make_toy_bundle
from train.errors import TrainingError
from train.models.vocabulary import cut_vocabulary, token_ids

TEXTS = ["red lamp", "red lamps", "blue table", "Wooden chair", "red chair"]


def pieces(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).tokens


def cut(size, texts=TEXTS, **options):
    return cut_vocabulary(spelling_tokenizer(**options), [(texts, 1.0)], size)


def test_padding_is_zero_and_unknown_is_one():
    tokenizer = cut(60).tokenizer
    assert (tokenizer.token_to_id("[PAD]"), tokenizer.token_to_id("[UNK]")) == (0, 1)


@pytest.mark.parametrize("size", [45, 48, 52])
def test_size_is_kept_once_the_characters_have_their_place(size):
    assert cut(size).tokenizer.get_vocab_size() == len(cut(size).teacher_ids) <= size


def test_ids_are_dense_and_each_names_the_teacher_s_piece():
    teacher, vocabulary = spelling_tokenizer(), cut(50)
    for index, teacher_id in enumerate(vocabulary.teacher_ids):
        assert teacher.id_to_token(int(teacher_id)) == vocabulary.tokenizer.id_to_token(index)


@pytest.mark.parametrize("size", [2, 45, 50, 500])
def test_nothing_becomes_unknown_that_was_known(size):
    tokenizer = cut(size).tokenizer
    for text in TEXTS:
        assert "[UNK]" not in pieces(tokenizer, text)


def test_a_cut_word_is_spelled_with_shorter_pieces():
    assert pieces(cut(2).tokenizer, "lamp") == ["l", "##a", "##m", "##p"]


def test_frequent_pieces_are_kept_first():
    characters = len(cut(2).teacher_ids)
    assert pieces(cut(characters + 1).tokenizer, "red") == ["red"]
    assert pieces(cut(characters + 1).tokenizer, "blue") != ["blue"]


def test_weight_of_a_corpus_counts_for_each_token():
    corpora = [(["red red red"], 1.0), (["blue"], 4.0)]
    characters = len(cut_vocabulary(spelling_tokenizer(), corpora, 2).teacher_ids)
    vocabulary = cut_vocabulary(spelling_tokenizer(), corpora, characters + 1)
    assert pieces(vocabulary.tokenizer, "blue red")[0] == "blue"
    assert vocabulary.coverage == pytest.approx(4 / 7)


def test_coverage_is_whole_when_every_used_piece_is_kept():
    vocabulary = cut(500)
    assert vocabulary.coverage == 1.0
    assert vocabulary.tokenizer.token_to_id("z") is None


def test_special_tokens_of_the_teacher_are_left_out():
    vocabulary = cut(500, texts=["[CLS] [MASK] red"]).tokenizer.get_vocab()
    assert vocabulary.keys().isdisjoint(set(SPECIAL) - {"[PAD]", "[UNK]"})


def test_empty_corpora_leave_padding_and_unknown():
    vocabulary = cut(500, texts=[])
    assert vocabulary.tokenizer.get_vocab_size() == 2
    assert vocabulary.coverage == 0.0


def test_the_same_corpora_give_the_same_vocabulary():
    assert cut(50).tokenizer.to_str() == cut(50).tokenizer.to_str()


def test_no_special_token_and_no_length_of_the_teacher_s_stays():
    tokenizer = cut(500).tokenizer
    assert tokenizer.encode("red lamp").tokens == ["red", "lamp"]
    assert len(tokenizer.encode("red " * 40).ids) == 40


def test_a_teacher_that_is_not_word_piece_is_refused():
    with pytest.raises(TrainingError, match="expected a teacher with a WordPiece tokenizer, found WordLevel"):
        cut_vocabulary(Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")), [(TEXTS, 1.0)], 50)


def test_ids_are_cut_and_padded():
    tokenizer = cut(500).tokenizer
    ids = token_ids(tokenizer, ["red lamp", "red blue table chair", ""], 3)
    assert (ids.dtype, ids.shape) == (np.int32, (3, 3))
    assert ids[0, 2] == 0
    assert ids[0, 0] == ids[1, 0] == tokenizer.token_to_id("red")
    assert (ids[1] != 0).all()
    assert (ids[2] == 0).all()


def test_many_texts_keep_their_order():
    tokenizer = cut(500).tokenizer
    words = [word for word in WORDS if not word.startswith("##")]
    rows = {word: token_ids(tokenizer, [word], 4)[0] for word in words}
    texts = [words[number % len(words)] for number in range(5_000)]
    np.testing.assert_array_equal(token_ids(tokenizer, texts, 4), [rows[text] for text in texts])


@dataclass
class KeptInput:
    """Stands in for the model: keeps the ids that the device gives it."""

    ids: np.ndarray | None = None

    def run(self, _signature, inputs):
        self.ids = inputs["ids"]
        return {"vector": np.ones((1, 16), np.float32)}


@pytest.mark.parametrize(
    "text", ["Red  LAMPS", "ｒｅｄ lamp\u00a0wooden\ttable", "\x00red\ud800blue", "lamp " * 30, "zebra"]
)
def test_ids_are_those_that_the_device_reads(tmp_path, text):
    bundle = make_toy_bundle(tmp_path / "toy")
    tokenizer = cut(500).tokenizer
    bundle.path(TOKENIZER_FILE).write_text(tokenizer.to_str())
    encoder = Encoder(bundle)
    encoder._model = kept = KeptInput()
    encoder.encode_query(text)
    np.testing.assert_array_equal(kept.ids, token_ids(tokenizer, [text], kept.ids.shape[1]))


def test_padding_and_cutting_of_the_teacher_count_for_nothing():
    teacher = spelling_tokenizer()
    teacher.enable_truncation(1)
    vocabulary = cut_vocabulary(teacher, [(["red lamp"], 1.0)], 500)
    assert pieces(vocabulary.tokenizer, "red lamp") == ["red", "lamp"]
    assert vocabulary.coverage == 1.0
