"""Messages, warnings and progress of the commands. Results go to standard output, everything else to standard error."""

import contextlib
import functools
import os
import sys
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

WIDE = 1000  # characters of a line in a file, where nothing needs to be folded

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
for _console, _stream in ((out, sys.stdout), (err, sys.stderr)):
    if "COLUMNS" not in os.environ and not (_stream and _stream.isatty()):
        _console.width = WIDE
_showing = False
_label = ""


def warn(message: str) -> None:
    """Print a warning to standard error."""
    err.print(f"{_label}warning: {message}", style="yellow", markup=False)


def note(message: str) -> None:
    """Print a message to standard error."""
    err.print(f"{_label}{message}", markup=False)


@functools.cache
def note_once(message: str) -> None:
    """Print a message, but not again for every trial of a sweep."""
    note(message)


@functools.cache
def warn_once(message: str) -> None:
    """Print a warning, but not again for every trial of a sweep."""
    warn(message)


@contextlib.contextmanager
def labelled(label: str) -> Iterator[None]:
    """Begin every message of this process with a label, as of one of several trials that run side by side."""
    global _label
    before, _label = _label, f"{label}: "
    try:
        yield
    finally:
        _label = before


def duration(seconds: float) -> str:
    """Return a duration as text, such as "1 h 05 min" or "3 min 20 s"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def progress(items: Iterable, label: str, total: int, step: int = 1) -> Iterator:
    """Yield the items; if standard error is a terminal, show a progress bar with the remaining time.

    Args:
        total: the number at which the bar is full.
        step: how far one item moves the bar.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _shown(Progress(*columns, console=err, transient=True)) as bar:
        task = bar.add_task(label, total=total)
        for item in items:
            yield item
            bar.advance(task, step)


@contextlib.contextmanager
def working(label: str) -> Iterator[None]:
    """Show a spinner and the elapsed time during work of unknown length, if standard error is a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with _shown(Progress(*columns, console=err, transient=True)) as bar:
        bar.add_task(label, total=None)
        yield


@contextlib.contextmanager
def _shown(bar: Progress) -> Iterator[Progress]:
    """Show a bar on a terminal, unless another is shown already: Rich before 14.1 cannot show one inside another."""
    global _showing
    outermost, _showing = not _showing, True
    bar.disable = not (outermost and err.is_terminal)
    try:
        with bar:
            yield bar
    finally:
        _showing = not outermost
