"""Bundles without a model for tests of a fleet: the same as in the benchmarks."""

from pathlib import Path

from benchmarks.fleet.plain_bundle import write_plain_bundle as write_bundle
from tests.support.server_simulator import ServerSimulator

__all__ = ["publish_one_and_stage_two", "write_bundle"]


def publish_one_and_stage_two(server: ServerSimulator, folder: Path) -> None:
    """Give every device of `stable` release 1, and stage release 2 for a rollout."""
    server.publish(write_bundle(folder / "one", words="one"))
    server.publish(write_bundle(folder / "two", words="two"), staged=True)
