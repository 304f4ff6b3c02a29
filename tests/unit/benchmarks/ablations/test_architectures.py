"""The rows of the architectures; their trainings are those of a build."""

import numpy as np
import pytest
from rich.console import Console

from benchmarks.ablations.architectures import CANDIDATES, SHIPPED, Judged, make_row, print_table
from edge_runtime.contract.errors import PocketrecError
from train.models.student import StudentSettings


@pytest.mark.parametrize("name", list(CANDIDATES))
def test_each_architecture_can_be_built(name):
    assert StudentSettings(**CANDIDATES[name]).architecture in name


def test_a_row_pools_the_folds_and_holds_the_paired_difference_to_the_shipped_student(capsys):
    shipped = np.random.default_rng(0).random((50, 2))
    names = [f"query {number}" for number in range(50)]
    folds = [
        Judged(names[:20], shipped[:20] - [0.1, 0.2], 1_000_000, 2, 0.1, 0.2),
        Judged(names[20:], shipped[20:] - [0.1, 0.2], 2_000_000, 3),
    ]
    row = make_row("bert, int8", folds, shipped)
    assert (row.queries, row.bytes, row.operations_in_float) == (50, 2_000_000, 3)
    np.testing.assert_allclose(row.rerank_difference, -0.1)
    np.testing.assert_allclose(row.retrieval_difference, -0.2)
    print_table(
        [
            make_row(SHIPPED, [Judged(names, shipped)], shipped),
            make_row("teacher", [Judged(names, shipped)], shipped),
            row,
        ],
        Console(width=160),
    )
    shown = capsys.readouterr().out
    assert "-0.200 (-0.200 … -0.200)" in shown
    assert "50 distinct held-out queries" in shown


def test_without_held_out_queries_the_row_says_what_to_do():
    with pytest.raises(PocketrecError, match="--folds"):
        make_row("teacher", [Judged([], np.zeros((0, 2)))], np.zeros((0, 2)))
