"""Batches for the history head: pairs of a purchase history and the basket that followed it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_runtime.contract.types import Float32, Int32
from train.data.tables import Basket
from train.models.demand_features import SIGNALS, Demand, Sale

NO_ITEM = -1
"""Row of an empty slot of a history."""

MIN_BASKET_TO_SPLIT = 4
"""A smaller basket, cut in two, leaves too little on one side to say what goes together."""

MIN_BASKETS_TO_HOLD_OUT = 3
"""Without its last basket such a user still has a pair to learn from."""


@dataclass(frozen=True)
class HistoryPair:
    """The rows that a user had bought, oldest first and repeats included, and the rows of the basket after that.

    `time_s` is when that basket was bought.
    """

    history: Int32
    basket: Int32
    time_s: float


@dataclass(frozen=True)
class HistoryData:
    """What trains and what validates.

    Attributes:
        pairs: (history, next basket), several a user.
        baskets: baskets of at least `MIN_BASKET_TO_SPLIT` products; each is split in two to train on what goes together, also
            from users with one basket only.
        held_out: the last pair of some users with at least `MIN_BASKETS_TO_HOLD_OUT` baskets; trains nothing.
        held_out_baskets: the baskets behind each held-out history, oldest first.
        popularity: float32 [products], in how many of the training baskets a product is.
        sales: every training basket, for `Demand`.
    """

    pairs: tuple[HistoryPair, ...]
    baskets: tuple[Basket, ...]
    held_out: tuple[HistoryPair, ...]
    held_out_baskets: tuple[tuple[Int32, ...], ...]
    popularity: Float32
    sales: tuple[Sale, ...]


def history_data(
    baskets: Mapping[str, Sequence[Basket]], *, products: int, held_out_share: float, seed: int
) -> HistoryData:
    """Make pairs of every user's baskets and hold out the last basket of a random share of the users."""
    random = np.random.default_rng(seed)
    pairs: list[HistoryPair] = []
    whole: list[Basket] = []
    sales: list[Sale] = []
    held_out: list[HistoryPair] = []
    held_out_baskets: list[tuple[Int32, ...]] = []
    popularity = np.zeros(products, dtype=np.float32)
    for user in sorted(baskets):
        learned = list(baskets[user])
        rows = [basket.rows for basket in learned]
        if len(rows) >= MIN_BASKETS_TO_HOLD_OUT and random.random() < held_out_share:
            held_out.append(HistoryPair(np.concatenate(rows[:-1]), rows[-1], learned[-1].timestamp_s))
            held_out_baskets.append(tuple(rows[:-1]))
            learned.pop()
        owned = np.zeros(0, dtype=np.int32)
        for number, basket in enumerate(learned):
            one, time_s = basket.rows, basket.timestamp_s
            if number:
                pairs.append(HistoryPair(np.concatenate(rows[:number]), one, time_s))
            if len(one) >= MIN_BASKET_TO_SPLIT:
                whole.append(basket)
            sales.append(Sale(time_s, one, owned))
            owned = np.union1d(owned, one)
            popularity[one] += 1
    return HistoryData(tuple(pairs), tuple(whole), tuple(held_out), tuple(held_out_baskets), popularity, tuple(sales))


def history_slots(histories: Sequence[Int32 | Sequence[int]], length: int) -> Int32:
    """Return int32 [histories, length]: the newest `length` rows of each, newest last, `NO_ITEM` in front."""
    slots = np.full((len(histories), length), NO_ITEM, dtype=np.int32)
    for index, history in enumerate(histories):
        newest = np.asarray(history, dtype=np.int32)[-length:]
        if len(newest):
            slots[index, -len(newest) :] = newest
    return slots


def history_batch(histories: Sequence[Int32 | Sequence[int]], vectors: Float32, length: int) -> tuple[Float32, Float32]:
    """Return the inputs of the history head, as a device makes them.

    Args:
        histories: rows into `vectors`, oldest first, repeats included.
        vectors: float32 [products, dim], unit rows.
        length: slots of a history.

    Returns:
        `items` float32 [histories, length, dim] with zeros in front, and `mask` float32 [histories, length], 1 = an item.
    """
    return history_inputs(history_slots(histories, length), vectors)


def history_inputs(slots: Int32, vectors: Float32) -> tuple[Float32, Float32]:
    """Return `items` and `mask` (see `history_batch`) of slots int32 [histories, length]."""
    mask = (slots != NO_ITEM).astype(np.float32)
    return vectors[slots] * mask[:, :, None], mask


