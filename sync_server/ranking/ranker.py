"""Rankers for thin clients with one interface: a bundle, or exported vectors with a query encoder (*_encoder.py)."""

import importlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

import msgspec
import numpy as np
from tokenizers import Tokenizer

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.text import normalize_text
from edge_runtime.contract.types import Float32
from edge_runtime.recommender import Recommendations, Recommender
from sync_server.config import ServerConfig

VECTORS_FILE, IDS_FILE, EXPORT_FILE, TOKENIZER_FILE = "items.npy", "product_ids.json", "export.json", "tokenizer.json"
"""The files of an exported model's folder beside the model itself (pocketrec/pipeline/export.py writes them)."""


class RankedProducts(msgspec.Struct, frozen=True):
    """Products, best first, with their scores; `model` names the bundle or the exported model."""

    product_ids: list[str]
    scores: list[float]
    model: str


class ExportNote(msgspec.Struct, frozen=True):
    """What a client of an exported model must know: its name, and the largest number of tokens."""

    name: str
    tokens: int


class QueryEncoder(Protocol):
    """Turns token ids into a vector; safe to use from several threads."""

    def encode(self, ids: Sequence[int]) -> Float32:
        """Return the vector float32 [dim] of one text."""
        ...

    def close(self) -> None:
        """Free files and connections."""
        ...


class BundleRanker:
    """Ranks with a bundle, as a device does; one request at a time, because an interpreter has one set of buffers.

    Raises:
        BundleError, InferenceError: the bundle cannot be used here.
    """

    def __init__(self, folder: Path) -> None:
        self._recommender = Recommender.open(folder)
        self._lock = threading.Lock()
        self.name = self._recommender.bundle.bundle_id[:12]

    def search(self, query: str, k: int) -> RankedProducts:
        """Return the `k` best products for a query."""
        with self._lock:
            return self._ranked(self._recommender.search(query, k=k))

    def recommend(self, history: Sequence[str], k: int) -> RankedProducts:
        """Return the `k` best products for a history, newest last."""
        with self._lock:
            return self._ranked(self._recommender.recommend(list(history), k=k))

    def close(self) -> None:
        """Close the bundle's files."""
        self._recommender.close()

    def _ranked(self, found: Recommendations) -> RankedProducts:
        return RankedProducts(list(found.product_ids), [float(score) for score in found.scores], self.name)


class VectorRanker:
    """The products whose exported vectors are nearest to the encoder's.

    Args:
        folder: with items.npy (float32 [products, dim], unit length), product_ids.json, tokenizer.json, export.json.
        encoder: gives the query's vector in the same space.

    Raises:
        ConfigError: a file is missing or does not fit the others.
    """

    def __init__(self, folder: Path, encoder: QueryEncoder) -> None:
        self._encoder = encoder
        try:
            self._vectors: Float32 = np.load(folder / VECTORS_FILE, allow_pickle=False)
            self._ids: list[str] = json.loads((folder / IDS_FILE).read_text(encoding="utf-8"))
            note = msgspec.json.decode((folder / EXPORT_FILE).read_bytes(), type=ExportNote)
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise ConfigError(f"{folder} is not an exported model ({error}); export it again") from error
        if self._vectors.ndim != 2 or len(self._vectors) != len(self._ids):
            raise ConfigError(f"{folder}: {VECTORS_FILE} and {IDS_FILE} do not fit together; export the model again")
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(note.tokens)
        self._rows = {product_id: row for row, product_id in enumerate(self._ids)}
        self.name = note.name

    def search(self, query: str, k: int) -> RankedProducts:
        """Return the `k` products nearest to the query's vector; the first `k` when the query has no token."""
        ids = self._tokenizer.encode(normalize_text(query)).ids
        return self._nearest(self._encoder.encode(ids), k, without=()) if ids else self._first(k)

    def recommend(self, history: Sequence[str], k: int) -> RankedProducts:
        """Return the `k` products nearest to the mean of the history's vectors; the first `k` when none is known."""
        rows = [self._rows[product_id] for product_id in history if product_id in self._rows]
        if not rows:
            return self._first(k)
        mean = self._vectors[rows].mean(axis=0)
        return self._nearest(mean / max(float(np.linalg.norm(mean)), 1e-9), k, without=rows)

    def close(self) -> None:
        """Close the encoder."""
        self._encoder.close()

    def _first(self, k: int) -> RankedProducts:
        return RankedProducts(self._ids[:k], [0.0] * min(k, len(self._ids)), self.name)

    def _nearest(self, vector: Float32, k: int, *, without: Sequence[int]) -> RankedProducts:
        scores = self._vectors @ vector
        scores[list(without)] = -np.inf
        best = np.argsort(-scores, kind="stable")[: min(k, len(scores) - len(set(without)))]
        return RankedProducts([self._ids[row] for row in best], [float(scores[row]) for row in best], self.name)


Ranker = BundleRanker | VectorRanker


def open_ranker(config: ServerConfig) -> Ranker | None:
    """Open the ranker that the settings name; None when the server does not rank.

    Raises:
        ConfigError: a setting is missing, a package is not installed, or a file is not valid.
        BundleError, InferenceError: the bundle cannot be used here.
    """
    match config.rank_backend:
        case "":
            return None
        case "bundle":
            return BundleRanker(config.rank_folder)
        case backend:
            return VectorRanker(config.rank_folder, _open_encoder(config, backend))


def _open_encoder(config: ServerConfig, backend: str) -> QueryEncoder:
    if backend == "tf-serving":
        module = importlib.import_module("sync_server.ranking.tf_serving_encoder")
        return cast("QueryEncoder", module.TfServingEncoder(config.rank_url))
    try:
        module = importlib.import_module("sync_server.ranking.onnx_encoder")
    except ModuleNotFoundError as error:
        raise ConfigError(f"rank_backend onnx needs the package {error.name}: pip install onnxruntime") from error
    return cast("QueryEncoder", module.OnnxEncoder(config.rank_folder / "model.onnx"))
