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
    queries = [f"query {number}" for number in range(50)]
    row = make_row("whitening", whole - [0.1, 0.2, 0.0], whole, queries)
    np.testing.assert_allclose(row.rerank_difference, -0.1)
    np.testing.assert_allclose(row.retrieval_difference, -0.2)
    print_table([make_row(WHOLE, whole, whole, queries), row], Console(width=160))
    shown = capsys.readouterr().out
    assert "-0.200 (-0.200 … -0.200)" in shown
    assert "left out" in shown
    assert "50 distinct held-out queries" in shown


def test_a_query_that_several_folds_hold_out_counts_once():
    random = np.random.default_rng(1)
    part, whole, queries = random.random((46, 3)), random.random((46, 3)), [f"query {number}" for number in range(46)]
    once = make_row("whitening", part, whole, queries)
    four = make_row("whitening", np.tile(part, (4, 1)), np.tile(whole, (4, 1)), queries * 4)
    assert four.queries == 46
    np.testing.assert_allclose(four.rerank_difference, once.rerank_difference)
