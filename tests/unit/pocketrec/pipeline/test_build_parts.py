"""The parts of a build that need no training: what a build depends on, its command, and what its stages hand on."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from compress.measure.quality import unit_rows
from edge_runtime.contract.errors import ConfigError
from pocketrec import verbs
from pocketrec.cli.build import _front_lines
from pocketrec.cli.output import ConsoleReporter
from pocketrec.pipeline.budget import points_json
from pocketrec.pipeline.build import build_bundle, learning_digest
from pocketrec.pipeline.cross_encoder import projection_labels, read_labels, write_labels
from pocketrec.pipeline.history_stages import HistoryStages
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.student_stages import StudentStages, distillation_set
from pocketrec.pipeline.teacher_stages import encode_shop, read_vectors, student_vocabulary
from tests.support.budget_points import point
from tests.support.shop_tables import write_csv_shop
from tests.support.shops import make_shop
from tests.support.tiny_student import DIM, SETTINGS, spelling_tokenizer
from tests.support.toy_shop import toy_item_vectors, toy_products
from train.data.tables import Basket, Judgement
from train.distillation import DistillSettings
from train.models.cross_encoder_training import CrossEncoderSettings
from train.models.history import HistorySettings
from train.models.vocabulary import cut_vocabulary
from train.sampling.hard_negatives import ScoredLists
from train.text.augmentation import TextSettings


def basket(time, *rows):
    return Basket(float(time), np.array(rows, dtype=np.int32))


SHOP = make_shop(
    toy_products(),
    judgements=[Judgement("red lamp", 0, 1.0)],
    baskets={"a": (basket(1, 0, 1), basket(2, 2)), "b": (basket(1, 3, 4, 5, 6), basket(2, 3))},
    queries=["red lamp", "blue chair"],
    synonyms={"lamp": ("light",)},
)


def with_first_product(**changes):
    return replace(SHOP, products=(replace(SHOP.products[0], **changes), *SHOP.products[1:]))


def test_new_prices_sellers_stock_and_pictures_train_nothing_again():
    for shop in (
        with_first_product(price=99.0),
        with_first_product(group="other"),
        with_first_product(in_stock=False, rating=4.5, currency="EUR"),
        with_first_product(
            url="https://shop.example/1", image_url="https://shop.example/1.jpg", extra={"color": "red"}
        ),
        replace(SHOP, name="x", digest="1"),
    ):
        assert learning_digest(shop) == learning_digest(SHOP)


@pytest.mark.parametrize(
    "shop",
    [
        with_first_product(title="small red lamp with shade"),
        with_first_product(product_id="q0"),
        with_first_product(description="another"),
        with_first_product(brand="someone"),
        replace(SHOP, products=SHOP.products[:-1]),
        replace(SHOP, judgements=(Judgement("red lamp", 0, 0.5),)),
        replace(SHOP, judgements=(Judgement("red lamp", 0, 1.0, weight=2.0),)),
        replace(SHOP, judgements=()),
        replace(SHOP, baskets={**SHOP.baskets, "a": (basket(1, 0), basket(2, 2))}),
        replace(SHOP, baskets={**SHOP.baskets, "a": (basket(1, 0, 1), basket(3, 2))}),
        replace(SHOP, queries=("red lamp",)),
        replace(SHOP, synonyms={}),
        replace(SHOP, image_vectors=np.zeros((30, 2), np.float32)),
        replace(SHOP, image_vectors=np.ones((30, 2), np.float32)),
    ],
)
def test_whatever_models_learn_from_counts(shop):
    assert learning_digest(shop) != learning_digest(SHOP)


def test_every_change_of_what_is_learned_counts_differently():
    images = [learning_digest(replace(SHOP, image_vectors=np.full((30, 2), v, np.float32))) for v in (0, 1)]
    assert images[0] != images[1]


@pytest.fixture
def shop_folder(tmp_path):
    return write_csv_shop(tmp_path / "shop")


def refused(capsys, *arguments):
    """Return the one sentence with which `pocketrec build` refuses."""
    assert verbs.main(["build", *map(str, arguments)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("pocketrec build: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize("share", ["-0.1", "1", "1.5", "nan"])
def test_a_holdout_that_is_no_share_is_refused(shop_folder, tmp_path, capsys, share):
    said = refused(capsys, shop_folder, "--out", tmp_path / "bundle", f"--holdout={share}")
    assert "expected a share from 0 to below 1" in said
    assert not (tmp_path / "bundle.build").exists()


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_a_seed_that_no_generator_takes_is_refused(shop_folder, tmp_path, capsys, seed):
    assert f"seed is {seed}, expected" in refused(capsys, shop_folder, "--out", tmp_path / "bundle", f"--seed={seed}")


def test_a_missing_configuration_is_named(shop_folder, tmp_path, capsys):
    said = refused(capsys, shop_folder, "--out", tmp_path / "bundle", "--config", tmp_path / "none.toml")
    assert "none.toml: No such file" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[student]\nlayer = 2", "unknown key student.layer"),
        ("[student]\nheads = 3", "heads is 3, expected a divisor of hidden (128)"),
        ("[texts]\ncount = -1", "count is -1, expected 0 or more"),
        ("holdout = 2.0", "holdout is 2.0"),
        ("[quantize]\nsteps = '9'", "quantize.steps is '9', expected int"),
    ],
)
def test_a_wrong_setting_is_named(shop_folder, tmp_path, capsys, text, message):
    config = tmp_path / "build.toml"
    config.write_text(text)
    assert message in refused(capsys, shop_folder, "--out", tmp_path / "bundle", "--config", config)


def test_a_missing_shop_is_named(tmp_path, capsys):
    assert "nowhere" in refused(capsys, tmp_path / "nowhere", "--out", tmp_path / "bundle")


def test_the_shop_itself_is_never_replaced_by_its_bundle(shop_folder, capsys):
    before = (shop_folder / "products.csv").read_bytes()
    assert "exists and is no bundle" in refused(capsys, shop_folder, "--out", shop_folder)
    assert (shop_folder / "products.csv").read_bytes() == before
    assert not shop_folder.with_name("shop.build").exists()


def test_a_working_folder_of_another_s_is_refused(shop_folder, tmp_path, capsys):
    work = tmp_path / "photos"
    work.mkdir()
    (work / "cat.jpg").write_bytes(b"meow")
    said = refused(capsys, shop_folder, "--out", tmp_path / "bundle", "--work", work)
    assert "cat.jpg is nothing that a build wrote" in said
    assert (work / "cat.jpg").read_bytes() == b"meow"


def test_a_foreign_output_is_refused_before_anything_is_trained(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is no bundle"):
        build_bundle(
            SHOP, tmp_path / "out", BuildSettings(), work=tmp_path / "work", resume=False, reporter=None, created_at=""
        )
    assert not (tmp_path / "work").exists()


def test_the_command_without_a_bundle_is_wrong_usage(shop_folder, capsys):
    with pytest.raises(SystemExit) as stopped:
        verbs.main(["build", str(shop_folder)])
    assert stopped.value.code == 2
    assert "--out" in capsys.readouterr().err


def test_all_commands_offer_json(capsys):
    for verb in ("build", "evaluate", "bench"):
        with pytest.raises(SystemExit):
            verbs.main([verb, "--help"])
        assert "--json" in capsys.readouterr().out


def test_flags_win_over_the_file_and_the_answer_is_json_on_stdout(shop_folder, tmp_path, capsys, monkeypatch):
    config = tmp_path / "build.toml"
    config.write_text("seed = 3\nholdout = 0.5\ndim = 32\n")
    seen = []

    def build(shop, out, settings, *, work, resume, reporter, created_at, remembered):
        seen.append((len(shop.products), out, settings, work, resume))
        reporter.started("teacher")
        reporter.progress("teacher", 1, 2)
        reporter.finished("teacher", "a [bold] :lamp: line", seconds=3.0, reused=False)
        reporter.finished("student", "as before", seconds=3.0, reused=True)
        return FakeBundle(tmp_path)

    monkeypatch.setattr("pocketrec.pipeline.build.build_bundle", build)
    out = tmp_path / "bundle"
    arguments = [
        "build",
        str(shop_folder),
        "--out",
        str(out),
        "--config",
        str(config),
        "--seed",
        "4",
        "--holdout",
        "0.2",
    ]
    assert verbs.main([*arguments, "--teacher", "folder", "--resume", "--json"]) == 0
    products, seen_out, settings, work, resume = seen[0]
    assert (products, seen_out, work, resume) == (3, out, tmp_path / "bundle.build", True)
    assert (settings.seed, settings.holdout, settings.dim, settings.teacher_source) == (4, 0.2, 32, "folder")
    said = capsys.readouterr()
    assert json.loads(said.out) == {"bundle": str(out), "bundle_id": "abc", **FakeBundle.REPORT}
    assert "3 s  a [bold] :lamp: line" in said.err
    assert "kept  as before" in said.err
    assert verbs.main(arguments) == 0
    assert "re-rank nDCG@10 0.500  retrieval nDCG@10 0.250  on 9 held-out queries" in capsys.readouterr().out


def test_the_front_is_a_table_with_a_mark_at_what_was_built():
    points = points_json([point(100_000, 0.01, 0.8), point(200_000, 0.02, 0.9)])
    title, head, first, second = _front_lines({"points": points, "front": [0, 1], "chosen": 1})
    assert title == "Pareto front:"
    assert head.split() == ["bytes", "compressed", "p50", "ms", "re-rank", "retrieval", "retention"]
    assert first.split()[0] == "100,000"
    assert second.startswith("built     200,000")
    assert "0.900 (0.850 … 0.950)  bag 64, 1,000 pieces, int8" in second


@pytest.mark.parametrize(
    ("flag", "value", "code", "message"),
    [
        ("--max-bytes", "many", 2, "is no size"),
        ("--max-latency-ms", "0", 1, "max_latency_ms is 0.0, expected more than 0"),
        ("--min-retention", "1.5", 1, "min_retention is 1.5, expected a share"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(shop_folder, tmp_path, capsys, flag, value, code, message):
    arguments = ["build", str(shop_folder), "--out", str(tmp_path / "bundle"), flag, value]
    try:
        found = verbs.main(arguments)
    except SystemExit as stopped:
        found = stopped.code
    assert found == code
    assert message in capsys.readouterr().err


class FakeBundle:
    bundle_id = "abc"
    REPORT = {  # noqa: RUF012
        "name": "a :lamp: shop",
        "quality": [{"stage": "int8", "rerank_ndcg10": 0.5, "retrieval_ndcg10": 0.25, "queries": 9}],
        "bytes": {"encoder.tflite": 1_000_000},
    }

    def __init__(self, folder):
        self._path = folder / "report.json"
        self._path.write_text(json.dumps(self.REPORT))

    def path(self, _name):
        return self._path


def test_progress_without_a_stage_shows_nothing_and_fails_not(capsys):
    reporter = ConsoleReporter(Console(stderr=True))
    reporter.progress("teacher", 1, 2)
    assert capsys.readouterr() == ("", "")


class FakeTeacher:
    """Answers with a fixed random vector for each text."""

    dim = 24

    def encode(self, texts, *, max_tokens):
        rows = [np.random.default_rng(sum(map(ord, text))).standard_normal(self.dim) for text in texts]
        return unit_rows(np.array(rows).reshape(-1, self.dim))


@pytest.fixture
def encoded(tmp_path, monkeypatch):
    monkeypatch.setattr("pocketrec.pipeline.teacher_stages.Teacher.load", lambda _folder: FakeTeacher())
    settings = BuildSettings(dim=DIM, texts=TextSettings(count=40), student=SETTINGS)
    steps = []
    line, report = encode_shop(tmp_path, tmp_path, SHOP, ["green mug"], settings, lambda *step: steps.append(step))
    return settings, read_vectors(tmp_path), line, report, steps


def test_encoded_texts_come_back_row_by_row(encoded):
    settings, vectors, _, report, steps = encoded
    assert vectors.items.shape == (30, DIM)
    assert vectors.held_out.shape == (1, DIM)
    assert vectors.wide_items.shape == (30, FakeTeacher.dim)
    assert len(vectors.student_texts) == len(vectors.targets) >= 40
    np.testing.assert_allclose(np.linalg.norm(vectors.targets, axis=1), 1, atol=1e-5)
    assert steps[-1][0] == steps[-1][1] == 30 + report["texts"] + 1
    assert report["teacher_dim"] == FakeTeacher.dim
    assert 0 < report["cosine_error"] < 0.3
    again = distillation_set(cut(), settings, vectors, [product.text for product in SHOP.products])
    assert again.query_ids.shape == (len(vectors.student_texts), SETTINGS.query_tokens)
    assert again.item_ids.shape == (30, SETTINGS.item_tokens)


def test_a_query_s_target_is_its_own_vector(encoded):
    _, vectors, *_ = encoded
    row = vectors.student_texts.index("red lamp")
    own = FakeTeacher().encode(["red lamp"], max_tokens=64)[0]
    nearest = np.argmax(vectors.wide_items @ own)
    assert abs(vectors.targets[row] @ vectors.items[nearest] - own @ vectors.wide_items[nearest]) < 0.3


def cut():
    return cut_vocabulary(spelling_tokenizer(), [([product.text for product in SHOP.products], 1.0)], 60).tokenizer


def test_queries_and_items_both_shape_the_vocabulary(tmp_path):
    (tmp_path / "teacher").mkdir()
    spelling_tokenizer().save(str(tmp_path / "teacher" / "tokenizer.json"))
    only_items = student_vocabulary(tmp_path, make_shop(SHOP.products), 500).tokenizer
    assert only_items.token_to_id("z") is None
    with_query = make_shop(SHOP.products, queries=["zz"], judgements=[Judgement("qx", 0, 1.0)])
    tokenizer = student_vocabulary(tmp_path, with_query, 500).tokenizer
    assert None not in (tokenizer.token_to_id("z"), tokenizer.token_to_id("q"), tokenizer.token_to_id("##x"))


TINY = BuildSettings(
    dim=DIM,
    student=SETTINGS,
    distill=DistillSettings(steps=2, batch=4, ranking_items=6),
    prune=replace(BuildSettings().prune, sparsity=0.0),
    history=HistorySettings(items=4, heads=2, hidden=8, steps=2, batch=4),
)


def nothing(_done, _total):
    return None


def test_the_student_comes_back_from_each_of_its_stages(encoded, tmp_path):
    vocabulary = cut_vocabulary(spelling_tokenizer(), [([product.text for product in SHOP.products], 1.0)], 60)
    data = distillation_set(vocabulary.tokenizer, TINY, encoded[1], [product.text for product in SHOP.products])
    stages = StudentStages(TINY, data, vocabulary.tokenizer)
    folders = [tmp_path / name for name in ("student", "prune")]
    for folder in folders:
        folder.mkdir()
    table = np.random.default_rng(0).standard_normal((100, 24)).astype(np.float32)
    line, report = stages.distill(folders[0], vocabulary, table, nothing)
    assert "word pieces" in line
    assert report["vocabulary"] == vocabulary.tokenizer.get_vocab_size()
    assert np.isfinite(report["loss"])
    line, report = stages.prune(folders[0], folders[1], nothing)
    assert (line, report["loss"]) == ("0% of the kernels' weights are zero", None)
    first, second = (stages.encode(stages.student(folder), ["red lamp", "blue chair"]) for folder in folders)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    assert stages.encode(None, []).shape == (0, DIM)


def test_the_history_head_goes_through_its_stages_without_a_purchase(tmp_path):
    stages = HistoryStages(TINY, replace(SHOP, baskets={}), toy_item_vectors(SHOP.products))
    trained, int8 = tmp_path / "history", tmp_path / "history-int8"
    trained.mkdir()
    int8.mkdir()
    line, report = stages.train(trained, nothing)
    assert report["trained"] is False
    assert "recent items count most" in line
    stages.quantize(trained, int8, nothing)
    vectors = stages.item_vectors(trained)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    items = vectors[None, :4]
    output, repeat = stages.quantized(trained, int8)([items, np.ones((1, 4), np.float32)], training=False)
    assert (output.shape, repeat.shape) == ((1, DIM), (1, 4))
    assert float((unit_rows(output.numpy()) @ vectors[:4].T).mean()) > 0.2


def test_labels_of_a_cross_encoder_reach_projection_and_student(tmp_path, monkeypatch):
    monkeypatch.setattr("pocketrec.pipeline.teacher_stages.Teacher.load", lambda _folder: FakeTeacher())
    lists = ScoredLists(["red lamp"], np.array([[0, 1, 2]]), np.array([[3.0, 2.0, 1.0]], np.float32))
    write_labels(tmp_path, lists, {"red lamp": np.array([5]), "blue mug": np.array([], np.int64)})
    labels = read_labels(tmp_path)
    assert {query: rows.tolist() for query, rows in labels.negatives.items()} == {"red lamp": [5], "blue mug": []}
    cross_encoder = CrossEncoderSettings(steps=1, distill_into="both")
    settings = BuildSettings(
        dim=DIM,
        texts=TextSettings(count=40),
        student=SETTINGS,
        cross_encoder=cross_encoder,
    )
    items = []
    for name, one in (("with", labels), ("without", None)):
        (tmp_path / name).mkdir()
        encode_shop(tmp_path / name, tmp_path, SHOP, ["green mug"], settings, nothing, labels=one)
        items.append(read_vectors(tmp_path / name).items)
    assert not np.array_equal(*items)
    vectors = read_vectors(tmp_path / "with")
    data = distillation_set(cut(), settings, vectors, [product.text for product in SHOP.products])
    np.testing.assert_array_equal(data.scored.scores, lists.scores)
    taught = projection_labels(labels, replace(cross_encoder, negatives=False, distill_into="student"))
    assert (taught.lists, dict(taught.negatives)) == (None, {})


def test_only_what_trains_the_cross_encoder_trains_it_again():
    settings = CrossEncoderSettings(steps=9)
    assert replace(settings, distill="margin-mse", negatives=False).of_training == settings.of_training
    assert replace(settings, mined=9).of_training != settings.of_training
