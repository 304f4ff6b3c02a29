"""Synthetic catalogues of any size from a real one: titles, brands and colors recombined, seeded, packed as by a build.

A synthetic product has the start of one real title, the end of another one and the brand of a third. So its words have
the frequencies and lengths of the real catalogue. Its vector is the mean of its parents' vectors with noise: like real
ones they form clusters, and no two are equal.
"""

import contextlib
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.lib.format as npy_format
import numpy.typing as npt
import pyarrow.parquet as pq

from compress.catalogue.index_dimensions import narrow_vector_index
from compress.catalogue.writing import write_catalogue
from edge_runtime.contract.bundle import (
    CATALOGUE_ROWS_FILE,
    ENCODER_FILE,
    GOLDEN_FILE,
    ITEM_VECTORS_FILE,
    MANIFEST_FILE,
    TOKENIZER_FILE,
    Bundle,
    CatalogueSpec,
    open_bundle,
    seal_bundle,
)
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.golden import read_golden
from edge_runtime.products.product_rows import ProductRows
from edge_runtime.products.rows_database import RowsDatabase
from edge_runtime.recommender import Recommender
from edge_runtime.updates.self_test import golden_answers
from pocketrec.pipeline.stages import digest_of
from train.data.tables import Product

NOISE = 0.35
"""Length of the noise beside a unit vector."""

_PRICES = (3.0, 200.0)


def real_queries(data: Path, count: int) -> list[str]:
    """Return distinct queries of real people, those without judgements in `esci_us`.

    Raises:
        ConfigError: the data are missing.
    """
    path = data / "esci_pairs" / "pairs_us.parquet"
    if not path.is_file():
        raise ConfigError(f"{path} is missing; POCKETREC_DATA must name the folder that holds esci_pairs and esci_us")
    return list(dict.fromkeys(pq.read_table(path).column("query").to_pylist()))[:count]


