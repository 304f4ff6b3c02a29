"""Writes the catalogue: item vectors and product rows -> three files of the bundle."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from compress.catalogue.rows import write_catalogue_rows, write_item_vectors
from compress.catalogue.vector_index import convert_catalogue
from compress.errors import CompressionError
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import VECTOR_INDEX_FILE, CatalogueSpec
from edge_runtime.contract.types import Float32
from train.data.tables import Product


def write_catalogue(
    folder: Path,
    products: Sequence[Product],
    item_vectors: Float32,
    *,
    candidates: int = 100,
    popularity: npt.NDArray[np.floating] | None = None,
    queries: Mapping[str, float] | None = None,
) -> CatalogueSpec:
    """Write `catalogue.tflite`, `item_vectors.npy` and `catalogue.sqlite` into `folder`.

    Each file is written whole or not at all; stopped halfway, some of the three may be new and some old, and the
    folder has no manifest that names them.

    Args:
        folder: where the bundle is put together.
        products: one product for each row.
        item_vectors: float32 [products, dim], rows of unit length.
        candidates: how many rows the vector index returns for a query; fewer when there are fewer products.
        popularity: float [products], the order in which a device without history shows them.
        queries: query -> weight, suggested to people while they type.

    Raises:
        CompressionError: the inputs do not fit together, or the converter refuses the graph.
        StorageError: the disk is full, read-only or not permitted.
    """
    if item_vectors.ndim != 2 or len(item_vectors) != len(products):
        raise CompressionError(
            f"expected item vectors of shape [{len(products)}, dim], one for each product, found {item_vectors.shape}"
        )
    norms = np.linalg.norm(item_vectors, axis=1)
    if not np.all(np.abs(norms - 1) < 1e-3):
        worst = int(np.argmax(np.abs(norms - 1)))
        raise CompressionError(
            f"item vectors must have unit length, row {worst} has {norms[worst]:.4f}; normalize them"
        )
    if candidates < 1:
        raise CompressionError(f"candidates must be at least 1, found {candidates}")
    spec = CatalogueSpec(products=len(products), candidates=min(candidates, len(products)))
    write_catalogue_rows(folder, products, popularity=popularity, queries=queries)
    write_item_vectors(folder, item_vectors)
    index = convert_catalogue(np.ascontiguousarray(item_vectors, np.float32), candidates=spec.candidates)
    write_bytes_atomically(folder / VECTOR_INDEX_FILE, index)
    return spec
