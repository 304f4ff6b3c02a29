"""A query encoder in TensorFlow Serving, over its REST interface."""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import urllib3

from edge_runtime.contract.errors import ConfigError, InferenceError

# A model encodes one query in milliseconds; after this time the client gets an error.
_TIMEOUT = urllib3.Timeout(connect=2.0, read=5.0)
# One vector takes some kilobytes as JSON.
_MAX_ANSWER_BYTES = 1_000_000


class _Answer(msgspec.Struct):
    outputs: list[list[float]]


class TfServingEncoder:
    """A SavedModel in TensorFlow Serving: `input_word_ids`, `input_mask` -> one output [1, dim].

    Args:
        url: address of the model, like http://127.0.0.1:8501/v1/models/encoder; each query sends one request.

    Raises:
        ConfigError: not an http address.
    """

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError("rank_url: expected the model's address, like http://127.0.0.1:8501/v1/models/encoder")
        self._url = url.rstrip("/") + ":predict"
        self._pool = urllib3.PoolManager(maxsize=16, retries=False, timeout=_TIMEOUT)

    def encode(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return the vector float32 [dim] of one text.

        Raises:
            InferenceError: TensorFlow Serving does not answer, or its answer is not one vector.
        """
        inputs = {"input_word_ids": [list(ids)], "input_mask": [[1] * len(ids)]}
        body = msgspec.json.encode({"inputs": inputs})
        try:
            answer = self._pool.request("POST", self._url, body=body, headers={"Content-Type": "application/json"})
        except urllib3.exceptions.HTTPError as error:
            raise InferenceError("TensorFlow Serving does not answer; try again later") from error
        if answer.status != 200 or len(answer.data) > _MAX_ANSWER_BYTES:
            raise InferenceError(f"TensorFlow Serving answered with status {answer.status}; look at its log")
        try:
            (vector,) = msgspec.json.decode(answer.data, type=_Answer).outputs
        except (msgspec.MsgspecError, ValueError) as error:
            raise InferenceError("TensorFlow Serving's answer is not one vector; export the model again") from error
        return np.asarray(vector, dtype=np.float32)

    def close(self) -> None:
        """End the connections."""
        self._pool.clear()
