"""The peer Model2Vec: static vectors distilled from MiniLM by its published recipe.

Its own `distill` needs PyTorch, so the recipe's four steps are done here with ONNX Runtime in PyTorch's place (forward
each token of the vocabulary alone, PCA, weights by Zipf's law and SIF, float16). The result goes into
`model2vec.StaticModel`, whose own `encode` is what is measured.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from model2vec import StaticModel
from tokenizers import Tokenizer

from benchmarks.peers.minilm import MinilmEncoder, MinilmFiles

DIM = 256
SIF_COEFFICIENT = 1e-4

_DROPPED_TOKEN = re.compile(r"\[unused\d+\]|\[CLS\]|\[SEP\]|\[MASK\]")

FloatArray = npt.NDArray[np.float32]


def reduce_tokenizer(tokenizer: Tokenizer) -> tuple[Tokenizer, list[int]]:
    """Return `tokenizer` without unused and special tokens, and the old id of each token that stays."""
    content = json.loads(tokenizer.to_str())
    vocabulary = sorted(content["model"]["vocab"].items(), key=lambda entry: entry[1])
    kept = [(token, old_id) for token, old_id in vocabulary if not _DROPPED_TOKEN.fullmatch(token)]
    new_ids = {token: new_id for new_id, (token, _) in enumerate(kept)}
    content["model"]["vocab"] = new_ids
    content["added_tokens"] = [
        {**added, "id": new_ids[added["content"]]} for added in content["added_tokens"] if added["content"] in new_ids
    ]
    content.update(post_processor=None, padding=None, truncation=None)
    return Tokenizer.from_str(json.dumps(content)), [old_id for _, old_id in kept]


def reduce_and_weigh(vectors: FloatArray, dim: int) -> npt.NDArray[np.float16]:
    """Return token vectors after PCA to `dim` and weighting by SIF over Zipf's law, float16 [tokens, dim].

    Args:
        vectors: float32 [tokens, hidden], the most frequent token first.
        dim: at most hidden.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    reduced = centred @ axes[:, ::-1][:, :dim]
    inverse_rank = 1.0 / np.arange(2, len(vectors) + 2)
    probability = inverse_rank / inverse_rank.sum()
    weights = SIF_COEFFICIENT / (SIF_COEFFICIENT + probability)
    return np.asarray(reduced * weights[:, None], np.float16)


class Model2vecEncoder:
    """`StaticModel.encode` behind the interface of a query encoder."""

    def __init__(self, model: StaticModel) -> None:
        self._model = model

    def encode(self, text: str) -> FloatArray:
        """Return the unit vector of `text`, float32 [dim]."""
        return np.asarray(self._model.encode(text), np.float32)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Return the unit vectors of `texts`, float32 [texts, dim]."""
        return np.asarray(self._model.encode(list(texts), use_multiprocessing=False), np.float32)


def prepare_model2vec(
    work: Path, minilm: MinilmFiles, *, progress: Callable[[int, int], None] | None = None
) -> tuple[Model2vecEncoder, int]:
    """Distill the static model under `work` unless it is there; return its encoder and its size in bytes."""
    folder = work / "model2vec"
    if not (folder / "config.json").exists():
        _distil(folder, minilm, progress=progress)
    model = StaticModel.from_pretrained(folder)
    return Model2vecEncoder(model), sum(
        (folder / name).stat().st_size for name in ("model.safetensors", "tokenizer.json")
    )


def _distil(folder: Path, minilm: MinilmFiles, *, progress: Callable[[int, int], None] | None) -> None:
    full = Tokenizer.from_file(str(minilm.tokenizer))
    tokenizer, old_ids = reduce_tokenizer(full)
    special = full.get_vocab()
    sequences = [[special["[CLS]"], old_id, special["[SEP]"]] for old_id in old_ids]
    encoder = MinilmEncoder(minilm.float32, minilm.tokenizer)
    vectors = encoder.encode_tokenized(sequences, batch_size=256, output="mean", progress=progress)
    config = {"model_type": "model2vec", "apply_pca": DIM, "sif_coefficient": SIF_COEFFICIENT, "normalize": True}
    static = StaticModel(vectors=reduce_and_weigh(vectors, DIM), tokenizer=tokenizer, config=config, normalize=True)
    unfinished = folder.with_name(f"{folder.name}.part")
    static.save_pretrained(unfinished)
    unfinished.rename(folder)
