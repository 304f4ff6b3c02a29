"""A student of two heads and sixteen channels, its tokenizer, and data to train it on."""

import string

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from train.distillation import DistillationSet
from train.models.student import StudentSettings, build_student

DIM, VOCABULARY = 16, 60
SETTINGS = StudentSettings(
    vocabulary=VOCABULARY, hidden=16, layers=1, heads=2, feed_forward=32, query_tokens=8, item_tokens=12
)
WORDS = ("red", "blue", "lamp", "lamps", "table", "##s", "##le", "chair", "wooden", "wood", "##en")
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")


def spelling_tokenizer(words=WORDS):
    """Return a WordPiece tokenizer that can spell every word of a-z, with the special tokens of a BERT."""
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    vocabulary = {piece: index for index, piece in enumerate((*SPECIAL, *letters, *words))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.enable_padding(length=32)
    tokenizer.enable_truncation(32)
    return tokenizer


def tiny_student(settings=SETTINGS):
    return build_student(settings, vocabulary=VOCABULARY, dim=DIM)


def random_ids(rows, length, *, seed=0, padded=True):
    """Return int32 [rows, length] of random tokens, each row with its own length when `padded`."""
    random = np.random.default_rng(seed)
    ids = random.integers(1, VOCABULARY, (rows, length), dtype=np.int32)
    if padded:
        ids[np.arange(length)[None] >= random.integers(1, length + 1, (rows, 1))] = 0
    return ids


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def tiny_distillation_set():
    """Return forty queries and thirty items with targets that depend on their tokens."""
    table = np.random.default_rng(5).standard_normal((VOCABULARY, DIM))
    table[0] = 0.0
    queries, items = random_ids(40, SETTINGS.query_tokens), random_ids(30, SETTINGS.item_tokens, seed=1)
    return DistillationSet(
        query_ids=queries,
        query_targets=unit(table[queries].sum(axis=1)),
        item_ids=items,
        item_targets=unit(table[items].sum(axis=1)),
    )
