"""The answers of a row's runs, from their stored predictions."""

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.report.rows import Row, Run


class OtherImages(UserError):
    """An attempt to put answers for different images together."""


def which(row: Row, epoch: str) -> str:
    """Return the key of a result's figures for the "best" or "last" epoch, in the row's view."""
    return f"{epoch}_{row.view}" if row.view else epoch


def right(run: Run, key: str, label: int | None = None) -> np.ndarray:
    """Return whether each image, or each with a label, is right: bool (N,), in the order of the run's images."""
    labels = run.predictions["labels"]
    found = run.answers(key) == labels
    return found if label is None else found[labels == label]


def stacked(several: list[tuple[Run, np.ndarray]]) -> np.ndarray:
    """Return (S, N) of the values of several runs; OtherImages if their images differ."""
    first = several[0][0].predictions["ids"]
    if not all(np.array_equal(run.predictions["ids"], first) for run, _ in several):
        raise OtherImages("its runs are on different images and cannot be put together")
    return np.stack([values for _, values in several])


def distinct(runs: list[Run]) -> list[Run]:
    """Return each run once: a baseline without randomness is one run for every seed."""
    return list({run.folder: run for run in runs}.values())
