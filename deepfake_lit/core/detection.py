"""Metrics of detection: one class against the rest by its probability, whatever threshold an answer takes.

Every function takes probabilities float (N, K) and labels int64 (N,). A class without images, or with all of them, has
no value: None.
"""

from collections.abc import Callable

import numpy as np

OneClass = Callable[[np.ndarray, np.ndarray], float]  # of sorted probabilities for its images, and for all others


def by_class(of: OneClass) -> Callable[[np.ndarray, np.ndarray], list[float | None]]:
    """Return a metric of each class from that of one class."""

    def compute(probabilities: np.ndarray, labels: np.ndarray) -> list[float | None]:
        found: list[float | None] = []
        for label in range(probabilities.shape[1]):
            own = labels == label
            scores = probabilities[:, label]
            both = own.any() and not own.all()
            found.append(float(of(np.sort(scores[own]), np.sort(scores[~own]))) if both else None)
        return found

    return compute


def macro(of: OneClass) -> Callable[[np.ndarray, np.ndarray], float | None]:
    """Return the mean over the classes that have a value; None if none has."""

    def compute(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
        there = [value for value in by_class(of)(probabilities, labels) if value is not None]
        return float(np.mean(there)) if there else None

    return compute


def _at_least(ordered: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return how many of the ordered values are at least each threshold."""
    return len(ordered) - np.searchsorted(ordered, thresholds, "left")


def average_precision(own: np.ndarray, others: np.ndarray) -> float:
    """Return the mean over the class's images of the precision at their own probability."""
    right = _at_least(own, own)
    return (right / (right + _at_least(others, own))).mean()


def auc(own: np.ndarray, others: np.ndarray) -> float:
    """Return the area under the ROC curve: how often an image of the class has the larger probability."""
    below, up_to = (np.searchsorted(others, own, side) for side in ("left", "right"))
    return (below + up_to).mean() / (2 * len(others))


def equal_error_rate(own: np.ndarray, others: np.ndarray) -> float:
    """Return the rate at which as many images of the class are missed as others are taken for it, on straight lines
    between the points of the ROC curve.
    """
    thresholds = np.unique(np.concatenate([own, others]))
    missed = np.append(1 - _at_least(own, thresholds) / len(own), 1.0)
    taken = np.append(_at_least(others, thresholds) / len(others), 0.0)
    after = int(np.argmax(missed >= taken))  # the last point has 1 and 0; the first 0 and 1
    gap = missed - taken
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return missed[after - 1] + share * (missed[after] - missed[after - 1])


def found_at(rate: float) -> OneClass:
    """Return the share of the class's images that are found where at most this share of others is taken for it."""

    def found(own: np.ndarray, others: np.ndarray) -> float:
        allowed = int(rate * len(others) + 1e-9)
        return (own > others[len(others) - 1 - allowed]).mean()

    return found


def risk_by_coverage(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the share of errors among the 1, 2, ... N images with the largest top probability, float (N,)."""
    order = np.argsort(-probabilities.max(1), kind="stable")
    wrong = (probabilities.argmax(1) != labels)[order]
    return np.cumsum(wrong) / np.arange(1, len(labels) + 1)


def risk_area(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of the risk over all coverages (Geifman, Uziel and El-Yaniv 2019, arXiv 1805.08206)."""
    return float(risk_by_coverage(probabilities, labels).mean())
