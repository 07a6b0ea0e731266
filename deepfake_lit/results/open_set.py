"""Figures of telling images of known classes from others by a score: unknown ones are the positives."""

from typing import Any

import numpy as np

TPR = 0.95  # share of the known images that are kept where the false positives are counted


def separation(known: np.ndarray, unknown: np.ndarray) -> dict[str, float]:
    """Return how well a score of unfamiliarity tells unknown images from known ones.

    Args:
        known, unknown: float (N,) and (M,), larger is more unfamiliar.

    Returns:
        `auroc`, the chance that an unknown image has the larger score, ties count half; `fpr95`, the share of unknown
        images that are taken for known where 95 % of the known ones are kept.
    """
    threshold = np.quantile(known, TPR, method="higher")
    return {"auroc": float(wins(known, unknown).mean()), "fpr95": float((unknown <= threshold).mean())}


def wins(known: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Return for each unknown image the share of known ones with a smaller score, float (M,); ties count half."""
    ordered = np.sort(known)
    below, up_to = (np.searchsorted(ordered, unknown, side) for side in ("left", "right"))
    return (below + up_to) / (2 * len(known))


def losses(known: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Return for each known image the share of unknown ones with a larger score, float (N,); ties count half."""
    return wins(-unknown, -known)


def oscr(known: np.ndarray, right: np.ndarray, unknown: np.ndarray) -> float:
    """Return the area under the curve of right and kept known images over kept unknown ones (Dhamija, Gunther and Boult
    2018, arXiv 1811.04110).

    Args:
        right: bool (N,), whether the known images are given their own class.
    """
    return float((losses(known, unknown) * right).mean())


def figures(known: np.ndarray, right: np.ndarray, unknown: np.ndarray) -> dict[str, Any]:
    """Return `separation` and `oscr`."""
    return separation(known, unknown) | {"oscr": oscr(known, right, unknown)}
