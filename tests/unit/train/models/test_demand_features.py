"""Demand: what sells these days, at any moment only from what was known then."""

import numpy as np
import pytest

from train.models.demand_features import CLIP, DAY_S, PERIODS, SIGNALS, Demand, Sale, least_used_directions


def sale(day: float, rows: list[int], owned: tuple[int, ...] = ()) -> Sale:
    return Sale(day * DAY_S, np.array(rows, np.int32), np.array(owned, np.int32))


def demand_of(sales: list[Sale], *, half_life_days: float = 5.0) -> Demand:
    return Demand(sales, products=6, half_life_days=half_life_days)


def test_what_sold_of_late_stands_above_what_sold_long_ago() -> None:
    demand = demand_of([sale(0, [0])] * 20 + [sale(10, [1])] * 6 + [sale(10, [2])])
    of_late, slowly, _ = demand.latest.T
    assert of_late[1] > of_late[0] > of_late[2]
    assert slowly[0] > slowly[1] > slowly[2]


def test_longer_demand_forgets_too_at_a_quarter_of_the_speed() -> None:
    # Two half-lives of the longer demand: six sales of then count less than two of now, and more than one.
    day = 8 * 5.0
    slowly = demand_of([sale(0, [0])] * 6 + [sale(day, [1])] * 2 + [sale(day, [2])]).latest[:, 1]
    assert slowly[1] > slowly[0] > slowly[2]


def test_moment_knows_only_what_was_sold_before() -> None:
    past = [sale(day, [day % 2]) for day in range(50)]
    future = [sale(51, [3]), sale(52, [3, 1])]
    period = demand_of(past + future).period_of(49.0 * DAY_S)
    known = demand_of(past + future).known_at(period)
    assert not known[3].any()
    assert demand_of(past + future).latest[3].any()
    assert not demand_of(past).known_at(0).any()


def test_product_that_nobody_bought_counts_as_average() -> None:
    latest = demand_of([sale(day, [0, 1] if day % 3 else [0]) for day in range(9)]).latest
    assert not latest[2:].any()
    np.testing.assert_allclose(latest[:2].mean(axis=0), 0.0, atol=1e-6)


def test_product_that_comes_back_has_the_higher_return() -> None:
    sales = [sale(day, [0, 2], (0, 1)) for day in range(30)]
    returns = demand_of([sale(-1, [0, 1]), *sales]).latest[:, 2]
    assert returns[0] > returns[1]


def test_signals_are_bounded_and_a_shop_without_sales_has_none() -> None:
    sales = [sale(day, [0]) for day in range(100)] + [sale(99, [1, 2, 3, 4, 5])]
    assert np.abs(demand_of(sales).latest).max() <= CLIP
    assert demand_of([]).latest.tolist() == [[0.0] * SIGNALS] * 6
    with pytest.raises(ValueError, match="half_life_days is 0"):
        demand_of([], half_life_days=0)


def test_periods_divide_the_time_of_the_sales() -> None:
    demand = demand_of([sale(0, [0]), sale(PERIODS, [1])])
    assert [demand.period_of(day * DAY_S) for day in (-1, 0, 0.5, 1, PERIODS, PERIODS * 9)] == [
        0,
        0,
        0,
        1,
        PERIODS - 1,
        PERIODS - 1,
    ]


def test_quiet_directions_are_those_that_no_vector_uses() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    vectors[:, [1, 4]] = 0.0
    quiet = least_used_directions(vectors, 2)
    np.testing.assert_allclose(vectors @ quiet.T, 0.0, atol=1e-5)
    np.testing.assert_allclose(quiet @ quiet.T, np.eye(2), atol=1e-6)
