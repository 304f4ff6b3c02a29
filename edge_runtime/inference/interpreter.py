"""The only file that imports a TensorFlow Lite interpreter: LiteRT, or the older tflite-runtime."""

import importlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import ConfigError, InputShapeError, ModelLoadError
from edge_runtime.inference.mapped_pages import release_file_pages

INTERPRETER_VARIABLE = "POCKETREC_INTERPRETER"
_MODULES = {"litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}

_Call = Callable[[Mapping[str, npt.NDArray[Any]]], dict[str, npt.NDArray[Any]]]


class Model:
    """A .tflite file with named signatures of fixed shapes; may be called from any thread, one call runs at a time."""

    def __init__(self, path: Path, *, num_threads: int = 1, interpreter: str | None = None) -> None:
        """Load the model and allocate its tensors.

        Args:
            path: the .tflite file; it is mapped, not copied.
            num_threads: threads of one call.
            interpreter: "litert" or "tflite-runtime"; by default what the environment variable POCKETREC_INTERPRETER
                says, else the first that is installed.

        Raises:
            ConfigError: `num_threads` below 1, or an unknown interpreter.
            ModelLoadError: no interpreter is installed, or it refuses the model.
        """
        if num_threads < 1:
            raise ConfigError(f"num_threads must be at least 1, found {num_threads}")
        self._path = path
        self._lock = threading.Lock()
        interpreter_type = import_interpreter(interpreter)
        try:
            self._interpreter = interpreter_type(model_path=str(path), num_threads=num_threads)
            names = sorted(self._interpreter.get_signature_list())
            self._runners = {name: self._interpreter.get_signature_runner(name) for name in names}
            self._inputs = {name: runner.get_input_details() for name, runner in self._runners.items()}
            self._outputs = {name: runner.get_output_details() for name, runner in self._runners.items()}
            self._expected = {
                name: {key: (_shape(one), np.dtype(one["dtype"])) for key, one in details.items()}
                for name, details in self._inputs.items()
            }
            self._calls = {name: _allocated_call(runner, self._inputs[name]) for name, runner in self._runners.items()}
        except (ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelLoadError(
                f"{interpreter_type.__module__} refuses {path} ({reason}); get the bundle again or install ai-edge-litert"
            ) from error
        release_file_pages(path)  # the kernels have packed the weights into an order of their own

    def input_shape(self, signature: str, name: str) -> tuple[int, ...]:
        """Return the fixed shape of an input.

        Raises:
            InputShapeError: no such signature or input.
        """
        return _shape(self._detail(self._inputs, signature, name))

    def output_shape(self, signature: str, name: str) -> tuple[int, ...]:
        """Return the fixed shape of an output.

        Raises:
            InputShapeError: no such signature or output.
        """
        return _shape(self._detail(self._outputs, signature, name))

    def has_output(self, signature: str, name: str) -> bool:
        """Return whether `signature` has an output `name`."""
        return name in self._outputs.get(signature, {})

    def run(self, signature: str, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run one signature and return copies of its outputs by name.

        Raises:
            InputShapeError: an input is missing, or its shape or dtype is not the signature's.
        """
        expected = self._expected.get(signature)
        if not expected or inputs.keys() != expected.keys():
            raise InputShapeError(
                f"{self._path}: signature {signature!r} takes {sorted(expected or ()) or 'nothing: it is missing'}, "
                f"found {sorted(inputs)}"
            )
        for name, value in inputs.items():
            shape, dtype = expected[name]
            if value.shape != shape or value.dtype != dtype:
                raise InputShapeError(
                    f"{self._path}: {signature}({name}) takes {dtype} {list(shape)}, "
                    f"found {value.dtype} {list(value.shape)}"
                )
        with self._lock:
            return self._calls[signature](inputs)

    def _detail(self, details: dict[str, dict[str, Any]], signature: str, name: str) -> dict[str, Any]:
        try:
            detail: dict[str, Any] = details[signature][name]
        except KeyError:
            known = {key: sorted(value) for key, value in details.items()}
            raise InputShapeError(
                f"{self._path} has no {signature}({name}), it has {known}; get the bundle again"
            ) from None
        return detail


def _allocated_call(runner: Any, inputs: Mapping[str, Any]) -> _Call:
    """Return a call of `runner` that allocates its tensors now and never again: resizing costs more than a small model.

    The public call resizes and allocates each time. Where an interpreter does not have the parts that it is made of,
    the public call stays.
    """

    def public(values: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        outputs: dict[str, npt.NDArray[Any]] = runner(**values)
        return outputs

    try:
        wrapper, subgraph = runner._interpreter_wrapper, runner._subgraph_index
        outputs = tuple((name, int(index)) for name, index in runner._outputs)
        places = {name: int(detail["index"]) for name, detail in inputs.items()}
        put, invoke, take = wrapper.SetTensor, wrapper.Invoke, wrapper.GetTensor
        wrapper.AllocateTensors(subgraph)
    except (AttributeError, KeyError, TypeError):
        return public

    def direct(values: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        for name, value in values.items():
            put(places[name], value, subgraph)
        invoke(subgraph)
        return {name: take(index, subgraph) for name, index in outputs}

    return direct


def _shape(detail: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(size) for size in detail["shape"])


def import_interpreter(wanted: str | None = None) -> Any:
    """Import an interpreter for .tflite files and return its class; an app may do so before it opens a bundle.

    Args:
        wanted: "litert" or "tflite-runtime"; by default what the environment variable says, else the first installed.

    Raises:
        ConfigError: an unknown interpreter.
        ModelLoadError: none is installed.
    """
    wanted = wanted or os.environ.get(INTERPRETER_VARIABLE)
    if wanted is not None and wanted not in _MODULES:
        raise ConfigError(f"unknown interpreter {wanted!r}, expected one of {', '.join(_MODULES)}")
    reason = ""
    for name in [wanted] if wanted else _MODULES:
        try:
            return importlib.import_module(_MODULES[name]).Interpreter
        except ImportError as error:
            reason = reason or str(error)
    raise ModelLoadError(f"no interpreter for .tflite files can be loaded ({reason}); pip install ai-edge-litert")
