import errno
import json
import shutil

import numpy as np
import pytest

from compress.measure.quality import StageQuality
from edge_runtime.contract.bundle import ENCODER_FILE, MODEL_CARD_FILE, REPORT_FILE, TOKENIZER_FILE, open_bundle
from edge_runtime.contract.errors import ConfigError, StorageError
from edge_runtime.recommender import Recommender
from pocketrec.pipeline.packing import POPULARITY_HALF_LIFE_S, BuildFacts, install_bundle, pack_bundle, popularity
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.stages import StageResult
from tests.support.file_operations import failing, names
from tests.support.shops import make_shop
from tests.support.toy_bundle import MODELS, make_toy_bundle, write_toy_tokenizer
from tests.support.toy_shop import SPEC, toy_item_vectors, toy_products
from train.data.tables import Basket, Judgement

DAY_S = 86_400.0


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    return [make_toy_bundle(folder / f"v{version}", version=version) for version in (1, 2)]


@pytest.fixture
def old_and_new(toys, tmp_path):
    """An installed bundle and the folder of a newer one."""
    return install_bundle(toys[0].folder, tmp_path / "shop" / "bundle"), toys[1].folder


def test_a_bundle_is_installed_where_nothing_was(toys, tmp_path):
    bundle = install_bundle(toys[0].folder, tmp_path / "deep" / "bundle")
    assert bundle.bundle_id == toys[0].bundle_id
    assert names(tmp_path / "deep") == ["bundle"]


def test_an_older_bundle_is_replaced_whole(old_and_new):
    old, new = old_and_new
    (old.folder / "leftover.txt").write_text("of the old bundle")
    installed = install_bundle(new, old.folder)
    assert installed.manifest.name == "toy-2"
    assert names(installed.folder) == names(new)
    assert names(old.folder.parent) == ["bundle"]


