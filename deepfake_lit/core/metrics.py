"""The classification metrics: one table for results, sweeps, pages and the terminal.

To add a metric, write a function and add a line to `METRICS`. It is then logged, offered as a monitor and shown like
the others; for older runs it is computed from their stored predictions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfake_lit.core import detection

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
        logged: whether each validation logs it, so that it can be a monitor.
        of_images: takes the same, returns float (N,) with that mean: the page then has an interval of it. None: it is
            no mean over images.
    """

    label: str
    compute: Callable[[np.ndarray, np.ndarray], Any]
    better: str = "max"
    column: str | None = None
    percent: bool = True
    of_images: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    logged: bool = True


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


def adaptive_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the calibration error of all classes' probabilities, in bins that hold equally many images each
    (Nixon et al. 2019, arXiv 1904.01685).
    """
    gaps = []
    for label in range(probabilities.shape[1]):
        order = np.argsort(probabilities[:, label], kind="stable")
        gap = (probabilities[:, label].astype(np.float64) - (labels == label))[order]
        gaps += [abs(part.mean()) for part in np.array_split(gap, BINS) if len(part)]
    return float(np.mean(gaps))


def brier_scores(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the squared distance of each image's probabilities from the truth, over all classes, (N,), in 0..2."""
    p = probabilities.astype(np.float64)
    return (p**2).sum(1) - 2 * p[np.arange(len(labels)), labels] + 1


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of `brier_scores` (Brier, Monthly Weather Review 78, 1950)."""
    return float(brier_scores(probabilities, labels).mean())


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
    "log_loss": Metric("log loss", log_loss, "min", "log_loss", percent=False, of_images=log_losses, logged=False),
    "adaptive_calibration_error": Metric("adaptive calibration error", adaptive_calibration_error, "min", logged=False),
    "brier": Metric("Brier score", brier_score, "min", percent=False, of_images=brier_scores, logged=False),
    "risk_area": Metric("risk over coverage, area", detection.risk_area, "min", logged=False),
    "ap": Metric("AP", detection.macro(detection.average_precision), logged=False),
    "auc": Metric("AUC", detection.macro(detection.auc), logged=False),
    "eer": Metric("EER", detection.macro(detection.equal_error_rate), "min", logged=False),
    "found_at_1": Metric("TPR at 1 % FPR", detection.macro(detection.found_at(0.01)), logged=False),
    "found_at_5": Metric("TPR at 5 % FPR", detection.macro(detection.found_at(0.05)), logged=False),
}
PER_CLASS = {
    "precision_of": Metric("precision", _of_classes(0)),
    "recall_of": Metric("recall", _of_classes(1)),
    "f1_of": Metric("F1", _of_classes(2)),
}
# one class against the rest; None for a class without images
AGAINST_REST = {
    "ap_of": Metric("AP", detection.by_class(detection.average_precision)),
    "auc_of": Metric("AUC", detection.by_class(detection.auc)),
    "eer_of": Metric("EER", detection.by_class(detection.equal_error_rate), "min"),
    "found_at_1_of": Metric("TPR at 1 % FPR", detection.by_class(detection.found_at(0.01))),
    "found_at_5_of": Metric("TPR at 5 % FPR", detection.by_class(detection.found_at(0.05))),
}
DETECTION = ("adaptive_calibration_error", "brier", "risk_area", *(n.removesuffix("_of") for n in AGAINST_REST))
# metrics of each validation; log loss is none of them because val/loss, the mean over batches, is it
LOGGED = {name: metric for name, metric in METRICS.items() if metric.logged}
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
