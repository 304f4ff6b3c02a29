"""A small working bundle without TensorFlow: models from the repository, rows and vectors written by the test."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from compress.catalogue.rows import write_catalogue_rows, write_item_vectors
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import (
    ENCODER_FILE,
    GOLDEN_FILE,
    TOKENIZER_FILE,
    VECTOR_INDEX_FILE,
    Bundle,
    CatalogueSpec,
    FusionSpec,
    VectorSpace,
    seal_bundle,
)
from edge_runtime.contract.golden import Golden, read_golden
from edge_runtime.recommender import Recommender
from edge_runtime.updates.self_test import golden_answers
from tests.support.toy_shop import DIM, PIECES, SPEC, toy_item_vectors, toy_products
from train.data.tables import Product

MODELS = Path(__file__).parents[1] / "data" / "toy"
CANDIDATES = 20
QUERIES = ("red lamp", "small wooden chair", "gift for the kitchen", "acme")
HISTORIES = (["p0", "p6"], ["p12"])
FUSION = FusionSpec(dense_weight=0.5, field_weights={"title": 2.0, "description": 0.5})


def make_toy_bundle(
    folder: Path, *, products: Sequence[Product] | None = None, version: int = 1, fusion: FusionSpec = FUSION
) -> Bundle:
    """Write a bundle into `folder` (made when missing) and return it; equal arguments give equal bytes.

    Args:
        folder: where to.
        products: thirty products whose texts are those of `toy_products()`, for the committed index holds their
            vectors; by default these, with prices that depend on `version`.
        version: 1, 2 …: the name, the date and the prices change with it, the models do not.
    """
    products = tuple(products or toy_products(price_factor=float(version)))
    vectors = toy_item_vectors(products)
    if not np.array_equal(vectors, toy_item_vectors(toy_products())):
        raise ValueError("the toy index knows only the vectors of toy_products(); keep the products' texts")
    folder.mkdir(parents=True, exist_ok=True)
    for name in (ENCODER_FILE, VECTOR_INDEX_FILE):
        shutil.copyfile(MODELS / name, folder / name)
    write_toy_tokenizer(folder / TOKENIZER_FILE)
    write_item_vectors(folder, vectors)
    popularity = np.arange(len(products), 0, -1, dtype=np.float32)
    write_catalogue_rows(folder, products, popularity=popularity)
    _write_golden(folder, Golden(min_cosine=0.99, min_overlap=0.9, queries=[], histories=[]))
    with Recommender(_seal(folder, len(products), version, fusion)) as recommender:
        _write_golden(folder, golden_answers(recommender, queries=QUERIES, histories=HISTORIES, k=5))
    return _seal(folder, len(products), version, fusion)


def bundle_with_wrong_golden(folder: Path) -> Bundle:
    """Write a toy bundle whose golden vectors no device can give."""
    make_toy_bundle(folder, version=3)
    golden = read_golden(folder / GOLDEN_FILE)
    turned = [msgspec.structs.replace(one, vector=[-value for value in one.vector]) for one in golden.queries]
    _write_golden(folder, msgspec.structs.replace(golden, queries=turned))
    return _seal(folder, len(toy_products()), 3, FUSION)


def write_toy_tokenizer(path: Path) -> None:
    """Write a tokenizer of whole words: [PAD] = 0, [UNK] = 1."""
    vocabulary = {piece: index for index, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    path.write_text(json.dumps(json.loads(tokenizer.to_str()), sort_keys=True), encoding="utf-8")


def _write_golden(folder: Path, golden: Golden) -> None:
    write_bytes_atomically(folder / GOLDEN_FILE, msgspec.json.encode(golden))


def _seal(folder: Path, products: int, version: int, fusion: FusionSpec) -> Bundle:
    return seal_bundle(
        folder,
        name=f"toy-{version}",
        created_at=f"2026-01-{version:02d}T00:00:00Z",
        config_digest="0" * 64,
        shop_digest="0" * 64,
        space=VectorSpace(id="toy-space", dim=DIM),
        encoder=SPEC,
        catalogue=CatalogueSpec(products=products, candidates=CANDIDATES),
        fusion=fusion,
    )
