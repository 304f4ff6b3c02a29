"""How the arguments of `pocketrec build` are read."""

import argparse

import pytest

from pocketrec.cli.build import parse_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [("1500000", 1_500_000), ("1.5MB", 1_500_000), ("900 kB", 900_000), ("1MiB", 1_048_576), ("1_000", 1_000)],
)
def test_a_size_is_read_with_and_without_a_unit(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "1.5 XB", "-3", "1e6"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is no size"):
        parse_bytes(text)
