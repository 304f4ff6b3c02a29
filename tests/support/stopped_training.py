"""A training that is stopped on its way, as by the end of its process."""

from edge_runtime.contract.types import Progress


class Stop(RuntimeError):
    """Stands for the end of the process."""


def stop_at(wanted: int) -> Progress:
    """Return a progress that stops the training when `wanted` steps are done."""

    def progress(done: int, _total: int) -> None:
        if done == wanted:
            raise Stop

    return progress
