"""Vectors of texts that are kept from build to build."""

import numpy as np
import pytest

from tests.support.bert_checkpoint import write_checkpoint
from train.models.teacher import Teacher
from train.text.embedding_cache import EmbeddingCache

TEXTS = ["red lamp", "blue table", "chair"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return Teacher.open(str(write_checkpoint(tmp_path_factory.mktemp("checkpoint"))))


def refuse(*arguments, **options):
    raise AssertionError("encoded again")


def test_a_later_build_does_not_encode_again(teacher, tmp_path, monkeypatch):
    first = EmbeddingCache(teacher, tmp_path).encode(TEXTS)
    np.testing.assert_allclose(first, teacher.encode(TEXTS), atol=1e-5)
    monkeypatch.setattr(teacher, "encode", refuse)
    np.testing.assert_array_equal(EmbeddingCache(teacher, tmp_path).encode(TEXTS[::-1]), first[::-1])
    with pytest.raises(AssertionError, match="encoded again"):
        EmbeddingCache(teacher, tmp_path).encode(["green sofa"])


def test_vectors_of_another_teacher_are_not_taken(teacher, tmp_path, monkeypatch):
    EmbeddingCache(teacher, tmp_path).encode(TEXTS)
    monkeypatch.setattr(teacher, "identity", "f" * 64)
    monkeypatch.setattr(teacher, "encode", refuse)
    with pytest.raises(AssertionError, match="encoded again"):
        EmbeddingCache(teacher, tmp_path).encode(TEXTS)


def test_a_damaged_file_is_made_again(teacher, tmp_path):
    expected = EmbeddingCache(teacher, tmp_path).encode(TEXTS)
    (damaged,) = tmp_path.rglob("*.npz")
    damaged.write_bytes(damaged.read_bytes()[:-30])
    np.testing.assert_allclose(EmbeddingCache(teacher, tmp_path).encode(TEXTS), expected, atol=1e-6)


def test_without_a_folder_nothing_is_kept(teacher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = []
    vectors = EmbeddingCache(teacher, None).encode([*TEXTS, "chair"], progress=lambda *call: calls.append(call))
    np.testing.assert_array_equal(vectors[2], vectors[3])
    assert calls == [(4, 4)]
    assert not list(tmp_path.iterdir())


def test_no_texts_give_no_vectors(teacher):
    assert EmbeddingCache(teacher, None).encode([]).shape == (0, teacher.dim)
