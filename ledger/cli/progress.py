"""Progress bars, on stderr of a terminal only."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


def bar(*, color: bool) -> Progress:
    """A bar that vanishes when it is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True, no_color=not color or None), transient=True)


class Steps:
    """One bar over several steps; what a step counts stands beside its name."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)
        self._begun = 0

    def begin(self, name: str) -> Callable[[int], None]:
        self._progress.update(self._task, completed=self._begun, description=name)
        self._begun += 1
        count = 0

        def more(done: int) -> None:
            nonlocal count
            count += done
            self._progress.update(self._task, description=f"{name} {count:,}")

        return more
