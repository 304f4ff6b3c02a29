"""A cache of the teacher's vectors for several builds: a text that was encoded once is not encoded again."""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_runtime.contract.atomic_files import disk_errors_named, write_bytes_atomically
from edge_runtime.contract.types import Float32, Progress
from train.models.teacher import Teacher

CHUNK = 2_048
"""Texts encoded between two writes to the disk; a stopped build loses at most these."""

MAX_TOKENS = 64
"""Word pieces of a text that the teacher reads: queries are far shorter, and titles with brand and attributes about as long."""


class EmbeddingCache:
    """Encodes texts with one teacher, and remembers them in a folder.

    The folder may serve many builds and many teachers: an entry's key is made of the teacher's weights and by the text.
    Builds that run at the same time may share it too; at worst both encode the same text.
    """

    def __init__(self, teacher: Teacher, folder: Path | None) -> None:
        """Read what is remembered.

        Args:
            teacher: encodes what is not.
            folder: None remembers nothing.
        """
        self._teacher = teacher
        self._folder = folder / f"{teacher.identity[:32]}-{MAX_TOKENS}" if folder is not None else None
        self._known: dict[str, Float32] = {}
        for path in sorted(self._folder.glob("*.npz")) if self._folder is not None else []:
            self._read(path)

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> Float32:
        """Return unit vectors float32 [texts, teacher's width].

        Args:
            texts: normalized as the device does.
            progress: called with (done, total) texts.

        Raises:
            StorageError: the folder cannot be written.
        """
        missing = [text for text in dict.fromkeys(texts) if _digest(text) not in self._known]
        # Texts of like length share a batch, and so a chunk.
        missing.sort(key=len)
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            self._learn(chunk, self._teacher.encode(chunk, max_tokens=MAX_TOKENS))
            if progress is not None:
                progress(len(texts) - len(missing) + start + len(chunk), len(texts))
        if not texts:
            return np.zeros((0, self._teacher.dim), np.float32)
        return np.stack([self._known[_digest(text)] for text in texts])

    def _learn(self, texts: Sequence[str], vectors: Float32) -> None:
        digests = [_digest(text) for text in texts]
        self._known.update(zip(digests, vectors, strict=True))
        if self._folder is None:
            return
        content = io.BytesIO()
        np.savez(content, digests=np.array(digests), vectors=vectors)
        name = hashlib.sha256("".join(digests).encode()).hexdigest()[:32]
        with disk_errors_named(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_bytes_atomically(self._folder / f"{name}.npz", content.getvalue())

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as file, np.load(file) as content:
                digests, vectors = content["digests"].tolist(), content["vectors"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            # Damaged: its texts are encoded again.
            return
        if vectors.shape == (len(digests), self._teacher.dim):
            self._known.update(zip(digests, vectors, strict=True))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
