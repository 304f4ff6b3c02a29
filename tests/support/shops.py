"""Small shops in memory."""

from train.data.tables import Shop


def make_shop(products, *, judgements=(), baskets=None, queries=(), synonyms=None):
    """Return a shop of these tables."""
    return Shop(
        name="small",
        products=tuple(products),
        judgements=tuple(judgements),
        baskets=dict(baskets or {}),
        queries=tuple(queries),
        synonyms=dict(synonyms or {}),
        image_vectors=None,
        dropped=(),
        digest="0" * 64,
    )
