"""The stable hash: published vectors, even shares, nested stages."""

import pytest

from edge_runtime.contract.cohort import BUCKETS, PUBLISHED_VECTORS, bucket, choose, fnv1a_32, in_share

DEVICES = [f"device-{number}" for number in range(20_000)]


@pytest.mark.parametrize(("seed", "value", "expected"), PUBLISHED_VECTORS)
def test_published_vectors_are_met(seed, value, expected):
    assert bucket(seed, value) == expected


@pytest.mark.parametrize(("data", "expected"), [(b"", 0x811C9DC5), (b"a", 0xE40C292C), (b"foobar", 0xBF9CF968)])
def test_fnv_meets_its_own_published_vectors(data, expected):
    assert fnv1a_32(data) == expected


def test_shares_are_even():
    places = [bucket("rollout", device) for device in DEVICES]
    for share in (0.01, 0.05, 0.25, 0.5):
        assert sum(place < share for place in places) / len(places) == pytest.approx(share, abs=0.012)


def test_larger_stage_contains_the_smaller_one():
    small = {device for device in DEVICES[:5_000] if in_share("r", device, 0.01)}
    large = {device for device in DEVICES[:5_000] if in_share("r", device, 0.05)}
    assert small < large


def test_seeds_are_independent():
    both = sum(in_share("one", device, 0.5) and in_share("two", device, 0.5) for device in DEVICES)
    assert both / len(DEVICES) == pytest.approx(0.25, abs=0.012)


def test_whole_fleet_and_nobody():
    assert all(in_share("r", device, 1.0) for device in DEVICES[:500])
    assert not any(in_share("r", device, 0.0) for device in DEVICES[:500])


def test_choice_follows_the_weights_and_leaves_the_rest():
    counts = [0, 0, 0]
    for device in DEVICES:
        arm = choose("experiment", device, [0.3, 0.2])
        counts[2 if arm is None else arm] += 1
    assert [count / len(DEVICES) for count in counts] == pytest.approx([0.3, 0.2, 0.5], abs=0.015)


def test_choice_at_the_edge_is_exact():
    """0.1 + 0.2 is above 0.3 in floating point: the place 0.3 must still lie outside."""
    value = next(str(n) for n in range(10**6) if bucket("edge", str(n)) * BUCKETS == 3_000)
    assert choose("edge", value, [0.1, 0.2]) is None
    assert choose("edge", value, [0.1, 0.2, 0.1]) == 2
