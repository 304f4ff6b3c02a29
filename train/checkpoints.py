"""Checkpoints of a training run: model, optimizer and step in one file, replaced atomically."""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from edge_runtime.contract.atomic_files import disk_errors_named, write_bytes_atomically
from train.errors import TrainingError

CHECKPOINT_FILE = "checkpoint.safetensors"


def has_checkpoint(folder: Path) -> bool:
    """Return whether a run has saved a checkpoint in `folder`."""
    return (folder / CHECKPOINT_FILE).exists()


class TrainingCheckpoint:
    """Saves and restores every variable of a model and its optimizer, and the number of finished steps.

    Variables are identified by their place in the order in which the model and the optimizer list them, so the same
    code must have built both. Stopped halfway through `save`, the folder holds the checkpoint before.
    """

    def __init__(self, folder: Path, model: Any, optimizer: Any) -> None:
        """Remember what to save; touches no file.

        Args:
            folder: made by the first `save`.
            model: anything with `variables`, like a Keras model.
            optimizer: a Keras optimizer that has been built with the model's trainable variables.
        """
        self._path = folder / CHECKPOINT_FILE
        self._model = model
        self._optimizer = optimizer

    def save(self, step: int) -> None:
        """Write all variables and `step`, the number of finished steps.

        Raises:
            StorageError: the disk is full, read-only or not permitted; the checkpoint before is unchanged.
        """
        with disk_errors_named(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: np.asarray(variable.numpy(), order="C") for name, variable in self._variables().items()}
        write_bytes_atomically(self._path, safetensors.numpy.save(tensors, metadata={"step": str(step)}))

    def restore(self) -> int:
        """Set all variables from the last checkpoint; return its step, or 0 when there is none.

        Raises:
            TrainingError: the file is damaged, or of a model of another shape; no variable has been changed.
        """
        if not self._path.exists():
            return 0
        try:
            with safetensors.safe_open(str(self._path), framework="numpy") as file:
                step = int((file.metadata() or {})["step"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (OSError, safetensors.SafetensorError, KeyError, ValueError) as error:
            raise TrainingError(
                f"the checkpoint {self._path} cannot be read ({error}); remove it to start anew"
            ) from error
        variables = self._variables()
        for name, variable in variables.items():
            if name not in tensors or tensors[name].shape != tuple(variable.shape):
                found = tensors[name].shape if name in tensors else "nothing"
                raise TrainingError(
                    f"the checkpoint {self._path} is of another model: expected {name} of shape"
                    f" {tuple(variable.shape)}, found {found}; remove it to start anew"
                )
        if len(tensors) != len(variables):
            raise TrainingError(
                f"the checkpoint {self._path} is of another model: expected {len(variables)} variables, found"
                f" {len(tensors)}; remove it to start anew"
            )
        for name, variable in variables.items():
            variable.assign(tensors[name])
        return step

    def _variables(self) -> dict[str, Any]:
        named = {f"model.{index}": variable for index, variable in enumerate(self._model.variables)}
        named.update({f"optimizer.{index}": variable for index, variable in enumerate(self._optimizer.variables)})
        return named