def parents_of(real: int, count: int, *, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return the two parents of each product, int64 [count, 2]; one of the first `real` is its own."""
    parents = np.repeat(np.arange(count)[:, None], 2, axis=1)
    parents[real:] = np.random.default_rng(seed).integers(0, real, (max(0, count - real), 2))
    return parents


def made_products(real: tuple[Product, ...], parents: npt.NDArray[np.int64], *, seed: int = 0) -> tuple[Product, ...]:
    """Return a product for each pair of `parents` (`parents_of`): the real ones first.

    Args:
        real: the products to recombine.
        parents: int64 [count, 2].
        seed: of brands and prices.
    """
    made = list(real[: len(parents)])
    extra = len(parents) - len(made)
    rng = np.random.default_rng(seed + 1)
    brands = rng.integers(0, len(real), extra)
    prices = np.exp(rng.uniform(math.log(_PRICES[0]), math.log(_PRICES[1]), extra)).round(2)
    made += [
        _recombined(len(real) + number, real[left], real[right], real[brand], float(price))
        for number, ((left, right), brand, price) in enumerate(
            zip(parents[len(real) :].tolist(), brands.tolist(), prices.tolist(), strict=True)
        )
    ]
    return tuple(made)


def _recombined(number: int, left: Product, right: Product, brand: Product, price: float) -> Product:
    head, tail = left.title.split(), right.title.split()
    title = " ".join([*head[: max(1, (len(head) + 1) // 2)], *tail[len(tail) // 2 :]])
    return Product(
        product_id=f"made-{number}",
        title=title,
        description=left.description,
        brand=brand.brand,
        category=left.category or right.category,
        attributes=right.attributes,
        price=price,
    )


def made_vectors(
    real: npt.NDArray[np.float32], parents: npt.NDArray[np.int64], *, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Return unit vectors float32 [count, dim] of made products: those of real ones, and noisy means of two parents."""
    rng = np.random.default_rng(seed)
    vectors = real[parents[:, 0]] + real[parents[:, 1]]
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    made = parents[:, 0] != parents[:, 1]
    noise = rng.standard_normal((int(made.sum()), real.shape[1]), dtype=np.float32)
    vectors[made] += NOISE * noise / np.sqrt(np.float32(real.shape[1]))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def products_of(bundle: Bundle) -> tuple[Product, ...]:
    """Return the products of a bundle as its rows show them, in their order."""
    with contextlib.closing(RowsDatabase(bundle.path(CATALOGUE_ROWS_FILE))) as database:
        rows = ProductRows(database, products=bundle.manifest.catalogue.products)
        found = [rows.product(row) for row in range(bundle.manifest.catalogue.products)]
    return tuple(
        Product(
            product_id=one.product_id,
            title=one.title,
            description=one.description,
            brand=one.brand,
            category=one.category,
            attributes=one.attributes,
            price=one.price,
            group=one.group,
        )
        for one in found
    )


def product_ids_of(bundle: Bundle) -> list[str]:
    """Return the product id of each row."""
    with contextlib.closing(RowsDatabase(bundle.path(CATALOGUE_ROWS_FILE))) as database:
        return [one for (one,) in database.fetch("SELECT product_id FROM products ORDER BY row")]


def made_bundle(base: Path, count: int, folder: Path, *, texts: Sequence[str] = (), seed: int = 0) -> Bundle:
    """Write a bundle of `count` products with the models of `base` into `folder`; one that is there is kept.

    Args:
        base: a bundle of real products.
        count: how many products.
        folder: where the bundle goes.
        texts: queries by which the axes of a large catalogue's vector index are chosen; without any it keeps all axes.
        seed: of every choice.

    Raises:
        BundleError: `base` is no bundle.
    """
    origin = open_bundle(base)
    source = {"base": origin.bundle_id, "count": count, "seed": seed, "texts": digest_of(list(texts)), "version": 7}
    mark = folder.with_suffix(".source.json")
    if mark.exists() and msgspec.json.decode(mark.read_bytes()) == source:
        return open_bundle(folder, verify=False)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    real = products_of(origin)
    parents = parents_of(len(real), count, seed=seed)
    products = made_products(real, parents, seed=seed)
    vectors = np.asarray(npy_format.open_memmap(origin.path(ITEM_VECTORS_FILE), mode="r"), dtype=np.float32)
    for name in (ENCODER_FILE, TOKENIZER_FILE):
        shutil.copyfile(base / name, folder / name)
    shutil.copyfile(base / GOLDEN_FILE, folder / GOLDEN_FILE)  # until the made bundle can be asked
    item_vectors = made_vectors(vectors, parents, seed=seed)
    spec = write_catalogue(
        folder,
        products,
        item_vectors,
        popularity=np.random.default_rng(seed).zipf(1.5, count).clip(max=1e6).astype(np.float32),
    )
    with Recommender(origin) as shop:
        narrow_vector_index(folder, item_vectors, candidates=spec.candidates, encode=shop.encode_query, texts=texts)
    sealed = _sealed(folder, origin, spec)
    queries = [one.text for one in read_golden(origin.path(GOLDEN_FILE)).queries]
    with Recommender(sealed) as made:
        golden = golden_answers(made, queries=queries)
    (folder / GOLDEN_FILE).write_bytes(msgspec.json.encode(golden))
    (folder / MANIFEST_FILE).unlink()
    sealed = _sealed(folder, origin, spec)
    mark.write_bytes(msgspec.json.encode(source))
    return sealed


def _sealed(folder: Path, origin: Bundle, spec: CatalogueSpec) -> Bundle:
    manifest = origin.manifest
    return seal_bundle(
        folder,
        name=f"{manifest.name}-{spec.products}",
        created_at=manifest.created_at,
        config_digest=manifest.config_digest,
        shop_digest=manifest.shop_digest,
        space=manifest.space,
        encoder=manifest.encoder,
        catalogue=spec,
        fusion=manifest.fusion,
    )
