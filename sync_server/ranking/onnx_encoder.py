"""A query encoder in ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from edge_runtime.contract.errors import ConfigError

# The library's errors have no common base class.
_FAILURES = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf, errors.NoSuchFile)
INPUTS = ("input_word_ids", "input_mask")


class OnnxEncoder:
    """An exported encoder: int32 `input_word_ids` and `input_mask` [1, tokens] -> `vector` float32 [1, dim].

    Args:
        path: the .onnx file.

    Raises:
        ConfigError: the file is not a model, or has other inputs.
    """

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        # The workers and threads of the server use all cores already.
        options.intra_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except _FAILURES as error:
            raise ConfigError(f"ONNX Runtime cannot open {path}; export the model again") from error
        names = {item.name for item in self._session.get_inputs()}
        if names != set(INPUTS):
            raise ConfigError(f"{path} takes {sorted(names)}, expected {list(INPUTS)}; export the model again")

    def encode(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return the vector float32 [dim] of one text."""
        words = np.asarray([ids], dtype=np.int32)
        (vectors,) = self._session.run(["vector"], dict(zip(INPUTS, (words, np.ones_like(words)), strict=True)))
        return np.asarray(vectors[0], dtype=np.float32)

    def close(self) -> None:
        """Free the model."""
        del self._session
