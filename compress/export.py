"""A teacher for servers: the folder that `/v1/rank` reads, for ONNX Runtime and for TensorFlow Serving.

model.onnx                 the encoder for ONNX Runtime
saved_model/1/             the same for TensorFlow Serving
tokenizer.json, export.json    how a query becomes the encoder's input
items.npy, product_ids.json    the products' vectors, float32 [products, dim], unit length
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import CompressionError
from compress.export_onnx import onnx_bert
from edge_runtime.contract.atomic_files import disk_errors_named
from train.backend import tf
from train.bert import bert_weights, read_config
from train.shop.tables import Product
from train.teacher import Teacher
from train.teacher_sources import write_folder_whole

Progress = Callable[[int, int], None]


def export_teacher(
    source: Path, products: Sequence[Product], folder: Path, *, max_tokens: int = 64, progress: Progress | None = None
) -> None:
    """Write the teacher saved in `source`, and its vectors of `products`, into `folder`, replacing it.

    Stopped halfway, `folder` is what it was or, for the moment of the exchange, missing.

    Raises:
        TrainingError: `source` holds no teacher.
        CompressionError: it is not a BERT checkpoint.
        StorageError: the disk is full, read-only or not permitted.
    """
    if not (source / "config.json").exists():
        raise CompressionError(f"{source} is not a BERT checkpoint; give the teacher's folder of a build")
    teacher = Teacher.load(source)
    config = read_config(source)
    model = onnx_bert(bert_weights(teacher.model, config), config)
    vectors = teacher.encode([product.text for product in products], max_tokens=max_tokens, progress=progress)

    def write(new: Path) -> None:
        (new / "model.onnx").write_bytes(model)
        _save_for_serving(teacher, new / "saved_model" / "1")
        (new / "tokenizer.json").write_text(teacher.tokenizer.to_str(), encoding="utf-8")
        note = {"name": f"teacher-{teacher.identity[:12]}", "tokens": min(max_tokens, teacher.max_tokens)}
        (new / "export.json").write_text(json.dumps(note) + "\n", encoding="utf-8")
        (new / "product_ids.json").write_text(json.dumps([item.product_id for item in products]), encoding="utf-8")
        np.save(new / "items.npy", vectors)

    with disk_errors_named(folder):
        write_folder_whole(folder, write)


def _save_for_serving(teacher: Teacher, folder: Path) -> None:
    class Served(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = teacher.model

        @tf.function(
            input_signature=[
                tf.TensorSpec((None, None), tf.int32, name="input_word_ids"),
                tf.TensorSpec((None, None), tf.int32, name="input_mask"),
            ]
        )
        def encode(self, input_word_ids: Any, input_mask: Any) -> dict[str, Any]:
            inputs = {
                "input_word_ids": input_word_ids,
                "input_mask": input_mask,
                "input_type_ids": tf.zeros_like(input_word_ids),
            }
            return {"vector": tf.nn.l2_normalize(self.model(inputs, training=False), axis=-1)}

    served = Served()
    tf.saved_model.save(served, str(folder), signatures={"serving_default": served.encode})
