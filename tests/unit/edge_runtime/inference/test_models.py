"""The interpreter, the encoder, the vector index and its exact scan."""

import importlib
import importlib.util
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_runtime import Recommender
from edge_runtime.contract.bundle import CatalogueSpec, EncoderSpec, FusionSpec, VectorSpace
from edge_runtime.contract.errors import BundleFormatError, ConfigError, InputShapeError, ModelLoadError
from edge_runtime.inference.encoder import Encoder, unit
from edge_runtime.inference.interpreter import INTERPRETER_VARIABLE, Model
from edge_runtime.products.rows_database import RowsDatabase
from edge_runtime.search.ranking import best_rows, fuse
from edge_runtime.search.vector_index import Catalogue
from tests.support.toy_bundle import MODELS, make_toy_bundle
from tests.support.toy_shop import DIM, SPEC, toy_item_vectors, toy_products, toy_text_vector

INSTALLED = "litert" if importlib.util.find_spec("ai_edge_litert") else "tflite-runtime"
ENCODER = MODELS / "encoder.tflite"
VECTORS = toy_item_vectors(toy_products())


@pytest.fixture
def bundle(tmp_path: Path):
    return make_toy_bundle(tmp_path / "bundle")


def changed(bundle, **fields: object):
    return type(bundle)(bundle.folder, msgspec.structs.replace(bundle.manifest, **fields), bundle.bundle_id)


def test_wrong_input_is_named_with_what_was_expected() -> None:
    model = Model(ENCODER)
    with pytest.raises(InputShapeError, match=r"takes int32 \[1, 8\], found int32 \[1, 9\]"):
        model.run("encode_query", {"ids": np.zeros((1, 9), np.int32)})
    with pytest.raises(InputShapeError, match=r"takes int32 \[1, 8\], found int64"):
        model.run("encode_query", {"ids": np.zeros((1, 8), np.int64)})
    with pytest.raises(InputShapeError, match=r"takes \['ids'\], found \['words'\]"):
        model.run("encode_query", {"words": np.zeros((1, 8), np.int32)})
    with pytest.raises(InputShapeError, match="it is missing"):
        model.run("rank", {})
    with pytest.raises(InputShapeError, match=r"has no rank\(ids\)"):
        model.input_shape("rank", "ids")
    with pytest.raises(InputShapeError, match=r"has no encode_query\(score\)"):
        model.output_shape("encode_query", "score")


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoder.tflite"
    path.write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(ModelLoadError, match=r"refuses .*encoder.tflite"):
        Model(path)


def test_thread_count_and_interpreter_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="at least 1, found 0"):
        Model(ENCODER, num_threads=0)
    monkeypatch.setenv(INTERPRETER_VARIABLE, "abacus")
    with pytest.raises(ConfigError, match="unknown interpreter 'abacus', expected one of litert, tflite-runtime"):
        Model(ENCODER)
    assert Model(ENCODER, interpreter=INSTALLED).output_shape("encode_item", "vector") == (1, DIM)


def test_missing_interpreter_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> ModuleType:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ModelLoadError, match=r"ai_edge_litert.*pip install ai-edge-litert"):
        Model(ENCODER)


def test_older_interpreter_is_used_when_litert_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module
    asked: list[str] = []

    def only_old(name: str) -> ModuleType:
        asked.append(name)
        if name.startswith("ai_edge_litert"):
            raise ImportError("no litert here")
        return real("ai_edge_litert.interpreter" if INSTALLED == "litert" else name)

    monkeypatch.setattr(importlib, "import_module", only_old)
    assert Model(ENCODER).input_shape("encode_query", "ids") == (1, 8)
    assert asked == ["ai_edge_litert.interpreter", "tflite_runtime.interpreter"]


def test_encoder_agrees_with_arithmetic(bundle) -> None:
    encoder = Encoder(bundle)
    text = "Large  RED lamp, and the smart table for a gift of steel"
    np.testing.assert_allclose(encoder.encode_query(text), toy_text_vector(text, SPEC.query_tokens), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_item(text), toy_text_vector(text, SPEC.item_tokens), atol=1e-5)
    assert not np.allclose(encoder.encode_query(text), encoder.encode_item(text), atol=1e-3)


