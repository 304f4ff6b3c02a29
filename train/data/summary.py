"""Counts of a shop's tables, as text and as JSON."""

from dataclasses import dataclass

from train.data.tables import Dropped, Shop


@dataclass(frozen=True)
class ShopSummary:
    """Counts of a shop after cleaning, and what cleaning did."""

    name: str
    digest: str
    products: int
    judged_queries: int
    judgements: int
    users: int
    baskets: int
    purchases: int
    unlabelled_queries: int
    synonyms: int
    image_vector_width: int | None
    dropped: tuple[Dropped, ...]


def summarize(shop: Shop) -> ShopSummary:
    """Count what `shop` holds; a product bought twice in one basket counts as one purchase."""
    baskets = [basket for of_user in shop.baskets.values() for basket in of_user]
    return ShopSummary(
        name=shop.name,
        digest=shop.digest,
        products=len(shop.products),
        judged_queries=len({judgement.query for judgement in shop.judgements}),
        judgements=len(shop.judgements),
        users=len(shop.baskets),
        baskets=len(baskets),
        purchases=sum(len(basket.rows) for basket in baskets),
        unlabelled_queries=len(shop.queries),
        synonyms=len(shop.synonyms),
        image_vector_width=None if shop.image_vectors is None else shop.image_vectors.shape[1],
        dropped=shop.dropped,
    )


def describe(summary: ShopSummary) -> str:
    """Return the summary as lines for a terminal."""
    counts = {
        "products": f"{summary.products:,}",
        "judgements": f"{summary.judgements:,} of {summary.judged_queries:,} queries",
        "purchases": f"{summary.purchases:,} in {summary.baskets:,} baskets of {summary.users:,} users",
        "queries": f"{summary.unlabelled_queries:,} unlabelled",
        "synonyms": f"{summary.synonyms:,} terms",
    }
    if summary.image_vector_width is not None:
        counts["pictures"] = f"vectors of {summary.image_vector_width:,} numbers"
    lines = [f"shop {summary.name} ({summary.digest[:12]})"]
    lines += [f"  {name:<11} {text}" for name, text in counts.items()]
    if summary.dropped:
        lines.append("cleaning:")
        for dropped in summary.dropped:
            places = f" ({'; '.join(dropped.examples)}{' …' if dropped.count > len(dropped.examples) else ''})"
            lines.append(
                f"  {dropped.count:>7,}  {dropped.table}: {dropped.reason}{places if dropped.examples else ''}"
            )
    return "\n".join(lines)
