"""One student as three .tflite files: full int8 after training, full int8 after calibration alone, dynamic-range.

The second is the control that shows whether quantization-aware training paid; the third is often the fastest where the
interpreter can run it (tflite-runtime 2.14 cannot), at the price of activations in float.
"""

import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from compress.convert import Operations, operations
from compress.quality import Float32, StageQuality, rank_quality, unit_rows
from compress.settings import VariantName
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import ENCODER_FILE
from edge_runtime.interpreter import Model
from train.shop.tables import Judgement

VARIANTS: tuple[VariantName, ...] = get_args(VariantName)
LATENCY_RUNS, LATENCY_WARM_UP = 300, 30


@dataclass(frozen=True)
class Variant:
    """One .tflite of the student.

    Attributes:
        name: which recipe.
        bytes: of the file.
        compressed_bytes: of the file after zlib at level 9, which is about what a download costs.
        operations: what it computes.
        encode_p50_ms: of `encode_query` in the interpreter alone, one thread, on this machine.
        encode_p99_ms: the same.
        quality: on the held-out queries; None without any.
    """

    name: VariantName
    bytes: int
    compressed_bytes: int
    operations: Operations
    encode_p50_ms: float
    encode_p99_ms: float
    quality: StageQuality | None

    def as_json(self) -> dict[str, Any]:
        """Return the variant as plain JSON, the operations flat."""
        return {
            **asdict(self),
            "operations": sum(self.operations.counts.values()),
            "in_float": self.operations.in_float,
        }


def write_variant(
    name: VariantName,
    model: bytes,
    folder: Path,
    *,
    query_ids: npt.NDArray[np.int32],
    judged: Mapping[str, Sequence[Judgement]],
    items: Float32,
) -> Variant:
    """Write `model` as `folder`/`name`/encoder.tflite and measure it.

    Args:
        name: which recipe made it.
        model: the .tflite.
        folder: of the stage.
        query_ids: int32 [queries, query_tokens], the held-out queries in the order of `judged`.
        judged: the held-out queries.
        items: float32 [products, dim], unit rows.

    Raises:
        ModelLoadError: the interpreter refuses the model.
        StorageError: the disk is full, read-only or not permitted.
    """
    path = folder / name / ENCODER_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, model)
    interpreter = Model(path)
    length = interpreter.input_shape("encode_query", "ids")[1]
    ids = query_ids if len(query_ids) else np.ones((1, length), dtype=np.int32)
    vectors, milliseconds = [], []
    for run in range(max(len(ids), LATENCY_WARM_UP + LATENCY_RUNS)):
        row = ids[run % len(ids)][None]
        started = time.perf_counter()
        answer = interpreter.run("encode_query", {"ids": row})
        milliseconds.append((time.perf_counter() - started) * 1e3)
        vectors.append(answer["vector"][0])
    quality = rank_quality(name, judged, unit_rows(np.array(vectors[: len(ids)])) @ items.T) if judged else None
    p50, p99 = np.percentile(milliseconds[LATENCY_WARM_UP:], (50, 99))
    return Variant(name, len(model), len(zlib.compress(model, 9)), operations(model), float(p50), float(p99), quality)


def convert_outcome(made: Mapping[VariantName, Variant], shipped: VariantName) -> tuple[str, dict[str, Any]]:
    """Return the stage's line for people and its report: the shipped variant, and all of them beside it."""
    chosen = made[shipped]
    counts, in_float = chosen.operations.counts, chosen.operations.in_float
    fastest = min(made.values(), key=lambda variant: variant.encode_p50_ms)
    line = (
        f"{shipped}: {chosen.bytes / 1e6:.2f} MB, {sum(counts.values())} operations, in float: {in_float or 'none'}; "
        f"{chosen.encode_p50_ms:.3f} ms a query"
    )
    if fastest is not chosen:
        line += f" ({fastest.name}: {fastest.encode_p50_ms:.3f})"
    return line, {
        "shipped": shipped,
        "bytes": chosen.bytes,
        "operations": counts,
        "in_float": in_float,
        "variants": [variant.as_json() for variant in made.values()],
    }
