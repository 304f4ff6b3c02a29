"""A device in a process of its own that is killed, or has a full disk, at a named point of an update."""

import contextlib
import os
import resource
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.contract.errors import PocketrecError
from edge_runtime.updates import slots as slots_module
from edge_runtime.updates import staging as staging_module
from edge_runtime.updates import updater as updater_module
from edge_runtime.updates.http_transport import HttpTransport
from edge_runtime.updates.updater import Updater

POINTS = ("refresh", "manifest", "half-file", "staged", "proving", "renaming", "recording", "switching", "switched")


def die(*_args: object, **_options: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    patches = {
        "refresh": (updater_module.Updater, "_release"),
        "manifest": (staging_module, "plan_update"),
        "staged": (updater_module.Updater, "_prove_staged"),
        "renaming": (slots_module, "sync_folder"),
        "recording": (slots_module, "write_json_atomically"),
        "switching": (slots_module.Slots, "_point"),
        "switched": (slots_module.Slots, "remove_unused"),
    }
    if point in patches:
        setattr(*patches[point], die)
    if point == "full-disk":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))


@dataclass(frozen=True)
class Finished:
    """How the process ended: exit code (negative: the signal that killed it) and what it said."""

    returncode: int
    said: str


def sync_in_child(home: Path, *, root: Path, url: str, point: str = "none") -> Finished:
    """Update the device in `home` in a forked process; `point` is where it dies."""
    said = home.with_name(f"{home.name}.said")
    said.write_text("")
    pid = os.fork()
    if pid == 0:
        code = 99
        with contextlib.suppress(BaseException):
            code = _update(home, root, url, point, said)
        # Not sys.exit: the child must not run what pytest still has to do.
        os._exit(code)
    _, status = os.waitpid(pid, 0)
    return Finished(os.waitstatus_to_exitcode(status), said.read_text())


def _update(home: Path, root: Path, url: str, point: str, said: Path) -> int:
    arm(point)
    received = [0]

    def hear(count: int) -> None:
        received[0] += count
        if point == "half-file" and received[0] > 100_000:
            die()

    try:
        updater = Updater(
            home=home,
            trusted_root=root.read_bytes(),
            server_url=url,
            channel="stable",
            device_id="device-1",
            transport=HttpTransport(),
            prove=die if point == "proving" else lambda _: None,
            on_bytes=hear,
        )
        said.write_text(updater.update().to_bundle_id)
    except PocketrecError as error:
        said.write_text(f"{type(error).__name__}: {error}")
        return error.exit_code
    except BaseException:
        said.write_text(traceback.format_exc())
        raise
    return 0
