"""Compares an exported float encoder with the int8 encoder of its bundle, on the bundle's golden queries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from compress.measure.quality import unit_rows
from edge_runtime.contract.bundle import GOLDEN_FILE, TOKENIZER_FILE, Bundle
from edge_runtime.contract.golden import read_golden
from edge_runtime.contract.text import normalize_text
from edge_runtime.contract.types import Float32
from edge_runtime.recommender import Recommender

TOP = 10

Encode = Callable[[npt.NDArray[np.int32]], Float32]


@dataclass(frozen=True)
class Agreement:
    """Cosines of both vectors of a query, and the share of the device's first ten products (by vectors) also found."""

    queries: int
    mean_cosine: float
    worst_cosine: float
    top10_overlap: float


def agreement_with_device(
    bundle: Bundle, encode: Encode, items: Float32, product_ids: Sequence[str]
) -> Agreement | None:
    """Compare `encode` with the bundle's int8 encoder; None when the bundle has no golden query of a known token.

    Args:
        bundle: whose encoder, tokenizer and golden queries are taken.
        encode: word ids int32 [1, tokens] -> float32 [1, dim] of any length.
        items: unit vectors float32 [products, dim] among which `encode` finds its products.
        product_ids: of the rows of `items`.

    Raises:
        BundleError: the bundle is damaged.
        InferenceError: its encoder cannot be run here.
    """
    tokenizer = Tokenizer.from_file(str(bundle.path(TOKENIZER_FILE)))
    tokenizer.no_padding()
    tokenizer.enable_truncation(bundle.manifest.encoder.query_tokens)
    cosines, overlaps = [], []
    with Recommender(bundle) as device:
        for query in read_golden(bundle.path(GOLDEN_FILE)).queries:
            ids = tokenizer.encode(normalize_text(query.text)).ids
            if not ids:
                continue
            (vector,) = unit_rows(encode(np.array([ids], np.int32)))
            cosines.append(float(vector @ device.encode_query(query.text)))
            nearest = np.argsort(-(items @ vector), kind="stable")[:TOP]
            expected = device.search(query.text, k=TOP, mode="dense").product_ids
            overlaps.append(len({product_ids[row] for row in nearest} & set(expected)) / len(expected))
    if not cosines:
        return None
    return Agreement(
        queries=len(cosines),
        mean_cosine=float(np.mean(cosines)),
        worst_cosine=min(cosines),
        top10_overlap=float(np.mean(overlaps)),
    )
