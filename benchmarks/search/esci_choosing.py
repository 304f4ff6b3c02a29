"""The judged queries on which the settings were chosen: those of the ablation and of the comparison of architectures.

Both hold queries out of the *training* queries of each fold. A query is held out by its text, so all folds hold out the
same ones, and most of them are test queries of another fold.
"""

from benchmarks.search.esci_protocol import EsciData, FoldShop, shop_without
from train.data.splits import FOLDS, split_holdout
from train.data.tables import Judgement, Shop

HELD_OUT = 0.3
"""Share of the training queries: more than in a build, since here they are all that judges."""


def choosing_queries(data: EsciData) -> frozenset[str]:
    """Return the test queries that a build with `HELD_OUT` holds out in any fold; the others have chosen nothing."""
    held_out = (split_holdout(_as_shop(shop_without(data, fold)), HELD_OUT)[1] for fold in range(FOLDS))
    return frozenset(query for of_fold in held_out for query in of_fold if query in data.judged)


def _as_shop(shop: FoldShop) -> Shop:
    """Return what `read_shop` makes of the written shop, as far as `split_holdout` looks at it."""
    row_of = {product.product_id: row for row, product in enumerate(shop.products)}
    pairs = {(pair.query, pair.product_id): pair.gain for pair in shop.labelled}
    return Shop(
        name="fold",
        products=shop.products,
        judgements=tuple(Judgement(query, row_of[product_id], gain) for (query, product_id), gain in pairs.items()),
        baskets={},
        queries=shop.queries,
        synonyms={},
        image_vectors=None,
        dropped=(),
        digest="",
    )