@pytest.mark.parametrize("place", ["shutil.copyfile", "os.fsync", "Path.mkdir"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_keeps_the_old_bundle_and_leaves_no_half_one(old_and_new, monkeypatch, place, number):
    old, new = old_and_new
    with monkeypatch.context() as patch:
        patch.setattr(f"pocketrec.pipeline.packing.{place}", failing(number))
        with pytest.raises(StorageError, match=r"cannot write .*bundle"):
            install_bundle(new, old.folder)
    assert open_bundle(old.folder).bundle_id == old.bundle_id
    assert names(old.folder.parent) == ["bundle"]


def test_a_disk_that_fills_up_halfway_leaves_no_half_bundle(old_and_new, monkeypatch):
    old, new = old_and_new
    copied = []
    copy = shutil.copyfile

    def copy_three(source, target):
        if len(copied) == 3:
            raise OSError(errno.ENOSPC, "no")
        copied.append(copy(source, target))

    monkeypatch.setattr("pocketrec.pipeline.packing.shutil.copyfile", copy_three)
    with pytest.raises(StorageError, match="No space left"):
        install_bundle(new, old.folder)
    assert open_bundle(old.folder).bundle_id == old.bundle_id
    assert names(old.folder.parent) == ["bundle"]


def test_a_rename_that_fails_puts_the_old_bundle_back(old_and_new, monkeypatch):
    old, new = old_and_new
    rename = type(new).rename

    def rename_all_but_the_new(path, target):
        if path.name.endswith(".new"):
            raise OSError(errno.EACCES, "no")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr("pocketrec.pipeline.packing.Path.rename", rename_all_but_the_new)
        with pytest.raises(StorageError, match="Permission denied"):
            install_bundle(new, old.folder)
    assert open_bundle(old.folder).bundle_id == old.bundle_id
    assert names(old.folder.parent) == ["bundle"]


def test_a_bundle_that_a_kill_left_beside_its_place_is_not_lost(old_and_new, monkeypatch):
    old, new = old_and_new
    old.folder.rename(old.folder.with_name(".bundle.old"))
    monkeypatch.setattr("pocketrec.pipeline.packing.shutil.copyfile", failing(errno.ENOSPC))
    with pytest.raises(StorageError):
        install_bundle(new, old.folder)
    assert open_bundle(old.folder).bundle_id == old.bundle_id


def test_leftovers_of_a_killed_install_are_cleared(old_and_new):
    old, new = old_and_new
    (old.folder.with_name(".bundle.new")).mkdir()
    (old.folder.with_name(".bundle.new") / "half").write_text("x")
    (old.folder.with_name(".bundle.old")).mkdir()
    assert install_bundle(new, old.folder).manifest.name == "toy-2"
    assert names(old.folder.parent) == ["bundle"]


@pytest.mark.parametrize("name", ["thesis.txt", "products.csv"])
def test_a_folder_that_is_no_bundle_is_never_replaced(toys, tmp_path, name):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("years of work")
    with pytest.raises(ConfigError, match="mine exists and is no bundle; give another --out"):
        install_bundle(toys[0].folder, tmp_path / "mine")
    assert (tmp_path / "mine" / name).read_text() == "years of work"


def test_a_file_is_never_replaced(toys, tmp_path):
    (tmp_path / "mine").write_text("a letter")
    with pytest.raises(ConfigError, match="is no bundle"):
        install_bundle(toys[0].folder, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "a letter"


def test_an_empty_folder_becomes_the_bundle(toys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert install_bundle(toys[0].folder, tmp_path / "empty").bundle_id == toys[0].bundle_id


def basket(days, *rows):
    return Basket(days * DAY_S, np.array(rows, dtype=np.int32))


def test_popularity_halves_every_ninety_days_before_the_newest_basket():
    assert POPULARITY_HALF_LIFE_S == 90 * DAY_S
    shop = make_shop(
        toy_products()[:4],
        baskets={"a": (basket(820, 0), basket(1000, 1, 2)), "b": (basket(910, 0, 1), basket(1000, 2))},
    )
    found = popularity(shop)
    np.testing.assert_allclose(found, [0.25 + 0.5, 0.5 + 1, 2, 0])
    assert found.dtype == np.float32


def test_without_baskets_nothing_is_popular():
    assert not popularity(make_shop(toy_products()[:4])).any()


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The folder of a pack stage over the toy models, and what the stage said."""
    folder = tmp_path_factory.mktemp("pack")
    encoder = folder / "encoder"
    encoder.mkdir()
    shutil.copyfile(MODELS / ENCODER_FILE, encoder / ENCODER_FILE)
    write_toy_tokenizer(encoder / TOKENIZER_FILE)
    products = toy_products()
    held_out = {
        title: [
            Judgement(title, row, 1.0),
            Judgement(title, (row + 7) % 30, 0.0),
            Judgement(title, (row + 3) % 30, 0.3),
        ]
        for row, title in enumerate(product.title for product in products[:4])
    }
    shop = make_shop(products, baskets={"a": (basket(1, 0, 6), basket(2, 1))}, queries=["red lamp", "acme"])
    facts = BuildFacts(
        shop=shop,
        held_out=held_out,
        settings=BuildSettings(candidates=20),
        encoder_folder=encoder,
        encoder_spec=SPEC,
        item_vectors=toy_item_vectors(products),
        space_id="toy",
        quality=[
            StageQuality(
                stage="student", queries=4, rerank_ndcg10=0.5, rerank_ci95=(0.4, 0.6),
                retrieval_ndcg10=0.3, retrieval_ci95=(0.2, 0.4),
            )
        ],
        stages=[StageResult(folder / "teacher", "key", {"loss": 0.1}, 12.34)],
        created_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    (folder / "bundle").mkdir()
    (folder / "bundle" / "half.bin").write_text("of a run that was killed")
    steps = []
    line, report = pack_bundle(folder, facts, lambda *step: steps.append(step))
    return folder / "bundle", line, report, steps


def test_the_packed_bundle_is_whole_and_proves_itself(packed):
    folder, line, report, steps = packed
    bundle = open_bundle(folder)
    assert "half.bin" not in names(folder)
    with Recommender(bundle) as recommender:
        recommender.prove()
        assert recommender.recommend(["p0"], k=3).product_ids
    assert report["bytes"] == sum(artifact.length_bytes for artifact in bundle.manifest.artifacts)
    assert f"{len(bundle.manifest.artifacts)} files" in line
    assert steps[-1] == (4, 4)


def test_golden_answers_hold_the_held_out_queries_and_the_histories(packed):
    golden = json.loads((packed[0] / "golden.json").read_bytes())
    texts = json.dumps(golden)
    assert "large red lamp" in texts
    assert len(golden["queries"]) == 24
    assert len(golden["histories"]) == 1


def test_the_report_tells_every_stage_and_the_card_shows_it(packed):
    report = json.loads((packed[0] / REPORT_FILE).read_bytes())
    stages = [row["stage"] for row in report["quality"]]
    assert stages == ["student", "int8", "full-text search", "int8 hybrid"]
    assert report["stages"] == {"teacher": {"seconds": 12.3, "loss": 0.1}}
    assert report["shop"] | {"dropped": None} == {
        "products": 30, "judgements": 0, "queries": 2, "users": 1, "baskets": 2, "dropped": None,
    }  # fmt: skip
    assert report["bytes"][ENCODER_FILE] == (packed[0] / ENCODER_FILE).stat().st_size
    card = (packed[0] / MODEL_CARD_FILE).read_text()
    assert "30 products of this shop" in card
    assert "| student | 4 | 0.500 (0.400 … 0.600) | 0.300 (0.200 … 0.400) |" in card


def test_the_fusion_weight_is_the_one_that_was_learned(packed):
    report = json.loads((packed[0] / REPORT_FILE).read_bytes())
    assert open_bundle(packed[0]).manifest.fusion.dense_weight == report["fusion"]["dense_weight"]
