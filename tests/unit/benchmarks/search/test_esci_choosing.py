"""The queries that chose the settings are those that the folds' builds hold out, and no list by hand."""

import pytest

from benchmarks.search.esci_bundle import write_fold_shop
from benchmarks.search.esci_choosing import HELD_OUT, choosing_queries
from benchmarks.search.esci_protocol import load_esci, shop_without
from tests.support.esci_shaped import write_esci_shaped
from train.data.reading import read_shop
from train.data.splits import FOLDS, split_holdout


@pytest.mark.parametrize("share", [HELD_OUT, 0.7])
def test_choosing_queries_are_what_builds_of_the_written_shops_hold_out(tmp_path, monkeypatch, share):
    monkeypatch.setattr("benchmarks.search.esci_choosing.HELD_OUT", share)
    write_esci_shaped(tmp_path / "data")
    data = load_esci(tmp_path / "data")
    held_out = set()
    for fold in range(FOLDS):
        write_fold_shop(shop_without(data, fold), tmp_path / "shop")
        held_out |= set(split_holdout(read_shop(tmp_path / "shop"), share)[1])
    assert choosing_queries(data) == held_out & set(data.judged)
    assert share == HELD_OUT or held_out


def test_a_third_of_the_real_queries_chose_and_most_did_not(real_data):
    data = load_esci(real_data.folder)
    found = len(choosing_queries(data)), len(data.judged)
    assert found == real_data.figure(full=(45, 150), excerpt=(found[0], 5))
