"""The classification metrics: one table for results, sweeps, pages and the terminal.

To add a metric, write a function and add a line to `METRICS`. It is then logged, offered as a monitor and shown like
the others; for older runs it is computed from their stored predictions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 15  # number of bins of the calibration error
SHOWN_CLASSES = 20  # most classes in a table on the terminal or a page; files hold all of them
LEAST = 1e-12  # log loss counts smaller probabilities as this


@dataclass(frozen=True)
class Metric:
    """How a metric is named, computed and shown.

    Attributes:
        compute: takes probabilities float (N, K) and labels int64 (N,); returns one number, or one per class.
        better: "max" or "min".
        column: its name in CSV tables; None: pages and tables have no column for it.
        percent: whether pages show it in percent. The terminal shows four digits.
        of_images: takes the same, returns float (N,) with that mean: the page then has an interval of it. None: it is
            no mean over images.
    """

    label: str
    compute: Callable[[np.ndarray, np.ndarray], Any]
    better: str = "max"
    column: str | None = None
    percent: bool = True
    of_images: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images that are classified correctly."""
    return float((probabilities.argmax(1) == labels).mean())


def macro_f1(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean F1 of the classes that occur in the labels or the predictions."""
    from sklearn.metrics import f1_score

    classes = range(probabilities.shape[1])
    return float(f1_score(labels, probabilities.argmax(1), labels=classes, average="macro", zero_division=np.nan))


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the expected calibration error of the top probability (Guo et al. 2017, arXiv 1706.04599)."""
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    p = torch.from_numpy(probabilities)
    return multiclass_calibration_error(p, torch.from_numpy(labels), p.shape[1], n_bins=BINS).item()


def calibration_gaps(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how much of the calibration error comes from each image, (N,): their mean is it.

    That is the top probability less right or wrong, turned round in bins that are right too often. With the bins'
    signs held, their spread is that of the error (the infinitesimal jackknife: Efron, The Jackknife, the Bootstrap and
    Other Resampling Plans, 1982).
    """
    top = probabilities.max(1)
    gaps = top.astype(np.float64) - (probabilities.argmax(1) == labels)
    which = np.digitize(top, np.linspace(0, 1, BINS + 1, dtype=np.float32))
    return gaps * np.sign(np.bincount(which, gaps))[which]


def log_losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the negative logarithm of the true class's probability for each image, in nats, (N,)."""
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.maximum(true, LEAST))


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean negative logarithm of the true class's probability, in nats."""
    return float(log_losses(probabilities, labels).mean())


def _of_classes(which: int) -> Callable[[np.ndarray, np.ndarray], list[float]]:
    def compute(probabilities: np.ndarray, labels: np.ndarray) -> list[float]:
        from sklearn.metrics import precision_recall_fscore_support

        classes = range(probabilities.shape[1])
        found = precision_recall_fscore_support(labels, probabilities.argmax(1), labels=classes, zero_division=0)
        return found[which].tolist()

    return compute


METRICS = {
    "accuracy": Metric("accuracy", accuracy),
    "f1": Metric("macro F1", macro_f1, column="macro_f1"),
    "calibration_error": Metric(
        "calibration error", calibration_error, "min", "calibration_error", of_images=calibration_gaps
    ),
    "log_loss": Metric("log loss", log_loss, "min", "log_loss", percent=False, of_images=log_losses),
}
PER_CLASS = {
    "precision_of": Metric("precision", _of_classes(0)),
    "recall_of": Metric("recall", _of_classes(1)),
    "f1_of": Metric("F1", _of_classes(2)),
}
# metrics that are logged at each validation; log loss is left out because val/loss, the mean over batches, is it
LOGGED = {name: metric for name, metric in METRICS.items() if name != "log_loss"}
MONITORS = ("val/loss", *(f"val/{name}" for name in LOGGED))


def confusion(probabilities: np.ndarray, labels: np.ndarray) -> list[list[int]]:
    """Return the confusion matrix: counts by true class (rows) and predicted class (columns)."""
    k = probabilities.shape[1]
    return np.bincount(labels * k + probabilities.argmax(1), minlength=k * k).reshape(k, k).tolist()


def worst(counts: Any, most: int) -> list[int]:
    """Return the classes that a figure or table shows, in their own order: all, or the `most` with the least recall.

    Args:
        counts: (K, K), a confusion matrix. A class without images comes after those with some.
    """
    counts = np.asarray(counts)
    images = counts.sum(1)
    recall = np.where(images > 0, np.diag(counts) / np.maximum(images, 1), 2.0)
    return sorted(np.argsort(recall, kind="stable")[:most].tolist())


def better(monitor: str) -> str:
    """Return whether the best value of a monitor, one of `MONITORS`, is its "max" or its "min"."""
    return "min" if monitor == "val/loss" else METRICS[monitor.removeprefix("val/")].better
