"""One student as three .tflite files: full int8 after training, full int8 after calibration alone, dynamic-range.

The second is the control that shows whether quantization-aware training improved the ranking. The third is often the
fastest, but its activations are float, and tflite-runtime 2.14 cannot run it.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from compress.measure.latency import LATENCY_RUNS, call_times_ms
from compress.measure.quality import StageQuality, ndcg_by_query, rank_quality, unit_rows
from compress.tflite import Operations, Weights, operations, weights_inside
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import ENCODER_FILE
from edge_runtime.contract.types import Float32
from edge_runtime.inference.interpreter import Model
from train.data.tables import Judged
from train.evaluation.intervals import estimate_difference

VariantName = Literal["int8", "int8-calibrated", "dynamic-range"]

VARIANTS: tuple[VariantName, ...] = get_args(VariantName)


@dataclass(frozen=True, eq=False)
class Encoded:
    """What encoding queries gave: unit vectors float32 [queries, dim], and how long one query takes on this machine."""

    vectors: Float32
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, eq=False)
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
        by_query: float64 [queries, 2], re-rank and retrieval NDCG@10 of each of them; empty without any.
        weights: what the file holds.
    """

    name: VariantName
    bytes: int
    compressed_bytes: int
    operations: Operations
    encode_p50_ms: float
    encode_p99_ms: float
    quality: StageQuality | None
    by_query: npt.NDArray[np.float64]
    weights: tuple[Weights, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the variant as plain JSON, the operations flat, without single queries and weights."""
        return {
            "name": self.name,
            "bytes": self.bytes,
            "compressed_bytes": self.compressed_bytes,
            "operations": sum(self.operations.counts.values()),
            "in_float": self.operations.in_float,
            "float_places": list(self.operations.float_places),
            "encode_p50_ms": self.encode_p50_ms,
            "encode_p99_ms": self.encode_p99_ms,
            "quality": asdict(self.quality) if self.quality else None,
        }


def write_variant(
    name: VariantName,
    model: bytes,
    folder: Path,
    *,
    query_ids: npt.NDArray[np.int32],
    judged: Judged,
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
    length = Model(path).input_shape("encode_query", "ids")[1]
    encoded = encode_all(path, query_ids if len(query_ids) else np.ones((1, length), dtype=np.int32))
    scores = encoded.vectors @ items.T
    return Variant(
        name,
        len(model),
        len(zlib.compress(model, 9)),
        operations(model),
        encoded.p50_ms,
        encoded.p99_ms,
        rank_quality(name, judged, scores) if judged else None,
        ndcg_by_query(judged, scores) if judged else np.zeros((0, 2)),
        tuple(weights_inside(model)),
    )


def encode_all(path: Path, ids: npt.NDArray[np.int32]) -> Encoded:
    """Run `encode_query` of the .tflite at `path` on each row of `ids` int32 [queries, tokens], on one thread.

    Raises:
        ModelLoadError: the interpreter refuses the model.
    """
    interpreter = Model(path)
    vectors: dict[int, Float32] = {}

    def encode(run: int) -> None:
        row = run % len(ids)
        vectors[row] = interpreter.run("encode_query", {"ids": ids[row][None]})["vector"][0]

    p50, p99 = np.percentile(call_times_ms(encode, runs=max(len(ids), LATENCY_RUNS)), (50, 99))
    return Encoded(unit_rows(np.array([vectors[row] for row in range(len(ids))])), float(p50), float(p99))


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
        "inside": [asdict(weights) for weights in chosen.weights],
        "variants": [variant.as_json() for variant in made.values()],
        "verdict": variant_verdict(made, shipped),
    }


def variant_verdict(made: Mapping[VariantName, Variant], shipped: VariantName) -> list[str]:
    """Return what the comparison of the variants says, in sentences: differences of the same queries, with intervals."""
    chosen, sentences = made[shipped], []
    for name, other in made.items():
        if name == shipped:
            continue
        trained = "int8" in (name, shipped) and "int8-calibrated" in (name, shipped)
        faster = chosen.encode_p50_ms / other.encode_p50_ms
        speed = (
            f"{shipped} takes {faster:.2f} times as long"
            if faster >= 1
            else f"{shipped} is {1 / faster:.2f} times as fast"
        )
        size = f"{chosen.bytes / other.bytes:.2f} times the bytes"
        if not len(chosen.by_query):
            sentences.append(f"Against {name}: {speed}, {size}; no held-out query says how they rank.")
            continue
        parts = [estimate_difference(chosen.by_query[:, at], other.by_query[:, at]) for at in range(2)]
        figures = ", ".join(
            f"{what} nDCG@10 {part.mean:+.3f} ({part.ci95[0]:+.3f} … {part.ci95[1]:+.3f})"
            for what, part in zip(("re-rank", "retrieval"), parts, strict=True)
        )
        meaning = _meaning(shipped == "int8", [part.ci95 for part in parts]) if trained else ""
        sentences.append(f"{shipped} against {name}: {figures}; {speed}, {size}.{meaning}")
    return sentences


def _meaning(trained_is_first: bool, intervals: Sequence[tuple[float, float]]) -> str:
    """Say whether training in int8 improved the ranking, from the intervals of the shipped variant's lead."""
    ends = [(low, high) if trained_is_first else (-high, -low) for low, high in intervals]
    if any(low > 0 for low, _ in ends) and not any(high < 0 for _, high in ends):
        return " Training in int8 pays here."
    if any(high < 0 for _, high in ends):
        return " Training in int8 does harm here: ship int8-calibrated."
    return " Training in int8 does not pay here: the calibrated control ranks as well."
