"""Teacher or student for servers: the folder that `/v1/rank` reads, for ONNX Runtime and for TensorFlow Serving.

model.onnx                 the encoder for ONNX Runtime
saved_model/1/             the same for TensorFlow Serving
tokenizer.json, export.json    how a query becomes the encoder's input
items.npy, product_ids.json    the products' vectors, float32 [products, dim], unit length
"""

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from compress.errors import CompressionError
from compress.export.onnx import onnx_bert
from compress.export.onnx_student import onnx_student
from compress.export.parity import Agreement, agreement_with_device
from compress.measure.quality import unit_rows
from compress.quantization import quantize, take_float_weights
from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.bundle import CATALOGUE_ROWS_FILE, ITEM_VECTORS_FILE, TOKENIZER_FILE, open_bundle
from edge_runtime.contract.types import Progress
from edge_runtime.products.rows_database import RowsDatabase
from pocketrec.pipeline.graph import TUNED, artifacts_of
from pocketrec.pipeline.settings import build_settings_of
from pocketrec.pipeline.student_stages import WEIGHTS_FILE
from train.backend import tf
from train.data.tables import Product
from train.models.bert import bert_weights, read_config
from train.models.pretrained import write_folder_whole
from train.models.student import build_student
from train.models.teacher import Teacher


@dataclass(frozen=True)
class _Export:
    """What an exported folder holds; `encode` takes word ids and mask, int32 [batch, tokens], and uses `model`."""

    name: str
    tokens: int
    tokenizer: Tokenizer
    onnx: bytes
    model: Any
    encode: Callable[[Any, Any], Any]
    product_ids: Sequence[str]
    items: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Exported:
    """How many products went out, and how near a student is to its int8 one; None: a teacher, or nothing to compare."""

    products: int
    agreement: Agreement | None = None


def export_teacher(
    source: Path, products: Sequence[Product], folder: Path, *, max_tokens: int = 64, progress: Progress | None = None
) -> Exported:
    """Write the teacher saved in `source`, and its vectors of `products`, into `folder`, replacing it.

    Stopped halfway, `folder` is what it was or, for the moment of the exchange, missing.

    Raises:
        TrainingError: `source` holds no teacher.
        CompressionError: it is not a BERT checkpoint.
        StorageError: the disk is full, read-only or not permitted.
    """
    if not (source / "config.json").exists():
        raise CompressionError(
            f"{source} is neither a BERT checkpoint nor a bundle; give the teacher's folder of a build"
        )
    teacher = Teacher.load(source)
    config = read_config(source)

    def encode(word_ids: Any, mask: Any) -> Any:
        inputs = {"input_word_ids": word_ids, "input_mask": mask, "input_type_ids": tf.zeros_like(word_ids)}
        return teacher.model(inputs, training=False)

    _write(
        folder,
        _Export(
            name=f"teacher-{teacher.identity[:12]}",
            tokens=min(max_tokens, teacher.max_tokens),
            tokenizer=teacher.tokenizer,
            onnx=onnx_bert(bert_weights(teacher.model, config), config),
            model=teacher.model,
            encode=encode,
            product_ids=[item.product_id for item in products],
            items=teacher.encode([product.text for product in products], max_tokens=max_tokens, progress=progress),
        ),
    )
    return Exported(len(products))


def export_student(source: Path, folder: Path, *, work: Path) -> Exported:
    """Write the float student of the bundle in `source`, and the bundle's vectors, into `folder`, replacing it.

    It is the student of which the bundle's int8 encoder was made; its queries are nearest to the same products as on a
    device that searches by vectors alone. Stopped halfway, `folder` is what it was or, for a moment, missing.

    Args:
        source: the bundle.
        folder: where the export goes.
        work: the folder of stages that the bundle's build left.

    Returns:
        What was exported, and how near it is to the device.

    Raises:
        BundleError: `source` is no bundle.
        ConfigError: `work` does not hold the stages of this bundle.
        CompressionError: their weights cannot be read.
        StorageError: the disk is full, read-only or not permitted.
    """
    bundle = open_bundle(source)
    settings = build_settings_of(bundle)
    artifacts = artifacts_of(bundle.bundle_id, work)
    tokenizer = Tokenizer.from_file(str(bundle.path(TOKENIZER_FILE)))
    model = build_student(settings.student, vocabulary=tokenizer.get_vocab_size(), dim=settings.dim)
    try:
        model.load_weights(artifacts.folder("prune") / WEIGHTS_FILE)
        if TUNED in artifacts.folders:
            tuned = quantize(model)
            tuned.load_weights(artifacts.folder(TUNED) / WEIGHTS_FILE)
            take_float_weights(model, tuned)
    except (ValueError, OSError) as error:
        raise CompressionError(f"the weights in {work} cannot be read ({error}); build {source} again") from error
    with contextlib.closing(RowsDatabase(bundle.path(CATALOGUE_ROWS_FILE))) as database:
        product_ids = [one for (one,) in database.fetch("SELECT product_id FROM products ORDER BY row")]
    items = unit_rows(np.load(bundle.path(ITEM_VECTORS_FILE)).astype(np.float32))
    _write(
        folder,
        _Export(
            name=f"student-{bundle.bundle_id[:12]}",
            tokens=bundle.manifest.encoder.query_tokens,
            tokenizer=tokenizer,
            onnx=onnx_student(model),
            model=model,
            encode=lambda word_ids, mask: model(word_ids * mask, training=False),
            product_ids=product_ids,
            items=items,
        ),
    )
    agreement = agreement_with_device(bundle, lambda ids: model(ids, training=False).numpy(), items, product_ids)
    return Exported(len(product_ids), agreement)


def _write(folder: Path, export: _Export) -> None:
    def write(new: Path) -> None:
        (new / "model.onnx").write_bytes(export.onnx)
        _save_for_serving(export, new / "saved_model" / "1")
        (new / "tokenizer.json").write_text(export.tokenizer.to_str(), encoding="utf-8")
        note = {"name": export.name, "tokens": export.tokens}
        (new / "export.json").write_text(json.dumps(note) + "\n", encoding="utf-8")
        (new / "product_ids.json").write_text(json.dumps(list(export.product_ids)), encoding="utf-8")
        np.save(new / "items.npy", export.items)

    with disk_errors_named(folder):
        write_folder_whole(folder, write)


def _save_for_serving(export: _Export, folder: Path) -> None:
    class Served(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = export.model

        @tf.function(
            input_signature=[
                tf.TensorSpec((None, None), tf.int32, name="input_word_ids"),
                tf.TensorSpec((None, None), tf.int32, name="input_mask"),
            ]
        )
        def encode(self, input_word_ids: Any, input_mask: Any) -> dict[str, Any]:
            return {"vector": tf.nn.l2_normalize(export.encode(input_word_ids, input_mask), axis=-1)}

    served = Served()
    tf.saved_model.save(served, str(folder), signatures={"serving_default": served.encode})
