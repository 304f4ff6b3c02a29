"""Writes tests/data/conformance: the answers of the Python reference, which every other runtime has to give.

From the repository's root: `python -m tests.support.conformance` (or `make conformance`). Needs no TensorFlow.
"""

import dataclasses
import json
import string
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from edge_runtime import Recommender
from edge_runtime.contract.bundle import FusionSpec, open_bundle
from edge_runtime.contract.cohort import PUBLISHED_VECTORS, bucket, choose
from edge_runtime.contract.text import normalize_text
from edge_runtime.inference.encoder import Encoder
from edge_runtime.recommender import MODES, Recommendations
from edge_runtime.search.pipeline import SORTS
from edge_runtime.search.ranking import fuse
from edge_runtime.search.spelling import edit_distance, fold_word, trigrams_of, words_of
from edge_runtime.search.vector_index import Catalogue

DATA = Path(__file__).parents[1] / "data"
FOLDER = DATA / "conformance"
BUNDLE = DATA / "golden_bundle"

TEXTS = (
    "red lamp", "  Red\tLAMP \n", "Ⅷ ﬁne ½ x²", "a\u200bb\u00adc", "Café Zürich naïve ÅNGSTRÖM", "e\u0301te\u0301 e\u0323\u0301",
    "ﬀ ｆｕｌｌ　ｗｉｄｔｈ", "日本語のランプ", "한국어 램프", "हिन्दी लैंप", "กำลังใจ", "İstanbul Σίσυφος ΟΔΟΣ", "lamp 🪔 👨\u200d👩\u200d👧 red",
    "שלום lamp \u200fred", "snake_case kebab-case it's 3.5mm 1/2\"", "\u0000control\u0007 bell\u001f", "x" * 2_100, "𝒻ancy 𝟛D 𐐷",
    "ß ẞ ŉ ǆ", "\u0345 \u1f80 \u0344", "AC/DC & R&B (50%)", "١٢٣ ٤", "", "   ",
)  # fmt: skip
EDITS = (
    ("lamp", "lamp", 2), ("lamp", "lmap", 1), ("lamp", "lampe", 1), ("tabel", "table", 1), ("chair", "stair", 2), ("abc", "xyz", 2),
    ("kitten", "sitting", 3), ("ca", "abc", 3), ("𝒻oo", "foo", 1), ("chandelier", "chandeleir", 2),
)  # fmt: skip
QUERIES = (
    "red lamp", "small wooden chair", "gift for the kitchen", "acme", "gren lmap", "LARGE steel  table!", "chiar",
    "zzzz qqqq", "the home number 7", "blue", "red red lamp lamp", "nordic whit mug",
)  # fmt: skip
FILTERS: tuple[dict[str, object], ...] = (
    {}, {"brand": "ACME"}, {"price": {"gte": 10, "lt": 20}}, {"category": "home"}, {"attributes.color": ["red", "blue"]},
    {"brand": ["acme", "casa"], "price": {"lte": 30.5}}, {"price": [5, 6]}, {"product_id": ["p3", "p4", "p5"]},
    {"group": "seller-1", "category": "home > light"}, {"brand": "nobody"},
)  # fmt: skip
HISTORIES: tuple[tuple[str, ...], ...] = (
    ("p0", "p6"), ("p12",), (), ("nothing",), ("p1", "nothing", "p2"), ("p3", "p3", "p4"), ("p0", "p1", "p2", "p3", "p4", "p5"),
)  # fmt: skip
PAIRS = (
    ("red lamp", "p0"),
    ("gren lmap", "p2"),
    ("small wooden chair", "p11"),
    ("zzzz lamp", "p4"),
    ("the red lamp red", "p0"),
)

COVERAGE_FUSION = FusionSpec(
    dense_weight=0.6,
    field_weights={"title": 3.0, "attributes": 0.25},
    coverage_weights={"any": 0.5, "title": 0.3, "brand": 1.5},
)


def vectors() -> dict[str, object]:
    """Return file name -> content of every file of the suite."""
    with Recommender.open(BUNDLE) as shop:
        bundle = shop.bundle
        encoder, catalogue = Encoder(bundle), Catalogue(bundle)
        return {
            "text.json": _text(),
            "tokenizer.json": _tokenizer(),
            "cohort.json": _cohort(),
            "encoder.json": _encoder(shop, encoder),
            "catalogue.json": _catalogue(catalogue, encoder),
            "fusion.json": _fusion(),
            "search.json": {"fusion": msgspec.to_builtins(bundle.manifest.fusion), **_search(shop)},
            "search_coverage.json": _search_with_coverage(),
            "explain.json": _explain(shop),
            "orders.json": _orders(shop),
        }


