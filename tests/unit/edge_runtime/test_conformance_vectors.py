"""The committed conformance vectors are what the reference answers today; `make conformance` writes them anew."""

import json

import pytest

from tests.support.conformance import FOLDER, encoded, vectors

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def answered():
    return {name: json.loads(encoded(content)) for name, content in vectors().items()}


def differences(found, expected, place=""):
    """Yield where two JSON values differ, numbers by more than another machine's rounding."""
    if isinstance(expected, float) and isinstance(found, float):
        if abs(found - expected) > TOLERANCE:
            yield f"{place}: {found} is not {expected}"
    elif isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            yield from differences(one, other, f"{place}[{index}]")
    elif isinstance(expected, dict) and isinstance(found, dict) and found.keys() == expected.keys():
        for key in expected:
            yield from differences(found[key], expected[key], f"{place}.{key}")
    elif found != expected:
        yield f"{place}: {str(found)[:80]} is not {str(expected)[:80]}"


def test_the_committed_vectors_are_the_answers_of_the_reference(answered):
    committed = {path.name: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
    assert committed.keys() == answered.keys()
    found = [text for name in committed for text in differences(answered[name], committed[name], name)]
    assert found == [], "the reference answers otherwise; if it should, write them anew with: make conformance"


def test_the_suite_covers_every_mode_filter_and_way_of_asking(answered):
    search = answered["search.json"]
    assert {case["mode"] for case in search["search"]} == {"hybrid", "dense", "lexical"}
    assert sum(case["answer"]["cold_start"] for case in search["search"] + search["recommend"]) > 5
    assert sum(bool(case["answer"]["corrections"]) for case in search["search"]) > 20
    assert sum(not case["answer"]["product_ids"] for case in search["search"]) > 5
    assert any(case["answer"]["unknown_history"] for case in search["recommend"])
