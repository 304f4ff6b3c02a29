"""The ablation's parts and rows; its trainings are those of a build."""

import numpy as np
import pytest
from rich.console import Console

from benchmarks.ablations.ablation import PARTS, WHOLE, WORDNET, make_row, print_table, settings_with
from pocketrec.pipeline.settings import BuildSettings


@pytest.mark.parametrize("part", list(PARTS))
def test_each_part_but_the_wordnet_changes_the_settings(part):
    settings = BuildSettings(teacher_source="taught")
    assert (settings_with(settings, part) == settings) == (part in (WHOLE, WORDNET))


def test_a_row_holds_the_paired_difference_to_everything(capsys):
    whole = np.random.default_rng(0).random((50, 3))
    row = make_row("whitening", whole - [0.1, 0.2, 0.0], whole)
    np.testing.assert_allclose(row.rerank_difference, -0.1)
    np.testing.assert_allclose(row.retrieval_difference, -0.2)
    print_table([make_row(WHOLE, whole, whole), row], Console(width=160))
    shown = capsys.readouterr().out
    assert "-0.200 (-0.200 … -0.200)" in shown
    assert "left out" in shown
    assert "50 held-out queries" in shown
