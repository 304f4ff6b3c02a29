"""docs/quantizing-a-bert.md does what it says."""

import re

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tests.support.source_tree import REPOSITORY

PAGE = REPOSITORY / "docs" / "quantizing-a-bert.md"


def test_the_page_s_program_gives_an_integer_model_that_agrees_with_the_float_one(capsys):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    found = {}
    exec(compile(program, str(PAGE), "exec"), found)
    assert capsys.readouterr().out.strip() == "{'CAST': 1}"
    run = Interpreter(model_content=found["model"]).get_signature_runner("encode_query")
    answers = np.concatenate([run(ids=row[None])["vector"] for row in found["texts"][:32]])
    expected = found["answers"][:32]
    cosines = (answers * expected).sum(axis=1) / np.linalg.norm(answers, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.mean() > 0.98


def test_every_layer_that_the_page_names_exists():
    text = PAGE.read_text()
    sources = "".join(
        (REPOSITORY / path).read_text() for path in ("train/models/layers.py", "compress/quantization.py")
    )
    for name in ("attention_block", "attention_pool", "no_norm", "FixedRangeQuantizer", "SparseWeightQuantizer"):
        assert f"`{name}" in text or f"`{name}`" in text
        assert re.search(rf"^(class|def) {name}\b", sources, re.MULTILINE)
