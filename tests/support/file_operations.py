"""File operations that fail, or at which the process is killed: every point at which power can be lost."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

OPERATIONS = {"open", "os.rename", "os.remove", "os.link", "os.symlink", "os.mkdir", "os.rmdir", "os.truncate"}


def names(folder: Path) -> list[str]:
    """Return the names in `folder`, sorted."""
    return sorted(path.name for path in folder.iterdir())


def failing(number: int) -> Callable[..., None]:
    """Return a function that fails with the error `number` of the operating system, whatever it is given."""

    def fail(*_args: object, **_options: object) -> None:
        raise OSError(number, "no")

    return fail


def run_until_operation(work: Callable[[], object], folder: Path, *, dies_at: int) -> int | None:
    """Run `work` in a forked process that kills itself before its operation number `dies_at` under `folder`.

    Returns:
        how many operations there were when the process came to its end, None when it was killed before.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            done = [0]
            sys.addaudithook(lambda event, args: _count(event, args, str(folder), done, dies_at))
            work()
            os.write(writer, str(done[0]).encode())
            os._exit(0)
        os._exit(1)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(reader, "rb") as file:
        said = file.read()
    if os.WIFSIGNALED(status):
        return None
    if os.waitstatus_to_exitcode(status) != 0:
        raise AssertionError("the process failed instead of finishing or being killed")
    return int(said)


def _count(event: str, args: tuple[object, ...], folder: str, done: list[int], dies_at: int) -> None:
    if event not in OPERATIONS:
        return
    if event == "open" and not _writes(args):
        return
    if any(isinstance(arg, (str, os.PathLike)) and os.fspath(arg).startswith(folder) for arg in args):
        done[0] += 1
        if done[0] == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)


def _writes(args: tuple[object, ...]) -> bool:
    flags = args[2] if len(args) > 2 else 0
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
