import json
import re

import pytest

from compress.findings import WORST_QUERIES, bundle_findings, exposure_by_group, typo_suite, worst_queries
from compress.report_page import report_page
from edge_runtime.recommender import Recommender
from tests.support.shops import make_shop
from tests.support.toy_bundle import make_toy_bundle
from tests.support.toy_shop import toy_products
from train.shop.tables import Judgement

HOSTILE = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def recommender(tmp_path_factory):
    with Recommender(make_toy_bundle(tmp_path_factory.mktemp("toy"))) as opened:
        yield opened


SHOP = make_shop(toy_products())
TITLES = [product.title for product in SHOP.products]
JUDGED = {
    TITLES[row]: [
        Judgement(TITLES[row], row, 1.0),
        Judgement(TITLES[row], row + 9, 0.0),
        Judgement(TITLES[row], row + 5, 0.2),
    ]
    for row in range(12)
}


def content(recommender, judged, **changes):
    findings = bundle_findings(recommender, SHOP, judged, seed=0)
    stage = {
        "stage": "int8 hybrid", "queries": 12, "rerank_ndcg10": 0.7, "rerank_ci95": [0.6, 0.8],
        "retrieval_ndcg10": 0.65, "retrieval_ci95": [0.5, 0.7],
    }  # fmt: skip
    shop = {"products": 30, "judgements": 36, "queries": 5, "users": 2, "baskets": 3, "dropped": []}
    made = {
        "name": "toy", "created_at": "2026-01-01", "machine": {"processor": "x86_64"}, "shop": shop,
        "quality": [stage] if judged else [], "quality_of": "queries", **findings,
        "stages": {
            "prune": {"seconds": 1.0, "sparsity": {"block0_query": 0.5}},
            "convert": {
                "seconds": 1.0, "shipped": "int8",
                "variants": [{
                    "name": "int8", "bytes": 1_500_000, "compressed_bytes": 900_000, "encode_p50_ms": 0.1,
                    "encode_p99_ms": 0.2, "quality": stage if judged else None, "in_float": {"CAST": 2},
                }],
            },
        },
        "bytes": {"encoder.tflite": 1_500_000, "golden.json": 900}, "settings": {"teacher_source": "minilm"},
    }  # fmt: skip
    return json.loads(json.dumps({**made, **changes}))


def test_the_page_shows_every_part_and_needs_nothing_from_elsewhere(recommender):
    page = report_page(content(recommender, JUDGED))
    for heading in (
        "Quality by stage",
        "Typing errors",
        "Latency",
        "Ways into int8",
        "Size by part",
        "Exposure by group",
        "Worst queries",
    ):
        assert f"<h2>{heading}</h2>" in page
    assert "0.700" in page
    assert "1.50 MB" in page
    assert "CAST × 2" in page
    assert "block0_query" in page
    assert not re.search(r"(src|href|url|@import)\s*[=(]", page)
    assert "<script" not in page


def test_texts_of_the_shop_are_never_markup(recommender):
    made = content(recommender, JUDGED, name=HOSTILE)
    made["worst_queries"][0]["query"] = HOSTILE
    made["worst_queries"][0]["ranked"][0]["title"] = HOSTILE
    made["exposure"] = [{"group": HOSTILE, "exposure_share": 1.0, "merit_share": 0.0}]
    page = report_page(made)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4


def test_without_held_out_queries_the_page_says_what_to_do(recommender):
    made = content(recommender, {})
    assert (made["typo_suite"], made["worst_queries"], made["exposure"]) == ([], [], [])
    assert "Add judgements to the shop" in report_page(made)


def test_typos_are_the_same_in_every_run_and_cost_something(recommender):
    first, again = (typo_suite(recommender, SHOP, JUDGED, seed=3) for _ in range(2))
    assert first == again
    assert [one["mode"] for one in first] == ["dense", "hybrid"]
    for one in first:
        assert one["kept"] == pytest.approx(one["typo_rerank_ndcg10"] / one["rerank_ndcg10"])
        assert one["kept_ci95"][0] <= one["kept"] <= one["kept_ci95"][1]
    assert first[0]["kept"] < 1.0


def test_worst_queries_come_worst_first_with_what_was_wanted(recommender):
    found = worst_queries(recommender, SHOP, JUDGED)
    values = [one["retrieval_ndcg10"] for one in found]
    assert values == sorted(values)
    assert len(found) == WORST_QUERIES
    for one in found:
        assert one["expected"][0]["gain"] == 1.0
        assert one["expected"][0]["title"] == one["query"]


def test_shares_of_exposure_and_merit_add_up(recommender):
    found = exposure_by_group(recommender, SHOP, JUDGED)
    assert sum(one["exposure_share"] for one in found) == pytest.approx(1.0)
    assert sum(one["merit_share"] for one in found) == pytest.approx(1.0)
    alike = make_shop([product for product in toy_products() if product.group == toy_products()[0].group])
    assert exposure_by_group(recommender, alike, {}) == []