def test_history_is_cut_to_the_newest_and_padded_in_front(bundle) -> None:
    encoder = Encoder(bundle)
    np.testing.assert_allclose(encoder.encode_history(VECTORS[:9]), unit(VECTORS[5:9].sum(axis=0)), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_history(VECTORS[:1]), VECTORS[0], atol=1e-5)


def test_empty_history_is_zero_whatever_the_model_makes_of_padding(bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(bundle)
    monkeypatch.setattr(encoder._model, "run", lambda *_: {"vector": np.ones((1, DIM), np.float32)})
    assert encoder.encode_history(VECTORS[:1]).any()
    query = encoder.read_history(VECTORS[:0])
    assert not query.vector.any()
    assert query.repeats.shape == (0,)


def test_learned_repeats_are_in_units_of_the_cosine(bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(bundle)
    outputs = {"vector": np.full((1, DIM), 2.0, np.float32), "repeat": np.array([[9, 9, 4, -8]], np.float32)}
    monkeypatch.setattr(encoder._model, "run", lambda *_: outputs)
    monkeypatch.setattr(encoder, "_learned_repeats", True)
    query = encoder.read_history(VECTORS[:2])
    np.testing.assert_allclose(query.repeats, [0.5, -1.0])
    outputs["vector"] = np.full((1, DIM), np.nan, np.float32)
    assert not encoder.read_history(VECTORS[:2]).repeats.any()


@pytest.mark.parametrize(
    "fields",
    [
        {"encoder": EncoderSpec(query_tokens=9, item_tokens=16, history_items=4)},
        {"encoder": EncoderSpec(query_tokens=8, item_tokens=16, history_items=5)},
        {"space": VectorSpace(id="toy-space", dim=17)},
    ],
)
def test_model_that_is_not_what_the_manifest_says_is_refused(bundle, fields: dict[str, Any]) -> None:
    with pytest.raises(BundleFormatError, match="the manifest says"):
        Encoder(changed(bundle, **fields))


def test_repeats_of_another_length_are_refused(bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Model.output_shape
    monkeypatch.setattr(Model, "has_output", lambda *_: True)
    monkeypatch.setattr(Model, "output_shape", lambda *args: (1, 9) if args[2] == "repeat" else real(*args))
    with pytest.raises(BundleFormatError, match=r"gives repeats \[1, 9\], the manifest says \[1, 4\]"):
        Encoder(bundle)


def test_malformed_tokenizer_is_refused(bundle) -> None:
    (bundle.folder / "tokenizer.json").write_text('{"model": 7}')
    with pytest.raises(BundleFormatError, match="is not a tokenizer"):
        Encoder(bundle)


@pytest.mark.parametrize("values", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_vector_without_direction_becomes_zero(values: list[float]) -> None:
    assert unit(np.array(values)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("count", [1, 5, 20, 21, 30, 99])
def test_layer_and_scan_agree_with_brute_force(bundle, count: int) -> None:
    catalogue = Catalogue(bundle)
    assert catalogue.has_index
    query = unit(np.random.default_rng(1).standard_normal(DIM))
    found = catalogue.top(query, count)
    exact = VECTORS.astype(np.float16).astype(np.float32) @ query
    assert found.rows.tolist() == np.argsort(-exact, kind="stable")[:count].tolist()
    np.testing.assert_allclose(found.scores, np.sort(exact)[::-1][:count], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kept", [[], [3], [7, 9, 28], list(range(2, 30))])
def test_only_eligible_rows_are_found(bundle, kept: list[int]) -> None:
    mask = np.zeros(30, dtype=np.bool_)
    mask[kept] = True
    query = unit(np.random.default_rng(2).standard_normal(DIM))
    found = Catalogue(bundle).top(query, 10, eligible=mask)
    expected = sorted(kept, key=lambda row: -float(VECTORS[row] @ query))[:10]
    assert found.rows.tolist() == expected


def test_layer_that_does_not_load_gives_way_to_the_scan(bundle, caplog: pytest.LogCaptureFixture) -> None:
    expected = Recommender(bundle).search("red lamp", k=5)
    (bundle.folder / "catalogue.tflite").write_bytes(b"made for a newer interpreter" * 50)
    with caplog.at_level(logging.WARNING), Recommender(bundle) as recommender:
        assert "every search scans all item vectors" in caplog.text
        answer = recommender.search("red lamp", k=5)
        assert recommender.prove().overlap == 1.0
    assert answer.product_ids == expected.product_ids
    np.testing.assert_allclose(answer.scores, expected.scores, rtol=1e-5)


def test_layer_of_another_shape_is_refused(bundle) -> None:
    with pytest.raises(BundleFormatError, match="has shapes"):
        Catalogue(changed(bundle, catalogue=CatalogueSpec(products=30, candidates=10)))
    (bundle.folder / "catalogue.tflite").write_bytes(ENCODER.read_bytes())
    with pytest.raises(BundleFormatError, match=r"has no top\(query\)"):
        Catalogue(bundle)


@pytest.mark.parametrize("vectors", [VECTORS.astype(np.float32), VECTORS[:29].astype(np.float16), VECTORS[0]])
def test_vectors_of_another_kind_are_refused(bundle, vectors: np.ndarray) -> None:
    np.save(bundle.folder / "item_vectors.npy", vectors)
    with pytest.raises(BundleFormatError, match="expected float16"):
        Catalogue(bundle)


def test_file_that_is_no_array_is_refused_and_never_unpickled(bundle) -> None:
    path = bundle.folder / "item_vectors.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BundleFormatError, match="is not an array"):
        Catalogue(bundle)
    path.write_bytes(b"short")
    with pytest.raises(BundleFormatError, match="is not an array"):
        Catalogue(bundle)


@pytest.mark.parametrize(
    ("named", "said"), [([0, 30], "names rows 0 to 30 of 30"), ([-1, 4], "names rows -1 to 4 of 30")]
)
def test_index_that_names_a_row_outside_is_refused(
    bundle, monkeypatch: pytest.MonkeyPatch, named: list[int], said: str
) -> None:
    catalogue = Catalogue(bundle)
    rows = np.array([named], dtype=np.int32)
    monkeypatch.setattr(catalogue._index, "run", lambda *_: {"rows": rows})
    with pytest.raises(BundleFormatError, match=said):
        catalogue.top(VECTORS[0], 1)


def test_catalogue_that_does_not_open_leaves_no_file_open(bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[RowsDatabase] = []
    real = RowsDatabase.close
    monkeypatch.setattr(RowsDatabase, "close", lambda self: (closed.append(self), real(self))[1])
    wrong = FusionSpec(dense_weight=0.5, field_weights={"smell": 1.0})
    with pytest.raises(BundleFormatError, match="text column 'smell'"):
        Recommender(changed(bundle, fusion=wrong))
    assert len(closed) == 1


def test_ties_go_to_the_lower_row() -> None:
    scores = np.array([1, 2, 2, 2, 0], dtype=np.float32)
    rows = np.array([9, 8, 3, 5, 1], dtype=np.int32)
    assert best_rows(rows, scores, 2).rows.tolist() == [3, 5]
    assert best_rows(rows, scores, 9).rows.tolist() == [3, 5, 8, 9, 1]
    assert best_rows(rows[:0], scores[:0], 3).rows.tolist() == []


def test_fusion_without_words_or_direction_stays_finite() -> None:
    zero, opposite = np.zeros(2, np.float32), np.full(2, -1, np.float32)
    mixed = fuse(zero, zero, dense_weight=0.4, best_cosine=0.0, best_lexical=0.0)
    assert mixed.tolist() == pytest.approx([0.4, 0.4])
    assert np.isfinite(fuse(opposite, zero, dense_weight=0.4, best_cosine=-1.0, best_lexical=0.0)).all()
