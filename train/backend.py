"""The only file that imports TensorFlow and chooses Keras; train and compress get both from here.

tensorflow-model-optimization works on Keras 2 only (package `tf_keras`), and which Keras `tf.keras` means is decided by
an environment variable that is read when TensorFlow is first imported.
"""

import os

# TensorFlow carries an SQLite without full-text search, and whichever SQLite a process loads first wins.
import sqlite3  # noqa: F401
import sys

from train.errors import TrainingError

if "tensorflow" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") != "1":
    raise TrainingError(
        "TensorFlow was imported before train.backend, with Keras 3; import train.backend first or set TF_USE_LEGACY_KERAS=1"
    )
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# AutoGraph cannot read some of tfmot's sources and says so at every call; the calls work all the same.
os.environ.setdefault("AUTOGRAPH_VERBOSITY", "0")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import tensorflow as tf
import tensorflow_hub as hub
import tf_keras as keras
from tensorflow.lite.python import schema_py_generated as tflite_schema
from tensorflow.lite.python.convert import ConverterError

__all__ = ["ConverterError", "hub", "keras", "make_reproducible", "tf", "tflite_schema"]


def make_reproducible(seed: int) -> None:
    """Seed Python, NumPy and TensorFlow and choose deterministic kernels, for this process."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
