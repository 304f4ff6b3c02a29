"""Importers on the real data sets: the published counts come out."""

import pytest

from train.data.importers.esci import EsciOptions
from train.data.importing import import_shop
from train.data.reading import read_shop


def test_small_esci_has_its_published_counts(data_folder, tmp_path):
    import_shop("esci", data_folder / "esci_us", tmp_path / "s")
    shop = read_shop(tmp_path / "s")
    assert len(shop.products) == 6_764
    assert len(shop.judgements) == 6_678
    assert len({judgement.query for judgement in shop.judgements}) == 150
    gains = [judgement.gain for judgement in shop.judgements]
    assert [gains.count(gain) for gain in (1.0, 0.1, 0.01, 0.0)] == [3_389, 1_898, 305, 1_086]
    mattress = next(product for product in shop.products if product.product_id == "B0777K9RGX")
    assert (mattress.brand, dict(mattress.attributes)) == ("Signature Design by Ashley", {"color": "White"})
    assert mattress.category.startswith("Home & Kitchen > Furniture > Bedroom Furniture")


def test_further_pairs_join_the_small_esci(data_folder, tmp_path):
    options = EsciOptions(extra_pairs=True, pairs=data_folder / "esci_pairs")
    import_shop("esci", data_folder / "esci_us", tmp_path / "s", options=options)
    shop = read_shop(tmp_path / "s")
    judged = {judgement.query for judgement in shop.judgements}
    assert len(shop.judgements) == 6_678 + 661 + 2_179 - 3 - 1  # three marked rows, one pair that both copies have
    assert len(judged) > 2_000
    assert 6_764 < len(shop.products) <= 6_764 + 2_176
    assert not any("unknown product" in dropped.reason for dropped in shop.dropped)


@pytest.mark.parametrize("folder", ["online_retail", "online_retail/online_retail.parquet"])
def test_online_retail_has_its_products_and_customers(data_folder, tmp_path, folder):
    import_shop("online-retail", data_folder / folder, tmp_path / "s")
    shop = read_shop(tmp_path / "s")
    assert len(shop.products) == 3_659
    assert len(shop.baskets) == 4_335
    assert sum(len(baskets) for baskets in shop.baskets.values()) == 18_405
    assert sum(len(baskets) >= 3 for baskets in shop.baskets.values()) == 1_998
    heart = next(product for product in shop.products if product.product_id == "85123A")
    assert heart.title == "WHITE HANGING HEART T-LIGHT HOLDER"
