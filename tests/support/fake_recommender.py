"""A recommender without a model, for tests of the device's other parts."""

from pathlib import Path

from edge_runtime.contract.errors import BundleFormatError, GoldenMismatchError
from edge_runtime.updates.self_test import Proof


class FakeRecommender:
    """Remembers which folder it opened, unless that holds a file `bad`; fails its proof when the words are "wrong"."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.closed = folder.resolve(), False

    @classmethod
    def open(cls, folder: Path) -> "FakeRecommender":
        if (folder / "bad").exists():
            raise BundleFormatError("bad")
        return cls(folder)

    def prove(self) -> Proof:
        if b"wrong" in (self.folder / "catalogue.tflite").read_bytes():
            raise GoldenMismatchError("wrong answers")
        return Proof(answers=1, worst_cosine=1.0, overlap=1.0)

    def close(self) -> None:
        self.closed = True
