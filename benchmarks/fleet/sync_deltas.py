"""Size of the deltas of a retrained model and of a changed catalogue.

    python -m benchmarks.fleet.sync_deltas [BUNDLE] [--retrained NEW] [--changed 0.01] [--seed 0]

prints a row of JSON for each file: the delta that `pocketrec publish` would sign, against the whole file and against
the file compressed. BUNDLE is any bundle; without one the sample shop is built once, in build/bench-sync, and retrained
once on the clicks of simulated people. The catalogue is written again, as it is and with a share of its products
changed (new words and vectors, new prices, added, removed, a third of each); `--retrained` names a bundle that
`pocketrec retrain` made from BUNDLE.
"""

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from benchmarks.fleet.learning_loop import parse_arguments, teach
from compress.catalogue.writing import write_catalogue
from edge_runtime.contract.bundle import (
    CATALOGUE_FILES,
    ITEM_VECTORS_FILE,
    MANIFEST_FILE,
    MODEL_FILES,
    Bundle,
    open_bundle,
)
from edge_runtime.contract.delta import apply_delta
from edge_runtime.contract.types import Float32
from pocketrec.cli_subprocess import run_command
from pocketrec.pipeline.demo import SETTINGS as DEMO_SETTINGS
from pocketrec.pipeline.settings import RetrainSettings
from pocketrec.publishing.deltas import make_delta
from train.data.tables import Product

SAMPLE = Path(__file__).parents[2] / "build" / "bench-sync"
SCENARIOS = ("prices", "changed", "added", "removed", "mixed")


def file_rows(name: str, old: Path, new: Path, files: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Give a row for each of `files` that differs between two folders, and one for all of them.

    Args:
        name: of what was changed.
        old: folder of the files that a device has.
        new: folder of the files that it is to have.
        files: names.
    """
    total = {"delta_bytes": 0, "full_bytes": 0, "compressed_bytes": 0}
    for file in files:
        base, result = (old / file).read_bytes(), (new / file).read_bytes()
        row = {"delta_bytes": 0, "full_bytes": len(result), "compressed_bytes": _compressed(result)}
        started, kind = time.process_time(), "same"
        if base != result:
            delta = make_delta(base, result)
            kind = delta.kind if delta is not None else "full"
            row["delta_bytes"] = len(delta.data) if delta is not None else len(result)
            made_s, started = time.process_time() - started, time.process_time()
            if delta is not None and apply_delta(base, delta.data, kind=kind, result_bytes=len(result)) != result:
                raise ValueError(f"the delta of {file} does not make the file")
            yield _row(name, file, row) | {
                "kind": kind,
                "made_cpu_s": round(made_s, 2),
                "applied_cpu_s": round(time.process_time() - started, 3),
            }
        total = {key: total[key] + row[key] for key in total}
    yield _row(name, "all", total)


def _row(name: str, file: str, sizes: dict[str, int]) -> dict[str, Any]:
    return {
        "change": name,
        "file": file,
        **sizes,
        "of_full": sizes["delta_bytes"] / sizes["full_bytes"],
        "of_compressed": sizes["delta_bytes"] / sizes["compressed_bytes"],
    }


def _compressed(data: bytes) -> int:
    return len(zstandard.ZstdCompressor(level=19).compress(data))


def catalogue_rows(bundle: Bundle, *, share: float, seed: int) -> Iterator[dict[str, Any]]:
    """Give the rows of a catalogue of which `share` of the products changed, for each of `SCENARIOS`."""
    products, vectors, popularity = read_catalogue(bundle)
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "old"
        old.mkdir()
        write_catalogue(old, products, vectors, popularity=popularity)
        for scenario in SCENARIOS:
            new = Path(folder) / scenario
            new.mkdir()
            changed = _change(products, vectors, popularity, scenario, share=share, seed=seed)
            write_catalogue(new, changed[0], changed[1], popularity=changed[2])
            yield from file_rows(f"catalogue, {share:.0%} {scenario}", old, new, CATALOGUE_FILES)


def read_catalogue(bundle: Bundle) -> tuple[list[Product], Float32, Float32]:
    """Return a bundle's products in the order of its rows, their vectors float32 [products, dim], and popularities."""
    columns = "product_id, title, description, brand, category, attributes, price, product_group, popularity"
    path = bundle.path("catalogue.sqlite")
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
        rows = database.execute(f"SELECT {columns} FROM products ORDER BY row").fetchall()
    products = [
        Product(
            product_id=row[0],
            title=row[1],
            description=row[2],
            brand=row[3],
            category=row[4],
            attributes=json.loads(row[5]),
            price=row[6],
            group=row[7],
        )
        for row in rows
    ]
    vectors = np.load(bundle.path(ITEM_VECTORS_FILE)).astype(np.float32)
    return products, _unit(vectors), np.array([row[8] for row in rows], np.float32)


def _unit(vectors: Float32) -> Float32:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / lengths).astype(np.float32)


