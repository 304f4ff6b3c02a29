from pathlib import Path

import pytest

from benchmarks.device.edge_deadline import _fold_of
from benchmarks.device.edge_targets import AGAINST_PEER, DENSE, HYBRID, LARGE, MEMORY, SMALL, verdict


@pytest.mark.parametrize(
    ("name", "products", "figures", "said"),
    [
        (DENSE, SMALL, {"p50_ms": 0.2}, "p50 ≤ 0.35, aim 0.2: aim"),
        (DENSE, SMALL, {"p50_ms": 0.3}, "p50 ≤ 0.35, aim 0.2: floor"),
        (DENSE, SMALL, {"p50_ms": 0.36}, "p50 ≤ 0.35, aim 0.2: missed"),
        (HYBRID, LARGE, {"p50_ms": 0.9, "p99_ms": 9.0}, "p50 ≤ 3, aim 1: aim; p99 ≤ 8, aim 3: missed"),
        (AGAINST_PEER, LARGE, {"value": 8.5}, "≥ 8, aim 20: floor"),
        (MEMORY, LARGE, {"value": 41.0}, "≤ 40, aim 20: missed"),
        ("facets", LARGE, {"p50_ms": 1.0}, ""),
    ],
)
def test_figure_is_held_against_its_floor_and_aim(
    name: str, products: int, figures: dict[str, float], said: str
) -> None:
    measured = {"p50_ms": None, "p99_ms": None, "value": None} | figures
    assert verdict(name, products, **measured) == said


def test_fold_that_a_bundle_has_not_seen_is_read_from_its_folder() -> None:
    assert _fold_of(Path("/somewhere/fold-3/bundle")) == 3
    assert _fold_of(Path("/somewhere/edge/bundle")) is None
