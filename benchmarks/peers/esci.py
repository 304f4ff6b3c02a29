"""The peers of the ESCI benchmark, with their indexes; results that take long are kept in the work folder."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers.base import DensePeer, FusedPeer, Peer, QueryEncoder
from benchmarks.peers.lexical import Bm25Peer
from benchmarks.peers.minilm import FloatArray, MinilmEncoder, MinilmFiles, prepare_minilm
from benchmarks.peers.model2vec import prepare_model2vec
from edge_runtime.contract.types import NamedProgress

MINILM_INT8 = "all-MiniLM-L6-v2 int8 (ONNX Runtime)"


@dataclass(frozen=True)
class Peers:
    """The peers in the order of the table, and those encoders among them whose latency is measured, by peer name."""

    rankers: Sequence[Peer]
    encoders: Mapping[str, QueryEncoder]
    minilm: MinilmEncoder


def prepare_peers(texts: Sequence[str], work: Path, *, progress: NamedProgress) -> Peers:
    """Index `texts` with every peer.

    Args:
        texts: one per product.
        work: where models and item vectors are kept for the next run.
        progress: called at the start of each long step.
    """
    work.mkdir(parents=True, exist_ok=True)
    files = prepare_minilm(work)
    float32 = MinilmEncoder(files.float32, files.tokenizer)
    int8 = MinilmEncoder(files.int8, files.tokenizer)
    items = _item_vectors(float32, texts, work, progress=progress)
    static, static_bytes = prepare_model2vec(
        work, files, progress=lambda done, total: progress("Model2Vec distillation", done, total)
    )
    lexical = Bm25Peer(texts)
    dense = DensePeer(
        "all-MiniLM-L6-v2 float32 (ONNX Runtime)",
        size_bytes=_size(files, files.float32),
        encoder=float32,
        item_vectors=items,
    )
    # Items are encoded once, on a large machine, so the int8 model ranks the float model's item vectors, as ours does.
    quantized = DensePeer(MINILM_INT8, size_bytes=_size(files, files.int8), encoder=int8, item_vectors=items)
    model2vec = DensePeer(
        "Model2Vec from MiniLM, 256 dims, float16",
        size_bytes=static_bytes,
        encoder=static,
        item_vectors=static.encode_texts(texts),
    )
    fused = FusedPeer("RRF of BM25 and MiniLM float32", [lexical, dense])
    return Peers(
        rankers=(lexical, dense, quantized, fused, model2vec),
        encoders={peer.name: peer.encoder for peer in (dense, quantized, model2vec)},
        minilm=float32,
    )


def _size(files: MinilmFiles, model: Path) -> int:
    return model.stat().st_size + files.tokenizer.stat().st_size


def _item_vectors(encoder: MinilmEncoder, texts: Sequence[str], work: Path, *, progress: NamedProgress) -> FloatArray:
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    path = work / f"minilm-items-{digest}.npy"
    if path.exists():
        return np.asarray(np.load(path), np.float32)
    vectors = encoder.encode_texts(texts, progress=lambda done, total: progress("MiniLM item vectors", done, total))
    unfinished = path.with_suffix(".part.npy")
    np.save(unfinished, vectors)
    unfinished.replace(path)
    return vectors
