"""Batches for contrastive learning from a shop's tables; does not use TensorFlow.

There are four kinds of examples, and one form of batch: a few left texts, more right texts, and for each left text a
target distribution over the right ones.

- judged lists: a query and up to `list_size` of its judged products, target softmax(gain / gain_temperature);
- positive pairs: a query and one product of gain >= `POSITIVE_GAIN`, the other pairs' products being the negatives;
- co-purchases: two products of one basket, popular ones drawn less often than they were bought;
- the catalogue: a text made from a product (train/text/synthetic_queries.py) and that product.

Every batch also gets random products of the catalogue as negatives, and mined negatives where there are any. A product
that is known to be related to a left text is masked for it when it is in the batch because of another text.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from train.data.tables import Shop
from train.text.synthetic_queries import synthetic_queries

POSITIVE_GAIN = 0.5
"""Products from this gain on answer the query: Exact of ESCI, Exact and Partial of WANDS, grade 3 of 3."""

Kind = Literal["lists", "pairs", "baskets", "catalogue"]
KINDS: tuple[Kind, ...] = ("lists", "pairs", "baskets", "catalogue")
MAX_SYNTHETIC_QUERIES = 20_000
"""More would outweigh what people judged and bought, and take longer than the epochs show them."""


@dataclass(frozen=True)
class BatchShape:
    """How large batches are; the same for every batch of a kind, so that each kind is compiled once.

    `hard`: mined negatives of each judged query in a batch of lists or pairs.
    """

    lists: int = 2
    list_size: int = 24
    pairs: int = 32
    baskets: int = 24
    negatives: int = 8
    gain_temperature: float = 0.25
    hard: int = 0


@dataclass(frozen=True)
class RelevanceBatch:
    """One step's examples.

    Attributes:
        kind: which evidence.
        queries: the left texts as indices into `ContrastiveBatches.queries`; for baskets, rows of products.
        rows: the right texts, rows of products, int64 [right].
        targets: float32 [left, right], each row sums to 1.
        hidden: bool [left, right], right texts that a left text must not see.
        weights: float32 [left], 1 on average over the kind.
    """

    kind: Kind
    queries: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    targets: npt.NDArray[np.float32]
    hidden: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float32]


@dataclass(frozen=True)
class JudgedQuery:
    """A query with its judged products.

    Attributes:
        number: its place among the shop's judged queries.
        text: the query.
        rows: int64 [judged], rows of products.
        gains: float64 [judged].
        weights: float64 [judged].
    """

    number: int
    text: str
    rows: npt.NDArray[np.int64]
    gains: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]


def judged_queries(shop: Shop) -> list[JudgedQuery]:
    """Return the judged queries of `shop` in the order in which they first appear."""
    return [
        JudgedQuery(
            number=number,
            text=text,
            rows=np.array([judgement.row for judgement in judgements], np.int64),
            gains=np.array([judgement.gain for judgement in judgements]),
            weights=np.array([judgement.weight for judgement in judgements]),
        )
        for number, (text, judgements) in enumerate(shop.judgements_by_query().items())
    ]


class ContrastiveBatches:
    """The evidence of one shop.

    Attributes:
        queries: the judged queries, in the order of the table, then the texts made from products.
    """

    def __init__(
        self,
        shop: Shop,
        shape: BatchShape,
        *,
        kinds: Sequence[Kind] = KINDS,
        hard: Mapping[str, npt.NDArray[np.int64]] | None = None,
    ) -> None:
        """Collect the evidence.

        Args:
            shop: the shop.
            shape: sizes of batches.
            kinds: the evidence to use.
            hard: query -> rows of mined negatives (train/sampling/hard_negatives.py).
        """
        self._hard = hard or {}
        self._shape = shape
        self._products = len(shop.products)
        judged = judged_queries(shop)
        # A product once or a few times: a single one has no other to be told from.
        wanted = min(MAX_SYNTHETIC_QUERIES, 2 * self._products) if "catalogue" in kinds and self._products > 1 else 0
        made = synthetic_queries(shop.products, wanted, seed=0)
        self.queries = (*(entry.text for entry in judged), *(text for text, _row in made))
        self._made = [(len(judged) + number, row) for number, (_text, row) in enumerate(made)]
        # A list whose gains are all equal says nothing about order.
        self._lists = [entry for entry in judged if np.ptp(entry.gains) > 0] if "lists" in kinds else []
        positive = [entry for entry in judged if (entry.gains >= POSITIVE_GAIN).any()]
        self._pairs = positive if "pairs" in kinds else []
        baskets = [basket.rows for user in sorted(shop.baskets) for basket in shop.baskets[user]]
        self._baskets = [np.asarray(rows, np.int64) for rows in baskets if len(rows) > 1] if "baskets" in kinds else []
        bought = Counter(row for rows in self._baskets for row in rows.tolist())
        self._rarity = np.array([bought.get(row, 1) ** -0.5 for row in range(self._products)])
        # A long list is visited once for each `list_size` of its products.
        self._visits = np.repeat(
            np.arange(len(self._lists)), [-(-len(entry.rows) // shape.list_size) for entry in self._lists]
        )
        self._list_weight = _mean_weight(self._lists)
        self._pair_weight = _mean_weight(self._pairs)

    @property
    def counts(self) -> dict[Kind, int]:
        """How many judged lists, queries with a positive product, baskets of two products or more, and made texts there are."""
        return {
            "lists": len(self._lists),
            "pairs": len(self._pairs),
            "baskets": len(self._baskets),
            "catalogue": len(self._made),
        }

    def batches_per_epoch(self) -> dict[Kind, int]:
        """How many batches of each kind show everything once.

        Baskets are at most as many as lists and pairs together, made texts at most as many as all others.
        """
        shape = self._shape
        lists = -(-len(self._visits) // shape.lists)
        pairs = -(-len(self._pairs) // shape.pairs)
        baskets = -(-len(self._baskets) // shape.baskets)
        baskets = min(baskets, lists + pairs or baskets)
        made = -(-len(self._made) // shape.pairs)
        others = lists + pairs + baskets
        return {"lists": lists, "pairs": pairs, "baskets": baskets, "catalogue": min(made, others or made)}

    def plan(self, steps: int, *, seed: int) -> list[tuple[Kind, int]]:
        """Return for each step the kind of its batch and the number of that batch within its kind."""
        sizes = self.batches_per_epoch()
        total = sum(sizes.values())
        drawn = np.random.default_rng(seed).choice(len(KINDS), size=steps, p=[sizes[kind] / total for kind in KINDS])
        seen: Counter[Kind] = Counter()
        plan = []
        for number in drawn:
            kind = KINDS[number]
            plan.append((kind, seen[kind]))
            seen[kind] += 1
        return plan

    def batch(self, kind: Kind, number: int, *, seed: int) -> RelevanceBatch:
        """Return batch `number` of a kind; equal arguments give equal batches."""
        random = np.random.default_rng((seed, KINDS.index(kind), number))
        if kind == "lists":
            return self._list_batch(number, seed, random)
        if kind == "pairs":
            return self._pair_batch(number, seed, random)
        return self._basket_batch(number, seed, random) if kind == "baskets" else self._made_batch(number, seed, random)

    def _list_batch(self, number: int, seed: int, random: np.random.Generator) -> RelevanceBatch:
        size = self._shape.list_size
        chosen = self._visits[_turn(len(self._visits), self._shape.lists, number, seed, 0)]
        entries = [self._lists[index] for index in chosen]
        own, masses = [], []
        for entry in entries:
            picked = random.permutation(len(entry.rows))[:size]
            gains = entry.gains[picked]
            mass = entry.weights[picked] * np.exp((gains - gains.max()) / self._shape.gain_temperature)
            # A short list is filled up with random products, which get no mass.
            own.append(np.concatenate([entry.rows[picked], random.integers(0, self._products, size - len(picked))]))
            masses.append(np.pad(mass / mass.sum(), (0, size - len(picked))))
        targets = np.zeros((len(entries), len(entries) * size))
        for index, mass in enumerate(masses):
            targets[index, index * size : (index + 1) * size] = mass
        weights = [entry.weights.mean() / self._list_weight for entry in entries]
        queries = [entry.number for entry in entries]
        return self._assembled("lists", queries, own, targets, [entry.rows for entry in entries], weights, random)

    def _pair_batch(self, number: int, seed: int, random: np.random.Generator) -> RelevanceBatch:
        entries = [self._pairs[index] for index in _turn(len(self._pairs), self._shape.pairs, number, seed, 1)]
        rows, weights, related = [], [], []
        for entry in entries:
            positive = np.flatnonzero(entry.gains >= POSITIVE_GAIN)
            picked = random.choice(positive)
            rows.append(entry.rows[picked : picked + 1])
            weights.append(entry.weights[picked] / self._pair_weight)
            related.append(entry.rows[positive])
        queries = [entry.number for entry in entries]
        return self._assembled("pairs", queries, rows, np.eye(len(entries)), related, weights, random)

    def _basket_batch(self, number: int, seed: int, random: np.random.Generator) -> RelevanceBatch:
        chosen = [self._baskets[index] for index in _turn(len(self._baskets), self._shape.baskets, number, seed, 2)]
        anchors, rows = [], []
        for basket in chosen:
            rarity = self._rarity[basket]
            anchor, other = random.choice(basket, size=2, replace=False, p=rarity / rarity.sum())
            anchors.append(anchor)
            rows.append(np.array([other]))
        return self._assembled("baskets", anchors, rows, np.eye(len(chosen)), chosen, [1.0] * len(chosen), random)

    def _made_batch(self, number: int, seed: int, random: np.random.Generator) -> RelevanceBatch:
        chosen = [self._made[index] for index in _turn(len(self._made), self._shape.pairs, number, seed, 3)]
        rows = [np.array([row]) for _query, row in chosen]
        queries = [query for query, _row in chosen]
        return self._assembled("catalogue", queries, rows, np.eye(len(chosen)), rows, [1.0] * len(chosen), random)

    def _assembled(
        self,
        kind: Kind,
        queries: Sequence[int],
        own: Sequence[npt.NDArray[np.int64]],
        targets: npt.NDArray[np.float64],
        related: Sequence[npt.NDArray[np.int64]],
        weights: Sequence[float],
        random: np.random.Generator,
    ) -> RelevanceBatch:
        negatives = random.integers(0, self._products, self._shape.negatives)
        if kind in ("lists", "pairs") and self._shape.hard:
            mined = [self._mined(self.queries[query], random) for query in queries]
            negatives = np.concatenate([negatives, *mined])
        rows = np.concatenate([*own, negatives])
        targets = np.pad(targets, ((0, 0), (0, len(negatives))))
        hidden = np.stack([np.isin(rows, known) for known in related]) & (targets == 0)
        return RelevanceBatch(
            kind=kind,
            queries=np.asarray(queries, np.int64),
            rows=rows,
            targets=targets.astype(np.float32),
            hidden=hidden,
            weights=np.asarray(weights, np.float32),
        )

    def _mined(self, query: str, random: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return `hard` rows for one query; random ones where fewer were mined."""
        mined = random.permutation(self._hard.get(query, np.zeros(0, np.int64)))[: self._shape.hard]
        return np.concatenate([mined, random.integers(0, self._products, self._shape.hard - len(mined))])


def _mean_weight(lists: Sequence[JudgedQuery]) -> float:
    return float(np.mean([entry.weights.mean() for entry in lists])) if lists else 1.0


def _turn(count: int, size: int, number: int, seed: int, salt: int) -> npt.NDArray[np.int64]:
    """Return which of `count` examples batch `number` shows: everything once per epoch, each epoch in its own order."""
    size = min(size, count)
    places = np.arange(number * size, (number + 1) * size)
    orders = {
        epoch: np.random.default_rng((seed, salt, epoch, count)).permutation(count)
        for epoch in set((places // count).tolist())
    }
    return np.array([orders[place // count][place % count] for place in places.tolist()])
