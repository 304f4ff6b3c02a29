import json
import re

import pytest

from compress.report.charts import pareto_picture, quality_scale, tenths
from compress.report.diagnostics import WORST_QUERIES, bundle_diagnostics, typo_suite, worst_queries
from compress.report.fairness import cost_of_bounds, exposure_by_group, rank_all
from compress.report.page import quality_rows, report_page
from edge_runtime.recommender import Recommender
from pocketrec.pipeline.budget import points_json
from pocketrec.pipeline.report import model_card
from tests.support.budget_points import point
from tests.support.shops import make_shop
from tests.support.toy_bundle import make_toy_bundle
from tests.support.toy_shop import toy_products
from train.data.tables import Judgement

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
    diagnostics = bundle_diagnostics(recommender, SHOP, judged, seed=0)
    stage = {
        "stage": "int8 hybrid", "queries": 12, "rerank_ndcg10": 0.7, "rerank_ci95": [0.6, 0.8],
        "retrieval_ndcg10": 0.65, "retrieval_ci95": [0.5, 0.7],
    }  # fmt: skip
    shop = {"products": 30, "judgements": 36, "queries": 5, "users": 2, "baskets": 3, "dropped": []}
    made = {
        "name": "toy", "created_at": "2026-01-01", "machine": {"processor": "x86_64"}, "shop": shop,
        "quality": [stage] if judged else [], "quality_of": "queries", **diagnostics, "budget": None,
        "stages": {
            "prune": {"seconds": 1.0, "sparsity": {"block0_query": 0.5}},
            "convert": {
                "seconds": 1.0, "shipped": "int8", "verdict": ["Training in int8 does not pay here."],
                "inside": [
                    {"name": "student/word", "shape": [8000, 128], "dtype": "int8", "bytes": 1_024_000, "zeros": 0.01},
                    {"name": "student/block0_query", "shape": [128, 128], "dtype": "int8", "bytes": 16_384, "zeros": 0.5},
                    {"name": "history/query", "shape": [128, 512], "dtype": "int8", "bytes": 65_536, "zeros": 0.1},
                ],
                "variants": [{
                    "name": "int8", "bytes": 1_500_000, "compressed_bytes": 900_000, "encode_p50_ms": 0.1,
                    "encode_p99_ms": 0.2, "quality": stage if judged else None, "operations": 40,
                    "in_float": {"CAST": 2}, "float_places": ["CAST student/padding"],
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
        "Size against quality",
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
    assert "<code>CAST student/padding</code>" in page
    assert "2 of 40 operations" in page
    assert re.search(r"student/block0_query</td>.*128 × 128.*50%", page)
    assert "Training in int8 does not pay here." in page
    assert "What a bound would cost" in page
    assert "history head" in page
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
    found = exposure_by_group(rank_all(recommender, JUDGED), SHOP, JUDGED)
    assert sum(one["exposure_share"] for one in found) == pytest.approx(1.0)
    assert sum(one["merit_share"] for one in found) == pytest.approx(1.0)
    alike = make_shop([product for product in toy_products() if product.group == toy_products()[0].group])
    assert exposure_by_group({}, alike, {}) == []


def test_a_tighter_bound_shares_exposure_better_and_its_cost_is_told(recommender):
    free = rank_all(recommender, JUDGED)
    rows = cost_of_bounds(recommender, SHOP, JUDGED, free)
    assert [row["max_ratio"] for row in rows] == [None, 2.0, 1.5, 1.25, 1.0]
    assert (rows[0]["cost"], rows[0]["cost_ci95"]) == (0.0, (0.0, 0.0))
    for row in rows[1:]:
        assert row["cost"] == pytest.approx(rows[0]["retrieval_ndcg10"] - row["retrieval_ndcg10"])
        assert row["cost_ci95"][0] <= row["cost"] <= row["cost_ci95"][1]
    assert cost_of_bounds(recommender, make_shop([]), {}, {}) == []


def searched():
    """Return what a search for a budget reports: two shapes to the end, one of them beaten, one for a short time."""
    small = point(100_000, 0.01, 0.80)
    points = [small, point(200_000, 0.02, 0.90), point(300_000, 0.05, 0.85), point(150_000, None, 0.5, complete=False)]
    return {
        "limits": {"max_bytes": 250_000, "max_latency_ms": None, "min_retention": None},
        "points": points_json(points), "chosen": 1, "front": [0, 1], "queries": 12, "by_teacher": False,
        "optimism": 0.0123,
    }  # fmt: skip


def test_the_page_shows_what_a_search_for_a_budget_found(recommender):
    page = report_page(content(recommender, JUDGED, budget=searched()))
    assert page.count('class="mark ') == 4
    for kind in ("built", "front", "other", "short"):
        assert f'class="mark {kind}"' in page
    assert "● bag 64, 1,000 pieces, int8" in page
    assert "max_bytes 250000" in page
    assert "0.012 of retention" in page
    by_teacher = report_page(content(recommender, JUDGED, budget={**searched(), "by_teacher": True}))
    assert "Too few judged queries were held out" in by_teacher


def test_larger_stands_to_the_right_and_better_stands_higher(recommender):
    picture = pareto_picture(content(recommender, JUDGED, budget=searched()))
    built = next(mark for mark in picture.marks if mark.kind == "built")
    front = next(mark for mark in picture.marks if mark.kind == "front")
    assert built.x > front.x
    assert built.y < front.y
    assert picture.marks[-1] is built
    assert picture.line == f"{front.x},{front.y} {built.x},{built.y}"
    for mark in picture.marks:
        assert mark.high <= mark.y <= mark.low
    assert len(picture.x_ticks) >= 2
    assert [tick.at for tick in picture.y_ticks] == sorted((tick.at for tick in picture.y_ticks), reverse=True)


def test_without_quality_there_is_no_picture(recommender):
    assert pareto_picture(content(recommender, {})) is None
    assert "Size against quality" not in report_page(content(recommender, {}))


def test_stages_that_changed_nothing_are_named_and_not_drawn(recommender):
    made = content(recommender, JUDGED)
    first = made["quality"][0]
    made["quality"] = [first, {**first, "stage": "left alone"}, {**first, "stage": "moved", "rerank_ndcg10": 0.01}]
    shown, idle = quality_rows(made["quality"])
    assert ([row["stage"] for row in shown], idle) == ([first["stage"], "moved"], ["left alone"])
    page = report_page(made)
    assert "Changed nothing, and not shown: left alone." in page
    assert 'aria-label="left alone' not in page


def test_the_scale_of_quality_holds_every_interval():
    rows = [{"rerank_ci95": [0.42, 0.61], "retrieval_ci95": [0.35, 0.58]}]
    scale = quality_scale(rows)
    assert (scale.low, scale.high) == (0.3, 0.7)
    assert [tick.label for tick in tenths(scale)] == ["0.3", "0.4", "0.5", "0.6", "0.7"]
    assert (scale(0.3), scale(0.5), scale(0.9)) == (0.0, 50.0, 100.0)


def card(recommender, **changes):
    full = {
        "teacher_source": "minilm", "dim": 128, "variant": "int8",
        "student": {"architecture": "bert", "layers": 2, "hidden": 64, "vocabulary": 8000},
        "prune": {"sparsity": 0.5},
    }  # fmt: skip
    digests = {"config_digest": "c" * 64, "shop_digest": "d" * 64}
    return model_card({**content(recommender, JUDGED, settings=full), **digests, **changes})


def test_the_card_says_what_a_user_must_know(recommender):
    text = card(recommender)
    for heading in ("Intended use", "Data", "Training", "Ranking quality", "Limits", "License", "Size"):
        assert f"\n## {heading}\n" in text
    for said in (
        "c" * 16,
        "all-MiniLM-L6-v2 is Apache-2.0",
        "a bert of 2 layers, 64 wide",
        "50% of the dense weights",
        "| int8 hybrid | 12 | 0.700 (0.600 … 0.800) |",
        "keeps",
        "times a group's merit",
    ):
        assert said in text


def test_the_card_owns_up_to_what_it_does_not_know(recommender):
    text = card(recommender, quality=[], typo_suite=[], exposure=[])
    assert "Unknown: no judged query was held out" in text
    searched_for = card(recommender, budget=searched())
    assert "chosen among 4 points on 12 queries, which flatters its retention by about 0.012" in searched_for
