"""What the commands print: messages, warnings, progress. Results go to standard output, the rest to standard error."""

import contextlib
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
_showing = False


def warn(message: str) -> None:
    err.print(f"warning: {message}", style="yellow", markup=False)


def note(message: str) -> None:
    err.print(message, markup=False)


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def progress(items: Iterable, label: str, total: int, step: int = 1) -> Iterator:
    """Yield the items under a progress bar with the remaining time, where standard error is a terminal.

    Args:
        total: what the bar counts to.
        step: how much of it one item is.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _shown(Progress(*columns, console=err, transient=True)) as bar:
        task = bar.add_task(label, total=total)
        for item in items:
            yield item
            bar.advance(task, step)


@contextlib.contextmanager
def working(label: str) -> Iterator[None]:
    """Show that work of unknown length goes on, and for how long, where standard error is a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with _shown(Progress(*columns, console=err, transient=True)) as bar:
        bar.add_task(label, total=None)
        yield


@contextlib.contextmanager
def _shown(bar: Progress) -> Iterator[Progress]:
    """Only on a terminal, and only the outermost of several: Rich before 14.1 cannot show one inside another."""
    global _showing
    outermost, _showing = not _showing, True
    bar.disable = not (outermost and err.is_terminal)
    try:
        with bar:
            yield bar
    finally:
        _showing = not outermost
