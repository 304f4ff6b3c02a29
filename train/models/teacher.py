"""The teacher: a BERT encoder of texts that stays on the build machine."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from tokenizers import Tokenizer

from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.text import normalize_text
from edge_runtime.contract.types import Float32, Int32, Progress
from train.backend import keras, tf
from train.models.bert import INPUTS, WEIGHTS_FILE, MaskedMean, bert_weights, write_config
from train.models.pretrained import TOKENIZER_FILE, LoadedEncoder, load_encoder, write_folder_whole

LENGTH_STEP = 8
"""Batches are padded to a multiple of this many tokens."""


class Teacher:
    """Text -> vector: WordPiece, BERT, mean over the tokens.

    Attributes:
        model: Keras model of `bert.INPUTS`, int32 [batch, tokens] each -> float32 [batch, dim], not of unit length.
        tokenizer: adds [CLS] and [SEP]; neither cuts nor pads.
        dim: width of the vectors.
        identity: SHA-256 over the weights' files that the teacher was opened from, hexadecimal.
        max_tokens: the longest input, [CLS] and [SEP] included.
    """

    def __init__(self, encoder: LoadedEncoder) -> None:
        self._encoder = encoder
        hidden = encoder.model.output["sequence_output"]
        pooled = MaskedMean(name="mean")(hidden, encoder.model.input["input_mask"])
        self.model = keras.Model(encoder.model.input, pooled, name="teacher")
        self.tokenizer: Tokenizer = encoder.tokenizer
        self.dim = int(hidden.shape[-1])
        self.identity = encoder.identity
        self.max_tokens = encoder.max_tokens

    @classmethod
    def open(cls, source: str, *, vocabulary: Path | None = None) -> "Teacher":
        """Open a teacher.

        Args:
            source: "minilm" (the packaged MiniLM-L6), a folder that `save` wrote, a Hugging Face checkpoint folder, a
                SavedModel folder with the standard BERT signature, or a TF Hub handle.
            vocabulary: `vocab.txt` of a SavedModel that carries none.

        Raises:
            TrainingError: nothing usable is there; says what was expected and what to do.
        """
        return cls(load_encoder(source, vocabulary=vocabulary))

    @classmethod
    def load(cls, folder: Path) -> "Teacher":
        """Open what `save` wrote.

        Raises:
            TrainingError: a file is missing or malformed.
        """
        return cls.open(str(folder))

    def save(self, folder: Path) -> None:
        """Write weights, configuration and tokenizer, replacing `folder`.

        A Hugging Face checkpoint stays one; a SavedModel stays a SavedModel. Stopped halfway, `folder` is what it was
        or, for the moment of the exchange, missing.

        Raises:
            StorageError: the disk is full, read-only or not permitted.
        """
        with disk_errors_named(folder):
            write_folder_whole(folder, self._write)

    def _write(self, folder: Path) -> None:
        if self._encoder.config is None:
            self._encoder.model.save(str(folder), include_optimizer=False)
        else:
            weights = bert_weights(self._encoder.model, self._encoder.config)
            safetensors.numpy.save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})
            write_config(folder, self._encoder.config)
        (folder / TOKENIZER_FILE).write_text(self.tokenizer.to_str(), encoding="utf-8")

    def token_embeddings(self) -> Float32 | None:
        """Return the word table float32 [vocabulary, hidden]; None for a SavedModel, which does not say where it is."""
        table = self.word_table
        return None if table is None else table.numpy()

    @property
    def word_table(self) -> Any | None:
        """The variable of the word table, or None for a SavedModel."""
        return None if self._encoder.config is None else self._encoder.model.get_layer("word").embeddings

    def freeze_embeddings(self, *, layers: int = 0) -> None:
        """Let training leave the embedding tables and the lowest `layers` layers as they are.

        A SavedModel's parts have no common names: it is trained whole.
        """
        if self._encoder.config is None:
            return
        frozen = ("word", "type", "position", "embedding_norm", *(f"layer{number}_" for number in range(layers)))
        for layer in self._encoder.model.layers:
            layer.trainable = not layer.name.startswith(frozen)

    def encode(
        self, texts: Sequence[str], *, max_tokens: int = 64, batch_size: int = 64, progress: Progress | None = None
    ) -> Float32:
        """Return unit vectors float32 [texts, dim].

        Texts are encoded in order of length, so that short ones cost little; the result is in the order given.

        Args:
            texts: normalized here as the device does.
            max_tokens: longer texts are cut, [CLS] and [SEP] included; the encoder's own limit holds besides.
            batch_size: texts at a time.
            progress: called after each batch with (done, total) texts.

        Raises:
            ConfigError: `max_tokens` is less than 3 or `batch_size` less than 1.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}, expected 1 or more")
        rows = self.token_rows(texts, max_tokens=max_tokens)
        order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            tokens = [rows[row] for row in batch]
            width = -(-len(tokens[0]) // LENGTH_STEP) * LENGTH_STEP
            vectors[batch] = self._forward(*padded(tokens, length=min(width, self.max_tokens))).numpy()
            if progress is not None:
                progress(min(start + batch_size, len(order)), len(order))
        return vectors

    def token_rows(self, texts: Sequence[str], *, max_tokens: int) -> list[list[int]]:
        """Return the token ids of each text, [CLS] and [SEP] included: at most `max_tokens`, and what the encoder takes.

        Raises:
            ConfigError: `max_tokens` is less than 3, which leaves no room for text.
        """
        if max_tokens < 3:
            raise ConfigError(f"max_tokens is {max_tokens}, expected 3 or more: two are [CLS] and [SEP]")
        tokenizer = Tokenizer.from_str(self.tokenizer.to_str())
        tokenizer.enable_truncation(min(max_tokens, self.max_tokens))
        return [encoding.ids for encoding in tokenizer.encode_batch_fast([normalize_text(text) for text in texts])]

    @functools.cached_property
    def _forward(self) -> Callable[[Int32, Int32], Any]:
        ints = tf.TensorSpec((None, None), tf.int32)

        @tf.function(input_signature=[ints, ints])
        def forward(ids: Any, mask: Any) -> Any:
            inputs = dict(zip(INPUTS, (ids, mask, tf.zeros_like(ids)), strict=True))
            return tf.nn.l2_normalize(self.model(inputs, training=False), axis=-1)

        return forward


def padded(rows: Sequence[Sequence[int]], *, length: int) -> tuple[Int32, Int32]:
    """Return ids and mask, int32 [rows, length]; no row may be longer."""
    ids, mask = np.zeros((len(rows), length), np.int32), np.zeros((len(rows), length), np.int32)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids, mask
