"""write_catalogue -> Catalogue: what the builder writes is what the device finds."""

from pathlib import Path

import numpy as np
import pytest

from compress.catalogue import write_catalogue
from compress.errors import CompressionError
from edge_runtime.catalogue import Catalogue
from edge_runtime.contract.bundle import Bundle, CatalogueSpec, VectorSpace, describe_file
from tests.support.toy_bundle import make_toy_bundle
from train.shop.tables import Product


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
    assert catalogue.has_layer
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
