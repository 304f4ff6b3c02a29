"""Thirty products in a language of some sixty words, with vectors that can be computed by hand."""

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.bundle import EncoderSpec
from edge_runtime.contract.text import normalize_text
from train.data.tables import Product

DIM = 16
SPEC = EncoderSpec(query_tokens=8, item_tokens=16, history_items=4)
COLORS = ("red", "blue", "green", "black", "white")
THINGS = ("lamp", "table", "chair", "mug", "shirt", "candle")
BRANDS = ("acme", "nordic", "casa")
CATEGORIES = {"lamp": "home > light", "candle": "home > light", "table": "home > furniture",
              "chair": "home > furniture", "mug": "kitchen", "shirt": "clothing"}  # fmt: skip
WORDS = (*COLORS, *THINGS, *BRANDS, "home", "light", "furniture", "kitchen", "clothing", "small", "large", "wooden",
         "steel", "cotton", "smart", "for", "with", "the", "and", "a", "of", "gift", "set")  # fmt: skip
PIECES = ("[PAD]", "[UNK]", *WORDS)


def toy_products(*, price_factor: float = 1.0) -> tuple[Product, ...]:
    """Return the thirty products: p0 "small red lamp" … p29, prices 5.0, 6.0 … times `price_factor`."""
    pairs = [(color, thing) for thing in THINGS for color in COLORS]
    return tuple(
        Product(
            product_id=f"p{row}",
            title=f"{'small' if row % 2 else 'large'} {color} {thing}",
            description=f"a {color} {thing} for the home, number {row}",
            brand=BRANDS[row % len(BRANDS)],
            category=CATEGORIES[thing],
            attributes={"color": color, "material": "steel" if row % 2 else "wooden"},
            price=None if row == 29 else (5.0 + row) * price_factor,
            group=f"seller-{row % 2}",
        )
        for row, (color, thing) in enumerate(pairs)
    )


def piece_vectors() -> npt.NDArray[np.float32]:
    """Return float32 [pieces, DIM]: zero for padding, small for the unknown word, things louder than colors."""
    vectors = np.random.default_rng(7).standard_normal((len(PIECES), DIM)).astype(np.float32)
    vectors[0] = 0
    vectors[1] *= 0.01
    for word in THINGS:
        vectors[PIECES.index(word)] *= 2
    return vectors


def toy_text_vector(text: str, length: int) -> npt.NDArray[np.float32]:
    """Return float32 [DIM], the unit vector that the toy encoder gives for `text`; the oracle of the tests."""
    words = "".join(c if c.isalnum() else f" {c} " for c in normalize_text(text).lower()).split()
    ids = [PIECES.index(word) if word in PIECES else 1 for word in words][:length]
    vector = piece_vectors()[ids].sum(axis=0) if ids else np.zeros(DIM, np.float32)
    norm = np.linalg.norm(vector)
    return vector if norm == 0 else (vector / norm).astype(np.float32)


def toy_item_vectors(products: tuple[Product, ...]) -> npt.NDArray[np.float32]:
    """Return float32 [products, DIM], unit rows."""
    return np.stack([toy_text_vector(product.text, SPEC.item_tokens) for product in products])
