"""The only file that imports TensorFlow and chooses Keras; `train` and `compress` import both from here.

tensorflow-model-optimization works with Keras 2 only (package `tf_keras`). An environment variable, which TensorFlow
reads at its first import, decides which Keras `tf.keras` is.
"""

import contextlib
import os

# TensorFlow carries an SQLite without full-text search, and whichever SQLite a process loads first wins.
import sqlite3  # noqa: F401
import sys
import tempfile
from collections.abc import Iterator

from train.errors import TrainingError

if "tensorflow" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") != "1":
    raise TrainingError(
        "TensorFlow was imported before train.backend, with Keras 3; import train.backend first or set TF_USE_LEGACY_KERAS=1"
    )
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def _greetings_kept_back() -> Iterator[None]:
    """Keep back what TensorFlow's C++ side writes to stderr while it loads; show it if loading fails."""
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(real, kept.read())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)


with _greetings_kept_back():
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
