"""write_catalogue -> Catalogue: what the builder writes is what the device finds."""

from pathlib import Path

import numpy as np
import pytest

from compress.catalogue import vector_index
from compress.catalogue.index_dimensions import narrow_vector_index, sufficient_width
from compress.catalogue.writing import write_catalogue
from compress.errors import CompressionError
from edge_runtime.contract.bundle import TOKENIZER_FILE, Bundle, CatalogueSpec, VectorSpace, describe_file
from edge_runtime.inference.interpreter import Model
from edge_runtime.search.vector_index import Catalogue
from tests.support.toy_bundle import make_toy_bundle, write_toy_tokenizer
from train.data.tables import Product


def unit_rows(count: int, dim: int) -> np.ndarray:
    vectors = np.random.default_rng(3).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def opened(folder: Path, spec: CatalogueSpec, dim: int) -> Catalogue:
    """A catalogue needs of its bundle only the sizes and the files."""
    toy = make_toy_bundle(folder / "toy").manifest
    artifacts = [describe_file(path) for path in folder.iterdir() if path.is_file()]
    changes = {"space": VectorSpace(id="s", dim=dim), "catalogue": spec, "artifacts": artifacts}
    manifest = type(toy)(**{name: changes.get(name, getattr(toy, name)) for name in toy.__struct_fields__})
    return Catalogue(Bundle(folder, manifest, "0" * 64))


@pytest.mark.parametrize(("count", "dim", "candidates"), [(1, 8, 1), (2, 16, 2), (3_000, 64, 100)])
def test_written_layer_finds_the_exact_neighbors(tmp_path: Path, count: int, dim: int, candidates: int) -> None:
    vectors = unit_rows(count, dim)
    spec = write_catalogue(tmp_path, [Product(f"p{row}", f"thing {row}") for row in range(count)], vectors)
    assert spec == CatalogueSpec(products=count, candidates=candidates)
    catalogue = opened(tmp_path, spec, dim)
    assert catalogue.has_index
    found = exact = 0
    for query in unit_rows(20, dim):
        expected = np.argsort(-(vectors.astype(np.float16).astype(np.float32) @ query))[:10]
        found += len(set(catalogue.top(query, 10).rows.tolist()) & set(expected.tolist()))
        exact += len(expected)
    assert found >= 0.99 * exact


def test_layer_of_a_large_catalogue_is_int8(tmp_path: Path) -> None:
    write_catalogue(tmp_path, [Product(f"p{row}", "thing") for row in range(2_000)], unit_rows(2_000, 64))
    assert (tmp_path / "catalogue.tflite").stat().st_size < 1.4 * 2_000 * 64


def test_inputs_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    products = [Product("a", "lamp"), Product("b", "mug")]
    with pytest.raises(CompressionError, match=r"expected item vectors of shape \[2, dim\]"):
        write_catalogue(tmp_path, products, unit_rows(3, 8))
    with pytest.raises(CompressionError, match=r"row 1 has 0\.5000"):
        write_catalogue(tmp_path, products, unit_rows(2, 8) * np.array([[1.0], [0.5]], np.float32))
    with pytest.raises(CompressionError, match="unit length"):
        write_catalogue(tmp_path, products, np.full((2, 8), np.nan, np.float32))
    with pytest.raises(CompressionError, match="candidates must be at least 1"):
        write_catalogue(tmp_path, products, unit_rows(2, 8), candidates=0)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def clustered() -> tuple[np.ndarray, np.ndarray]:
    """Items float32 [17,000, 64] and queries [40, 64] that differ along their first axes far more than along others."""
    random = np.random.default_rng(5)
    spread = (0.9 ** np.arange(64)).astype(np.float32)
    vectors = random.standard_normal((17_040, 64), dtype=np.float32) * spread
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    turned = vectors @ np.linalg.qr(random.standard_normal((64, 64)))[0].astype(np.float32)
    return turned[40:], turned[:40]


@pytest.mark.parametrize(("count", "candidates"), [(4_096, 100), (5_001, 7), (17_000, 200)])
def test_sifting_by_blocks_gives_what_one_top_k_over_all_rows_gives(
    tmp_path: Path,
    clustered: tuple[np.ndarray, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    candidates: int,
) -> None:
    items, queries = clustered
    answers = []
    for number, blocked_from in enumerate((vector_index.BLOCKED_FROM, count + 1)):
        monkeypatch.setattr(vector_index, "BLOCKED_FROM", blocked_from)
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(vector_index.convert_catalogue(items[:count], candidates=candidates))
        model = Model(path)
        answers.append([model.run("top", {"query": query[None]}) for query in queries[:10]])
    for blocked, whole in zip(*answers, strict=True):
        assert np.array_equal(blocked["scores"], whole["scores"])
        assert len(set(blocked["rows"][0].tolist())) == candidates
        assert len(set(blocked["rows"][0].tolist()) & set(whole["rows"][0].tolist())) >= candidates - 2  # equal scores


def test_narrowed_layer_of_a_large_catalogue_finds_what_the_whole_one_finds(
    tmp_path: Path, clustered: tuple[np.ndarray, np.ndarray]
) -> None:
    items, queries = clustered
    write_toy_tokenizer(tmp_path / TOKENIZER_FILE)
    spec = write_catalogue(tmp_path, [Product(f"p{row}", "thing") for row in range(len(items))], items)
    whole = (tmp_path / "catalogue.tflite").stat().st_size
    learned = iter(range(10**6))
    width = narrow_vector_index(
        tmp_path,
        items,
        candidates=spec.candidates,
        encode=lambda _: items[next(learned)],
        texts=[str(one) for one in range(300)],
    )
    assert width < 56
    assert (tmp_path / "catalogue.tflite").stat().st_size < 0.9 * whole
    catalogue = opened(tmp_path, spec, 64)
    assert catalogue.has_index
    found = sum(
        len(set(catalogue.top(query, 10).rows.tolist()) & set(catalogue.scan(query, 10).rows.tolist()))
        for query in queries
    )
    assert found >= 0.99 * 10 * len(queries)


def test_width_is_the_least_that_finds_the_neighbors_and_one_step_more() -> None:
    random = np.random.default_rng(0)
    items = random.normal(size=(2_000, 96)).astype(np.float32)
    queries = random.normal(size=(50, 96)).astype(np.float32)
    queries[:, 40:] = 0.0  # so that 40 axes hold every score, 32 do not
    items, queries = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (items, queries))
    assert sufficient_width(items, np.eye(96, dtype=np.float32), queries, candidates=100) == 48


def test_layer_stays_whole_where_every_axis_counts_or_the_catalogue_is_small(tmp_path: Path) -> None:
    items = unit_rows(20_000, 16)
    write_toy_tokenizer(tmp_path / TOKENIZER_FILE)
    for rows in (items, items[:100]):
        assert narrow_vector_index(tmp_path, rows, candidates=50, encode=lambda _: items[0], texts=["lamp"]) == 16
    assert not (tmp_path / "catalogue.tflite").exists()
