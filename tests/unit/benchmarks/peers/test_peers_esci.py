import numpy as np

from benchmarks.peers.esci import MINILM_INT8, prepare_peers
from benchmarks.peers.minilm import MinilmEncoder

TEXTS = ["red lamp", "blue table for kids", "green chair", "wooden mug"]


def test_all_peers_rank_and_a_second_run_encodes_no_item(tiny_minilm, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.peers.model2vec.DIM", 4)
    told = []
    work = tiny_minilm.float32.parent
    first = prepare_peers(TEXTS, work, progress=lambda *step: told.append(step))
    assert len(first.rankers) == 5
    assert {what for what, _, _ in told} == {"MiniLM item vectors", "Model2Vec distillation"}
    for peer in first.rankers:
        scores = peer.score_all("red lamp")
        assert scores.shape == (4,)
        assert scores.argmax() == 0, peer.name

    monkeypatch.setattr(MinilmEncoder, "encode_tokenized", None)
    again = prepare_peers(TEXTS, work, progress=lambda *step: told.append(step))
    for old, new in zip(first.rankers, again.rankers, strict=True):
        np.testing.assert_array_equal(old.score_all("blue mug"), new.score_all("blue mug"))


def test_other_texts_are_encoded_anew(tiny_minilm, monkeypatch):
    monkeypatch.setattr("benchmarks.peers.model2vec.DIM", 4)
    work = tiny_minilm.float32.parent
    prepare_peers(TEXTS, work, progress=lambda *step: None)
    told = []
    prepare_peers(TEXTS[:3], work, progress=lambda *step: told.append(step))
    assert [what for what, _, _ in told] == ["MiniLM item vectors"]


def test_sizes_count_model_and_tokenizer_and_int8_is_smaller(tiny_minilm, monkeypatch):
    monkeypatch.setattr("benchmarks.peers.model2vec.DIM", 4)
    peers = prepare_peers(TEXTS, tiny_minilm.float32.parent, progress=lambda *step: None)
    sizes = {peer.name: peer.size_bytes for peer in peers.rankers}
    assert sizes[MINILM_INT8] == tiny_minilm.int8.stat().st_size + tiny_minilm.tokenizer.stat().st_size
    assert set(peers.encoders) == {name for name, size in sizes.items() if size and "RRF" not in name}
    assert MINILM_INT8 in peers.encoders