def _change(
    products: list[Product], vectors: Float32, popularity: Float32, scenario: str, *, share: float, seed: int
) -> tuple[list[Product], Float32, Float32]:
    chance = np.random.default_rng(seed)
    count = max(3, round(share * len(products)))
    chosen = chance.choice(len(products), count, replace=False).tolist()
    thirds = {"mixed": (chosen[0::3], chosen[1::3], chosen[2::3])}
    parts = {"changed": (chosen, [], []), "added": ([], chosen, []), "removed": ([], [], chosen), **thirds}
    if scenario == "prices":
        new = list(products)
        for row in chosen:
            new[row] = replace(new[row], price=round((new[row].price or 10.0) * 0.9, 2))
        return new, vectors, popularity
    changed, added, removed = parts[scenario]
    new, moved = list(products), vectors.copy()
    for row in changed:
        # The title of another product stands for a rewritten text.
        other = products[int(chance.integers(len(products)))]
        new[row] = replace(new[row], title=f"{new[row].title} {other.title.split(' ')[0]}")
        moved[row] += 0.1 * chance.standard_normal(vectors.shape[1])
    kept = [row for row in range(len(products)) if row not in set(removed)]
    more = [replace(products[row], product_id=f"new-{products[row].product_id}") for row in added]
    near = vectors[added] + 0.1 * chance.standard_normal((len(added), vectors.shape[1]))
    all_vectors = np.concatenate([moved[kept], near.astype(np.float32)])
    return (
        [*(new[row] for row in kept), *more],
        _unit(all_vectors),
        np.concatenate([popularity[kept], popularity[added]]),
    )


def delta_rows(
    bundle: Path, *, retrained: Path | None = None, share: float = 0.01, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Give all rows.

    Args:
        bundle: folder of any bundle.
        retrained: folder of a bundle that was trained on from it.
        share: how much of the catalogue changes.
        seed: of the choice of products.
    """
    opened = open_bundle(bundle)
    yield from catalogue_rows(opened, share=share, seed=seed)
    if retrained is not None:
        yield from file_rows("model, retrained", bundle, open_bundle(retrained).folder, MODEL_FILES)


def sample_bundle(folder: Path = SAMPLE) -> Path:
    """Return a bundle of the sample shop under `folder`, built with the demo's settings unless it is there."""
    bundle = folder / "bundle"
    if not (bundle / MANIFEST_FILE).exists():
        shop = str(folder / "shop")
        run_command(["shop", "sample", shop, "--overwrite", "--json"])
        run_command(["build", shop, "--out", str(bundle), "--config", str(DEMO_SETTINGS), "--resume", "--json"])
    return bundle


def retrained_sample(folder: Path = SAMPLE) -> Path:
    """Return the retrained bundle of the sample under `folder`; made on clicks of simulated users where it is missing."""
    retrained = folder / "retrained"
    if not (retrained / MANIFEST_FILE).exists():
        options = parse_arguments(
            ["--shop", str(folder / "shop"), "--bundle", str(folder / "bundle"), "--work", str(folder)]
        )
        teach(options, RetrainSettings(), say=_say)
    return retrained


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> int:
    """Print the rows as lines of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE", help="by default one of the sample shop")
    parser.add_argument("--retrained", type=Path, metavar="NEW", help="a bundle that was trained on from BUNDLE")
    parser.add_argument("--changed", type=float, default=0.01, help="share of products that change (0.01)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    bundle, retrained = args.bundle, args.retrained
    if bundle is None:
        bundle = sample_bundle()
        retrained = retrained or retrained_sample()
    for row in delta_rows(bundle, retrained=retrained, share=args.changed, seed=args.seed):
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
