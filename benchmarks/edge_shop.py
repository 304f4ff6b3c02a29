"""Catalogues of any size out of a real one: titles, brands and colors recombined, seeded, packed by the real code.

A made product has the head of one real title and the tail of another one, the brand of a third, and so words with the
frequencies and lengths of the real catalogue. Its vector is the mean of its parents' vectors with noise: like real ones
they lie in clusters, and no two are equal.
"""

import math
import shutil
from pathlib import Path

import msgspec
import numpy as np
import numpy.lib.format as npy_format
import numpy.typing as npt

from compress.catalogue import write_catalogue
from edge_runtime.contract.bundle import (
    ENCODER_FILE,
    GOLDEN_FILE,
    ITEM_VECTORS_FILE,
    TOKENIZER_FILE,
    Bundle,
    open_bundle,
    seal_bundle,
)
from train.shop.tables import Product

NOISE = 0.35
"""Length of the noise beside a unit vector."""

_PRICES = (3.0, 200.0)


def made_products(
    real: tuple[Product, ...], count: int, *, seed: int = 0
) -> tuple[tuple[Product, ...], npt.NDArray[np.int64]]:
    """Return `count` products, the real ones first, and their two parents, int64 [count, 2] (a real one is its own).

    Args:
        real: the products to recombine.
        count: how many; the first ones of `real` when it is smaller.
        seed: of every choice.
    """
    rng = np.random.default_rng(seed)
    parents = np.repeat(np.arange(count)[:, None], 2, axis=1)
    made = list(real[:count])
    extra = count - len(made)
    if extra > 0:
        parents[len(made) :] = rng.integers(0, len(real), (extra, 2))
        brands = rng.integers(0, len(real), extra)
        prices = np.exp(rng.uniform(math.log(_PRICES[0]), math.log(_PRICES[1]), extra)).round(2)
        made += [
            _recombined(len(real) + number, real[left], real[right], real[brand], float(price))
            for number, ((left, right), brand, price) in enumerate(
                zip(parents[len(real) :].tolist(), brands.tolist(), prices.tolist(), strict=True)
            )
        ]
    return tuple(made), parents


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


def made_bundle(base: Path, real: tuple[Product, ...], count: int, folder: Path, *, seed: int = 0) -> Bundle:
    """Write a bundle of `count` products with the models of `base` into `folder`; one that is there is kept.

    Args:
        base: a bundle of the products `real`, in their order.
        real: the products to recombine.
        count: how many products.
        folder: where the bundle goes.
        seed: of every choice.

    Raises:
        BundleError: `base` is no bundle, or of other products.
    """
    origin = open_bundle(base)
    source = {"base": origin.bundle_id, "count": count, "seed": seed, "version": 3}
    mark = folder.with_suffix(".source.json")
    if mark.exists() and msgspec.json.decode(mark.read_bytes()) == source:
        return open_bundle(folder, verify=False)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    products, parents = made_products(real, count, seed=seed)
    vectors = np.asarray(npy_format.open_memmap(origin.path(ITEM_VECTORS_FILE), mode="r"), dtype=np.float32)
    for name in (ENCODER_FILE, TOKENIZER_FILE):
        shutil.copyfile(base / name, folder / name)
    shutil.copyfile(base / GOLDEN_FILE, folder / GOLDEN_FILE)
    spec = write_catalogue(
        folder,
        products,
        made_vectors(vectors, parents, seed=seed),
        popularity=np.random.default_rng(seed).zipf(1.5, count).clip(max=1e6).astype(np.float32),
    )
    manifest = origin.manifest
    sealed = seal_bundle(
        folder,
        name=f"{manifest.name}-{count}",
        created_at=manifest.created_at,
        config_digest=manifest.config_digest,
        shop_digest=manifest.shop_digest,
        space=manifest.space,
        encoder=manifest.encoder,
        catalogue=spec,
        fusion=manifest.fusion,
    )
    mark.write_bytes(msgspec.json.encode(source))
    return sealed
