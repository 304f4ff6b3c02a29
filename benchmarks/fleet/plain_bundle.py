"""Valid bundles without a model, for everything that moves bundles without opening them."""

from pathlib import Path

from edge_runtime.contract.bundle import (
    CATALOGUE_FILES,
    GOLDEN_FILE,
    MODEL_FILES,
    Bundle,
    CatalogueSpec,
    EncoderSpec,
    FusionSpec,
    VectorSpace,
    seal_bundle,
)


def write_plain_bundle(folder: Path, *, words: str = "first", encoder: bytes | None = None) -> Bundle:
    """Write a bundle of small files; `words` changes the catalogue, `encoder` the model."""
    folder.mkdir(parents=True)
    for name in (*MODEL_FILES, *CATALOGUE_FILES, GOLDEN_FILE):
        (folder / name).write_bytes(f"{name} ".encode() * 50)
    for name in CATALOGUE_FILES:
        (folder / name).write_bytes(f"{name} {words} ".encode() * 50)
    if encoder is not None:
        (folder / MODEL_FILES[0]).write_bytes(encoder)
    return seal_bundle(
        folder,
        name="toy",
        created_at="2026-01-01T00:00:00+00:00",
        config_digest="0" * 64,
        shop_digest="0" * 64,
        space=VectorSpace(id="space", dim=4),
        encoder=EncoderSpec(query_tokens=8, item_tokens=8, history_items=4),
        catalogue=CatalogueSpec(products=2, candidates=2),
        fusion=FusionSpec(dense_weight=0.5, field_weights={"title": 1.0}),
    )