def _search_with_coverage() -> dict[str, object]:
    """Ask the same bundle under weights of coverage, which the golden bundle is too old to have."""
    opened = open_bundle(BUNDLE)
    bundle = dataclasses.replace(opened, manifest=msgspec.structs.replace(opened.manifest, fusion=COVERAGE_FUSION))
    with Recommender(bundle) as shop:
        return {"fusion": msgspec.to_builtins(COVERAGE_FUSION), **_search(shop)}


def _text() -> dict[str, object]:
    words = dict.fromkeys(word for text in TEXTS for word in words_of(normalize_text(text)) if len(word) < 100)
    return {
        "normalize": [{"text": text, "normalized": normalize_text(text)} for text in TEXTS],
        "words": [{"text": text, "words": words_of(normalize_text(text))} for text in TEXTS],
        "fold": [{"word": word, "folded": fold_word(word), "trigrams": trigrams_of(fold_word(word))} for word in words],
        "edits": [
            {"left": left, "right": right, "limit": limit, "distance": edit_distance(left, right, limit=limit)}
            for left, right, limit in EDITS
        ],
    }


def _tokenizer() -> dict[str, object]:
    letters = string.ascii_lowercase + string.digits
    words = (
        "lamp",
        "red",
        "cafe",
        "zurich",
        "fine",
        "cont",
        "ful",
        "##rol",
        "##l",
        "##ing",
        "##s",
        "日",
        "本",
        "&",
        "-",
        ".",
        "/",
    )
    pieces = dict.fromkeys(["[PAD]", "[UNK]", *words, *letters, *(f"##{letter}" for letter in letters)])
    tokenizer = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return {
        "tokenizer": json.loads(tokenizer.to_str()),
        "texts": [
            {"text": text, "ids": tokenizer.encode(normalize_text(text), add_special_tokens=False).ids}
            for text in TEXTS
        ],
    }


def _cohort() -> dict[str, object]:
    devices = [f"device-{number}" for number in range(50)]
    weights = (0.1, 0.25, 0.4)
    return {
        "published": [{"seed": seed, "value": value, "bucket": place} for seed, value, place in PUBLISHED_VECTORS],
        "buckets": [{"seed": "rollout-ä", "value": one, "bucket": bucket("rollout-ä", one)} for one in devices],
        "choices": [{"seed": "test", "value": one, "weights": weights, "choice": choose("test", one, weights)} for one in devices],
    }  # fmt: skip


def _encoder(shop: Recommender, encoder: Encoder) -> dict[str, object]:
    texts = [text for text in (*QUERIES, *TEXTS) if normalize_text(text)]
    return {
        "queries": [{"text": text, "vector": _written(encoder.encode_query(text))} for text in texts],
        "items": [{"text": text, "vector": _written(encoder.encode_item(text))} for text in texts],
        "histories": [{"history": one, "vector": _written(shop.encode_history(one))} for one in HISTORIES],
    }


def _catalogue(catalogue: Catalogue, encoder: Encoder) -> dict[str, object]:
    cases = []
    for text in QUERIES:
        query = encoder.encode_query(text)
        for count, step in ((5, 1), (20, 1), (30, 1), (5, 3)):
            eligible = None if step == 1 else np.arange(len(catalogue)) % step == 0
            ranked = catalogue.top(query, count, eligible=eligible)
            cases.append(
                {
                    "query": _written(query), "count": count, "every": step, "rows": ranked.rows.tolist(),
                    "scores": _written(ranked.scores),
                }
            )  # fmt: skip
    return {"top": cases}


def _fusion() -> dict[str, object]:
    random = np.random.default_rng(5)
    cases = []
    for weight in (0.0, 0.3, 0.75, 1.0):
        for best_lexical in (0.0, 1.7):
            cosines = random.uniform(-1, 0.9, 8).astype(np.float32)
            lexical = (random.uniform(0, 1, 8) * best_lexical).astype(np.float32)
            context = {"dense_weight": weight, "best_cosine": 0.9, "best_lexical": best_lexical}
            fused = fuse(cosines, lexical, **context)
            cases.append(
                {
                    "cosines": cosines.tolist(), "lexical": lexical.tolist(), "scores": fused.tolist(), **context,
                }
            )  # fmt: skip
    return {"fuse": cases}


