"""What the builder's verbs print alike: results on stdout, bars of progress on stderr."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn


def print_plainly(text: str, console: Console | None = None) -> None:
    """Print text as it is: nothing in it is markup, and no line is broken."""
    (console or Console()).print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


def with_interval(value: float, interval: tuple[float, float]) -> str:
    """Return a figure with its interval, like `0.612 (0.587 … 0.640)`."""
    return f"{value:.3f} ({interval[0]:.3f} … {interval[1]:.3f})"


@contextlib.contextmanager
def progress_bars(*columns: ProgressColumn, transient: bool = True) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar on stderr for each name that progress is reported of, with `columns` or those of rich."""
    with Progress(*columns, console=Console(stderr=True), transient=transient) as bars:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield report


class ConsoleReporter:
    """A bar for the running stage, a line for each finished one, both on stderr."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<14}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "ConsoleReporter":
        return self

    def __exit__(self, *_: object) -> None:
        # Bars that were never shown would leave an empty line above an error.
        if self._bars.live.is_started:
            self._bars.stop()

    def started(self, stage: str) -> None:
        """Show a bar for `stage`."""
        self._bars.start()
        self._task = self._bars.add_task(stage, total=None)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Move the stage's bar."""
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total)

    def finished(self, stage: str, line: str, *, seconds: float, reused: bool) -> None:
        """Replace the bar by one line of result."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        when = "kept" if reused else f"{seconds:.0f} s"
        print_plainly(f"{stage:<14} {when:>6}  {line}", self._console)
