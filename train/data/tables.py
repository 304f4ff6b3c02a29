"""The shop in memory: what `read_shop` returns after checking and cleaning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.product_columns import ProductRow
from edge_runtime.contract.text import item_text


@dataclass(frozen=True)
class Product(ProductRow):
    """One product of the shop, with the fields of `ProductRow`; `attributes` are in the order of the table."""

    @property
    def text(self) -> str:
        """The text by which builder and device encode this product."""
        return item_text(title=self.title, brand=self.brand, category=self.category, attributes=self.attributes)


@dataclass(frozen=True)
class Judgement:
    """How relevant product `row` (index into `Shop.products`) is to `query`: gain in 0 … 1, weight > 0."""

    query: str
    row: int
    gain: float
    weight: float = 1.0


Judged = Mapping[str, Sequence[Judgement]]
"""query -> its judgements."""


@dataclass(frozen=True)
class Basket:
    """Products that one user bought at one time: distinct rows into `Shop.products`, in the order of the table."""

    timestamp_s: float
    rows: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Dropped:
    """What cleaning left out or changed: one reason, how often, and the first few places ("products.csv row 7")."""

    table: str
    reason: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Shop:
    """A checked and cleaned shop.

    Attributes:
        name: the folder's name.
        products: at least one, ids distinct, titles not empty, in the order of the table.
        judgements: only of known products; a (query, row) pair at most once.
        baskets: user id -> their baskets, oldest first.
        queries: unlabelled queries, distinct.
        synonyms: term -> its alternatives.
        image_vectors: float32 [products, width], or None.
        dropped: what cleaning did.
        digest: SHA-256 over all that stands above but `name` and `dropped`; equal shops have equal digests.
    """

    name: str
    products: tuple[Product, ...]
    judgements: tuple[Judgement, ...]
    baskets: Mapping[str, tuple[Basket, ...]]
    queries: tuple[str, ...]
    synonyms: Mapping[str, tuple[str, ...]]
    image_vectors: npt.NDArray[np.float32] | None
    dropped: tuple[Dropped, ...]
    digest: str

    def judgements_by_query(self) -> dict[str, list[Judgement]]:
        """Return the judgements of each query, queries in the order in which they first appear."""
        grouped: dict[str, list[Judgement]] = {}
        for judgement in self.judgements:
            grouped.setdefault(judgement.query, []).append(judgement)
        return grouped