def _search(shop: Recommender) -> dict[str, object]:
    searches = [
        {"query": query, "mode": mode, "k": 7, "where": where, "exclude": exclude,
         "answer": _answer(shop.search(query, mode=mode, k=7, where=where, exclude=exclude))}
        for query in QUERIES
        for mode in MODES
        for where, exclude in ((FILTERS[0], ()), *((where, ("p0", "p7", "gone")) for where in FILTERS[1:]))
    ]  # fmt: skip
    recommended = [
        {"history": history, "k": 8, "where": where, "exclude": exclude,
         "answer": _answer(shop.recommend(history, k=8, where=where, exclude=exclude))}
        for history in HISTORIES
        for where, exclude in ((FILTERS[0], ()), (FILTERS[1], ("p0",)), (FILTERS[2], history))
    ]  # fmt: skip
    similar = [
        {"product_id": one, "k": 6, "where": where, "answer": _answer(shop.similar(one, k=6, where=where))}
        for one in ("p0", "p13", "p29")
        for where in (FILTERS[0], FILTERS[3])
    ]
    ids = [f"p{row}" for row in range(0, 30, 3)]
    scored = [
        {"query": query, "mode": mode, "product_ids": ids, "scores": _written(shop.score(query, ids, mode=mode))}
        for query in QUERIES
        for mode in MODES
    ]
    return {"search": searches, "recommend": recommended, "similar": similar, "score": scored}


def _orders(shop: Recommender) -> dict[str, object]:
    sorted_pages = [
        {"query": query, "sort": sort, "k": 4, "offset": offset, "where": where,
         "answer": _answer(shop.search(query, sort=sort, k=4, offset=offset, where=where))}
        for query in QUERIES[:6]
        for sort in SORTS
        for offset, where in ((0, FILTERS[0]), (4, FILTERS[3]))
    ]  # fmt: skip
    browsed = [
        {"sort": sort, "k": 5, "offset": offset, "answer": _answer(shop.browse(sort=sort, k=5, offset=offset))}
        for sort in SORTS
        for offset in (0, 27)
    ]
    fields = ("brand", "category", "group", "price", "attributes.color")
    counted = [
        {"query": query, "where": where, "by": fields, "limit": 4, "answer": _facets(shop, query, where, fields)}
        for query in (None, "red lamp", "zzzz qqqq")
        for where in FILTERS[:4]
    ]
    prefixes = ("l", "re", "red la", "small ch", "chiar", "gren lmap", "the ho", "zzz", "", "large red lam")
    suggested = [
        {"prefix": prefix, "answer": [{"text": one.text, "kind": one.kind} for one in shop.suggest(prefix, k=6)]}
        for prefix in prefixes
    ]
    return {"sorted": sorted_pages, "browse": browsed, "facets": counted, "suggest": suggested}


def _facets(
    shop: Recommender, query: str | None, where: dict[str, object], fields: Sequence[str]
) -> dict[str, list[dict[str, object]]]:
    found = shop.facets(query, by=fields, where=where, limit=4)
    return {
        field: [{"value": one.value, "products": one.products, "where": one.where} for one in values]
        for field, values in found.items()
    }


def _explain(shop: Recommender) -> dict[str, object]:
    return {
        "queries": [
            {"query": query, "product_id": one, "answer": _explained(shop, query, one)} for query, one in PAIRS
        ],
        "histories": [
            {"history": history, "product_id": "p6", "answer": _explained_history(shop, history, "p6")}
            for history in HISTORIES
            if "nothing" not in history[:1] and history
        ],
    }


def _explained(shop: Recommender, query: str, product_id: str) -> dict[str, object]:
    found = shop.explain(query, product_id)
    words = [
        {
            "word": one.word,
            "contribution": _rounded(one.contribution),
            "read_as": one.read_as,
            "fields": one.matched_fields,
        }
        for one in found.words
    ]
    return {
        "score": _rounded(found.score), "dense": _rounded(found.dense_part), "lexical": _rounded(found.lexical_part),
        "words": words,
    }  # fmt: skip


def _explained_history(shop: Recommender, history: Sequence[str], product_id: str) -> dict[str, object]:
    found = shop.explain_history(history, product_id)
    items = [{"product_id": one.product_id, "contribution": _rounded(one.contribution)} for one in found.items]
    return {"score": _rounded(found.score), "items": items}


def _answer(found: Recommendations) -> dict[str, object]:
    return {
        "product_ids": found.product_ids, "scores": _written(found.scores), "corrections": dict(found.corrections),
        "unknown_history": found.unknown_history, "cold_start": found.cold_start,
    }  # fmt: skip


def _rounded(value: float) -> float:
    return round(float(value), 6) + 0.0


def _written(values: Any) -> list[float]:
    return [_rounded(value) for value in values]


def encoded(content: object) -> str:
    """Return the text of a file of the suite."""
    return json.dumps(content, ensure_ascii=True, separators=(",", ":")) + "\n"


def main() -> int:
    """Write every file anew."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in vectors().items():
        (FOLDER / name).write_text(encoded(content), encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
