"""A recommender without a model, for tests of the device's other parts."""

from pathlib import Path

import numpy as np

from edge_runtime.contract.bundle import open_bundle
from edge_runtime.contract.errors import BundleFormatError, GoldenMismatchError
from edge_runtime.products.filters import Where
from edge_runtime.recommender import Recommendations
from edge_runtime.updates.self_test import Proof


class FakeRecommender:
    """Remembers which folder it opened, unless that holds a file `bad`; fails its proof when the words are "wrong"."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.closed = folder.resolve(), False
        self.bundle = open_bundle(self.folder, verify=False)

    @classmethod
    def open(cls, folder: Path) -> "FakeRecommender":
        if (folder / "bad").exists():
            raise BundleFormatError("bad")
        return cls(folder)

    def prove(self) -> Proof:
        if b"wrong" in (self.folder / "catalogue.tflite").read_bytes():
            raise GoldenMismatchError("wrong answers")
        return Proof(answers=1, worst_cosine=1.0, overlap=1.0)

    def search(self, query: str, *, k: int, where: Where | None = None) -> Recommendations:
        return Recommendations((f"about {query}",), np.array([1.0], np.float32))

    def close(self) -> None:
        self.closed = True
