"""A tiny BERT in the place of MiniLM."""

from pathlib import Path

import pytest

import benchmarks.peers.minilm
from benchmarks.peers.minilm import MinilmFiles, prepare_minilm
from tests.support.tiny_bert import write_tiny_bert

WORDS = ("red", "blue", "green", "lamp", "table", "chair", "mug", "for", "kids", "wooden")


@pytest.fixture
def tiny_minilm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MinilmFiles:
    write_tiny_bert(tmp_path / "weights", WORDS)
    monkeypatch.setattr(benchmarks.peers.minilm, "minilm_folder", lambda: tmp_path / "weights")
    work = tmp_path / "models"
    work.mkdir()
    return prepare_minilm(work)
