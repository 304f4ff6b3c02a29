import numpy as np
import pytest

from benchmarks.peers.base import DensePeer, FusedPeer, fuse_ranks
from benchmarks.peers.lexical import Bm25Peer
from benchmarks.peers.minilm import MinilmEncoder
from benchmarks.peers.model2vec import SIF_COEFFICIENT, prepare_model2vec, reduce_and_weigh, reduce_tokenizer
from tests.support.tiny_bert import tiny_tokenizer

TEXTS = ["red lamps for the kitchen", "a wooden table", "blue chair", "table lamp"]


def test_ranks_are_fused_by_their_reciprocals():
    first = np.array([0.9, 0.1, 0.5], np.float32)
    second = np.array([1.0, 3.0, 2.0], np.float32)
    np.testing.assert_allclose(
        fuse_ranks([first, second]), [1 / 61 + 1 / 63, 1 / 63 + 1 / 61, 1 / 62 + 1 / 62], rtol=1e-6
    )


def test_equal_scores_rank_in_the_order_of_the_products():
    fused = fuse_ranks([np.zeros(3, np.float32)])
    assert fused[0] > fused[1] > fused[2]


def test_bm25_stems_and_leaves_out_stop_words():
    scores = Bm25Peer(TEXTS).score_all("the lamp")
    assert scores[0] > 0
    assert scores[3] > scores[0]
    assert scores[1] == scores[2] == 0


@pytest.mark.parametrize("query", ["zebra", "the", "", "%100"])
def test_bm25_of_unknown_words_is_zero_everywhere(query):
    np.testing.assert_array_equal(Bm25Peer(TEXTS).score_all(query), np.zeros(4, np.float32))


def test_dense_peer_scores_by_cosine_and_fusion_adds_its_bytes():
    class Fixed:
        def encode(self, text):
            return np.array([0.6, 0.8], np.float32)

    dense = DensePeer("d", size_bytes=7, encoder=Fixed(), item_vectors=np.eye(2, dtype=np.float32))
    np.testing.assert_allclose(dense.score_all("x"), [0.6, 0.8])
    fused = FusedPeer("f", [dense, Bm25Peer(["red", "blue"])])
    assert fused.size_bytes == 7
    assert fused.score_all("red").argmax() == 0


def test_static_vectors_are_principal_components_weighted_by_rank():
    vectors = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
    made = reduce_and_weigh(vectors, 3).astype(np.float64)
    centred = vectors - vectors.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    probability = 1 / np.arange(2, 52) / (1 / np.arange(2, 52)).sum()
    expected = centred @ directions[:3].T * (SIF_COEFFICIENT / (SIF_COEFFICIENT + probability))[:, None]
    np.testing.assert_allclose(np.abs(made), np.abs(expected), rtol=5e-3, atol=1e-5)


def test_reduced_tokenizer_drops_unused_tokens_and_keeps_their_order():
    reduced, old_ids = reduce_tokenizer(tiny_tokenizer(("red", "lamp")))
    assert reduced.get_vocab() == {"[PAD]": 0, "[UNK]": 1, "red": 2, "lamp": 3}
    assert old_ids == [0, 2, 6, 7]
    assert reduced.encode("red zebra lamp").ids == [2, 1, 3]


def test_distilled_model_is_kept_and_encodes_to_unit_length(tiny_minilm, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.peers.model2vec.DIM", 4)
    encoder, size = prepare_model2vec(tmp_path, tiny_minilm)
    vector = encoder.encode("red lamp")
    assert vector.shape == (4,)
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-3)
    assert size > 0

    monkeypatch.setattr(MinilmEncoder, "encode_tokenized", None)
    again, _ = prepare_model2vec(tmp_path, tiny_minilm)
    np.testing.assert_array_equal(again.encode_texts(["red lamp"])[0], vector)
