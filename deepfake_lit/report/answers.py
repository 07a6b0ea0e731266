"""The answers of a row's runs, from their stored predictions."""

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.report.rows import Row, Run


class OtherImages(UserError):
    """An attempt to put answers for different images together."""


def which(row: Row, epoch: str) -> str:
    """Return the key of a result's figures for the "best" or "last" epoch, in the row's view."""
    return f"{epoch}_{row.view}" if row.view else epoch


def right(run: Run, key: str) -> np.ndarray:
    """Return whether each image is right: bool (N,), in the order of the run's images."""
    return run.answers(key) == run.predictions["labels"]


def values(run: Run, key: str, metric: str = "accuracy", label: int | None = None) -> np.ndarray:
    """Return what each image gives to a metric that is their mean: float or bool (N,).

    Args:
        metric: accuracy, one of the `METRICS` that are means over images, or recall or precision of a class.
        label: the number of that class. Recall is a mean over its images alone.
    """
    if metric == "accuracy":
        return right(run, key)
    if metric == "recall":
        return right(run, key)[run.predictions["labels"] == label]
    if metric == "precision":
        return _of_precision(run.answers(key) == label, run.predictions["labels"] == label)
    return run.of_images(key, metric)


def _of_precision(answered: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return what each image gives to the precision of a class, float (N,).

    Their mean is the precision and their spread is its, since a ratio is treated as linear near its value (the delta
    method). Without an answer of the class it is 0, as in scikit-learn.
    """
    if not answered.any():
        return np.zeros(len(answered))
    precision = (answered & true).sum() / answered.sum()
    return precision + answered * (true - precision) / answered.mean()


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