class NextBasketBatches:
    """Batches by step number.

    A batch is: slots int32 [batch, length], see `history_slots`; places int32 [batch, length], where each slot's
    product stands among the candidates, or `NO_ITEM`; repeatable float32 [batch], 0.0 for a basket cut in two, which
    holds a product once and so says nothing about repeats; candidates int32 [n]; targets float32 [batch, n]; signals
    float32 [products, SIGNALS], the demand that was known before the batch's baskets were bought, which are all of one
    period, or zeros without a demand.

    Candidates are what the softmax runs over: all products, or, of more than `max_candidates`, those in the batch's
    baskets and a random sample of the others. Each row of targets sums to 1, unless the candidates have no room.
    """

    def __init__(
        self,
        data: HistoryData,
        *,
        length: int,
        batch: int,
        split_share: float,
        max_candidates: int,
        seed: int,
        demand: Demand | None = None,
    ) -> None:
        """Remember what to draw from; `data` must hold a pair or a basket.

        Args:
            data: from `history_data`.
            length: slots of a history.
            batch: rows of a batch.
            split_share: share of the rows that are one basket cut in two.
            max_candidates: at most so many products in one softmax.
            seed: equal seeds give equal batches.
            demand: what gives the signals; None for zeros.
        """
        self._products = len(data.popularity)
        self._length = length
        self._batch = batch
        self._split_share = split_share
        self._candidates = min(max_candidates, self._products)
        self._seed = seed
        self._demand = demand
        self._periods = _by_period(data, demand)
        sizes = np.array([len(one.pairs) for one in self._periods], dtype=np.float64)
        if not data.pairs:
            sizes = np.array([len(one.baskets) for one in self._periods], dtype=np.float64)
        self._shares = sizes / sizes.sum()

    def __call__(self, step: int) -> tuple[Any, ...]:
        """Return the batch of `step`."""
        random = np.random.default_rng((self._seed, step))
        period = self._periods[int(random.choice(len(self._periods), p=self._shares))]
        drawn = [self._draw(period, random) for _ in range(self._batch)]
        pairs = [pair for pair, _ in drawn]
        repeatable = np.array([repeats for _, repeats in drawn], dtype=np.float32)
        candidates = self._draw_candidates(pairs, random)
        # One place more than products, so that NO_ITEM finds itself at the end.
        place = np.full(self._products + 1, NO_ITEM, dtype=np.int32)
        place[candidates] = np.arange(len(candidates))
        targets = np.zeros((self._batch, len(candidates)), dtype=np.float32)
        for index, pair in enumerate(pairs):
            found = place[pair.basket]
            targets[index, found[found >= 0]] = 1.0 / len(pair.basket)
        slots = history_slots([pair.history for pair in pairs], self._length)
        return slots, place[slots], repeatable, candidates, targets, self._signals(period.number)

    def _signals(self, period: int) -> Float32:
        if self._demand is None:
            return np.zeros((self._products, SIGNALS), dtype=np.float32)
        return self._demand.known_at(period)

    def _draw(self, period: "_Period", random: np.random.Generator) -> tuple[HistoryPair, bool]:
        """Return a pair, and whether it says anything about repeats."""
        if period.baskets and (not period.pairs or random.random() < self._split_share):
            basket = period.baskets[random.integers(len(period.baskets))]
            rows = random.permutation(basket.rows)
            cut = int(random.integers(1, len(rows) - 1))
            return HistoryPair(rows[:cut], rows[cut:], basket.timestamp_s), False
        return period.pairs[random.integers(len(period.pairs))], True

    def _draw_candidates(self, pairs: Sequence[HistoryPair], random: np.random.Generator) -> Int32:
        if self._candidates == self._products:
            return np.arange(self._products, dtype=np.int32)
        wanted = random.permutation(np.unique(np.concatenate([pair.basket for pair in pairs])))[: self._candidates]
        others = np.setdiff1d(np.arange(self._products), wanted)
        sample = random.choice(others, self._candidates - len(wanted), replace=False)
        return np.sort(np.concatenate([wanted, sample])).astype(np.int32)


@dataclass(frozen=True)
class _Period:
    number: int
    pairs: list[HistoryPair]
    baskets: list[Basket]


def _by_period(data: HistoryData, demand: Demand | None) -> list[_Period]:
    """Return what to draw from, by the period of the demand; one period without a demand."""
    if demand is None:
        return [_Period(0, list(data.pairs), list(data.baskets))]
    periods: dict[int, _Period] = {}

    def period_at(time_s: float) -> _Period:
        number = demand.period_of(time_s)
        return periods.setdefault(number, _Period(number, [], []))

    for pair in data.pairs:
        period_at(pair.time_s).pairs.append(pair)
    for basket in data.baskets:
        period_at(basket.timestamp_s).baskets.append(basket)
    return [periods[number] for number in sorted(periods)]
