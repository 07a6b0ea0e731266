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


def values(run: Run, key: str, metric: str = "accuracy", label: int | None = None) -> np.ndarray:
    """Return a metric of each image, or of each with a label: float or bool (N,)."""
    if metric == "accuracy":
        return right(run, key, label)
    found = run.of_images(key, metric)
    return found if label is None else found[run.predictions["labels"] == label]


def same(ids: np.ndarray, others: np.ndarray) -> bool:
    """Return whether two runs are on the same images."""
    return ids is others or np.array_equal(ids, others)


def stacked(runs: list[Run], several: list[np.ndarray]) -> np.ndarray:
    """Return (S, N) of the values of several runs; OtherImages if these are not of the same images."""
    first = runs[0].predictions["ids"]
    if not all(same(run.predictions["ids"], first) for run in runs):
        raise OtherImages("its runs are on different images and cannot be put together")
    return np.stack(several)


def by_fold(runs: list[Run], several: list[np.ndarray]) -> np.ndarray:
    """Return the mean value of each fold, (k,), in the order of the folds; that over seeds where it has several."""
    found: dict[int, list[float]] = {}
    for run, its in zip(runs, several, strict=True):
        found.setdefault(run.fold, []).append(float(its.mean()))
    return np.array([np.mean(found[fold]) for fold in sorted(found)])


def distinct(runs: list[Run]) -> list[Run]:
    """Return each run once: a baseline without randomness is one run for every seed."""
    return list({run.folder: run for run in runs}.values())
