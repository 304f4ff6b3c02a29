"""Importers on real data: the published counts come out, and of an excerpt those that were counted in its tables."""

import pytest

from train.data.importers.esci import EsciOptions
from train.data.importing import import_shop
from train.data.reading import read_shop


def test_small_esci_has_its_published_counts(real_data, tmp_path):
    import_shop("esci", real_data.folder / "esci_us", tmp_path / "s")
    shop = read_shop(tmp_path / "s")
    assert len(shop.products) == real_data.figure(full=6_764, excerpt=205)
    assert len(shop.judgements) == real_data.figure(full=6_678, excerpt=205)
    assert len({judgement.query for judgement in shop.judgements}) == real_data.figure(full=150, excerpt=5)
    gains = [judgement.gain for judgement in shop.judgements]
    expected = real_data.figure(full=[3_389, 1_898, 305, 1_086], excerpt=[121, 56, 4, 24])
    assert [gains.count(gain) for gain in (1.0, 0.1, 0.01, 0.0)] == expected
    mattress = next(product for product in shop.products if product.product_id == "B0777K9RGX")
    assert (mattress.brand, dict(mattress.attributes)) == ("Signature Design by Ashley", {"color": "White"})
    assert mattress.category.startswith("Home & Kitchen > Furniture > Bedroom Furniture")


def test_further_pairs_join_the_small_esci(real_data, tmp_path):
    options = EsciOptions(extra_pairs=True, pairs=real_data.folder / "esci_pairs")
    import_shop("esci", real_data.folder / "esci_us", tmp_path / "s", options=options)
    shop = read_shop(tmp_path / "s")
    judged = {judgement.query for judgement in shop.judgements}
    # Judged, further Exact and other pairs, without the marked rows and the one pair that both copies have.
    expected = real_data.figure(full=6_678 + 661 + 2_179 - 3 - 1, excerpt=205 + 23 + 53 - 1 - 1)
    assert len(shop.judgements) == expected
    assert len(judged) > real_data.figure(full=2_000, excerpt=70)
    own, other = real_data.figure(full=(6_764, 2_176), excerpt=(205, 53))
    assert own < len(shop.products) <= own + other
    assert not any("unknown product" in dropped.reason for dropped in shop.dropped)


@pytest.mark.parametrize("folder", ["online_retail", "online_retail/online_retail.parquet"])
def test_online_retail_has_its_products_and_customers(real_data, tmp_path, folder):
    import_shop("online-retail", real_data.folder / folder, tmp_path / "s")
    shop = read_shop(tmp_path / "s")
    baskets = list(shop.baskets.values())
    assert len(shop.products) == real_data.figure(full=3_659, excerpt=293)
    assert len(baskets) == real_data.figure(full=4_335, excerpt=24)
    assert sum(map(len, baskets)) == real_data.figure(full=18_405, excerpt=60)
    assert sum(len(of_one) >= 3 for of_one in baskets) == real_data.figure(full=1_998, excerpt=4)
    heart = next(product for product in shop.products if product.product_id == "85123A")
    assert heart.title == "WHITE HANGING HEART T-LIGHT HOLDER"
