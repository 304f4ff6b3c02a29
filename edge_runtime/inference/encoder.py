"""Text and histories -> unit vectors, by the bundle's tokenizer and `encoder.tflite`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from edge_runtime.contract.bundle import ENCODER_FILE, TOKENIZER_FILE, Bundle
from edge_runtime.contract.errors import BundleFormatError
from edge_runtime.contract.text import normalize_text
from edge_runtime.contract.types import Float32
from edge_runtime.inference.interpreter import Model


def unit(vector: npt.NDArray[Any]) -> Float32:
    """Return float32 [dim] of length 1; a zero vector, or one that is not finite, becomes zero."""
    flat = np.asarray(vector, dtype=np.float32).reshape(-1)
    norm = float(np.linalg.norm(flat))
    if norm == 0 or not np.isfinite(norm):
        return np.zeros_like(flat)
    return np.asarray(flat / np.float32(norm), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class HistoryQuery:
    """What a history asks for.

    Attributes:
        vector: float32 [dim], unit length, or zero for an empty history.
        repeats: float32 [n], what each of the newest n items adds to the score of its own product, newest last.
    """

    vector: Float32
    repeats: Float32


class Encoder:
    """The three signatures of `encoder.tflite`; may be called from any thread."""

    def __init__(self, bundle: Bundle, *, num_threads: int = 1, interpreter: str | None = None) -> None:
        """Load the model and the tokenizer of `bundle`.

        Raises:
            ModelLoadError: the interpreter refuses the model.
            BundleFormatError: the tokenizer is malformed, or the model is not what the manifest says.
            InputShapeError: a signature is missing.
        """
        spec, dim = bundle.manifest.encoder, bundle.manifest.space.dim
        self._spec, self._dim = spec, dim
        self._model = Model(bundle.path(ENCODER_FILE), num_threads=num_threads, interpreter=interpreter)
        expected = {
            ("encode_query", "ids"): (1, spec.query_tokens),
            ("encode_item", "ids"): (1, spec.item_tokens),
            ("encode_history", "items"): (1, spec.history_items, dim),
            ("encode_history", "mask"): (1, spec.history_items),
        }
        for (signature, name), shape in expected.items():
            found = self._model.input_shape(signature, name)
            width = self._model.output_shape(signature, "vector")[-1]
            if found != shape or width != dim:
                raise BundleFormatError(
                    f"{bundle.path(ENCODER_FILE)}: {signature}({name}) is {list(found)} -> {width}, "
                    f"the manifest says {list(shape)} -> {dim}; get the bundle again"
                )
        self._learned_repeats = self._model.has_output("encode_history", "repeat")
        if self._learned_repeats:
            slots = self._model.output_shape("encode_history", "repeat")
            if slots != (1, spec.history_items):
                raise BundleFormatError(
                    f"{bundle.path(ENCODER_FILE)}: encode_history gives repeats {list(slots)}, "
                    f"the manifest says {[1, spec.history_items]}; get the bundle again"
                )
        self._tokenizer = _load_tokenizer(bundle)

    @property
    def history_items(self) -> int:
        """How many items of a history the model reads; the newest count."""
        return self._spec.history_items

    def encode_query(self, text: str) -> Float32:
        """Return the unit vector float32 [dim] of a query; zero when it has no token."""
        return self.encode_normalized(normalize_text(text))

    def encode_normalized(self, text: str) -> Float32:
        """Return what `encode_query` does for a text that `normalize_text` gave."""
        return self._encode("encode_query", text, self._spec.query_tokens)

    def encode_item(self, text: str) -> Float32:
        """Return the unit vector float32 [dim] of an item's text (contract/text.py: `item_text`); zero without token."""
        return self._encode("encode_item", normalize_text(text), self._spec.item_tokens)

    def encode_history(self, items: Float32) -> Float32:
        """Return the unit vector float32 [dim] of a history; see `read_history`."""
        return self.read_history(items).vector

    def read_history(self, items: Float32) -> HistoryQuery:
        """Return what a history asks for; nothing, and no model is run, when it is empty.

        Args:
            items: float32 [n, dim], unit rows, newest last; only the last `history_items` are read.
        """
        length = self._spec.history_items
        newest = items[-length:]
        if not len(newest):
            return HistoryQuery(np.zeros(self._dim, dtype=np.float32), np.zeros(0, dtype=np.float32))
        padded = np.zeros((1, length, self._dim), dtype=np.float32)
        mask = np.zeros((1, length), dtype=np.float32)
        padded[0, -len(newest) :] = newest
        mask[0, -len(newest) :] = 1
        outputs = self._model.run("encode_history", {"items": padded, "mask": mask})
        vector = unit(outputs["vector"])
        repeats = np.zeros(len(newest), dtype=np.float32)
        norm = float(np.linalg.norm(outputs["vector"]))
        if self._learned_repeats and norm > 0:
            repeats = np.asarray(outputs["repeat"][0, -len(newest) :] / norm, dtype=np.float32)
        return HistoryQuery(vector, repeats)

    def _encode(self, signature: str, text: str, length: int) -> Float32:
        tokens = self._tokenizer.encode(text, add_special_tokens=False).ids[:length]
        if not tokens:
            return np.zeros(self._dim, dtype=np.float32)
        ids = np.zeros((1, length), dtype=np.int32)
        ids[0, : len(tokens)] = tokens
        return unit(self._model.run(signature, {"ids": ids})["vector"])


def _load_tokenizer(bundle: Bundle) -> Tokenizer:
    path = bundle.path(TOKENIZER_FILE)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust side raises nothing narrower
        raise BundleFormatError(f"{path} is not a tokenizer ({error}); get the bundle again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
