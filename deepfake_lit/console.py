"""What the commands print: messages, warnings, progress. Results go to standard output, the rest to standard error."""

from collections.abc import Iterable, Iterator

from rich.console import Console

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def warn(message: str) -> None:
    err.print(f"warning: {message}", style="yellow", markup=False)


def note(message: str) -> None:
    err.print(message, markup=False)


def progress(items: Iterable, label: str, total: int, step: int = 1) -> Iterator:
    """Yield the items under a progress bar with the remaining time, where standard error is a terminal.

    Args:
        total: what the bar counts to.
        step: how much of it one item is.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(label, total=total)
        for item in items:
            yield item
            bar.advance(task, step)
