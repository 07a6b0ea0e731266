"""Figures of telling images of known classes from others by a score: unknown ones are the positives."""

import numpy as np

from deepfake_lit.results.comparison import Estimate, estimate

TPR = 0.95  # share of the known images that are kept where the false positives are counted
STEP = 0.02  # of that share, over which the slope of the false positives is taken
METRICS = ("auroc", "fpr95", "oscr")


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


def of_images(scores: np.ndarray, known: np.ndarray, right: np.ndarray) -> dict[str, np.ndarray]:
    """Return for every metric what each image gives: float (N,) with the metric as their mean.

    Its spread over images is that of the metric: that of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988) for
    the area, and the infinitesimal jackknife (Efron 1982) for the others. So estimates of means hold for them.

    Args:
        scores: float (N,), of known and unknown images.
        known, right: bool (N,); `right` counts for known images alone.
    """
    own, others, good = scores[known], scores[~known], right[known]
    won, lost = wins(own, others), losses(own, others)
    threshold = np.quantile(own, TPR, method="higher")
    low, high = (np.quantile(own, TPR + step) for step in (-STEP, STEP))
    slope = (np.mean(others <= high) - np.mean(others <= low)) / (2 * STEP)
    kept = (own <= threshold).astype(float)
    taken = (others <= threshold).astype(float)
    won_right = wins(own[good], others) * good.mean() if good.any() else np.zeros(len(others))
    return {
        "auroc": _spread(known, lost, won, float(won.mean())),
        "fpr95": _spread(known, taken.mean() - slope * (kept - kept.mean()), taken, float(taken.mean())),
        "oscr": _spread(known, lost * good, won_right, float((lost * good).mean())),
    }


def _spread(known: np.ndarray, own: np.ndarray, others: np.ndarray, value: float) -> np.ndarray:
    """Return (N,) with the mean `value`, in which each group has its parts, weighted so that variances add up."""
    found = np.empty(len(known))
    found[known] = value + (own - value) * len(known) / len(own)
    found[~known] = value + (others - value) * len(known) / len(others)
    return found


def estimated(values: np.ndarray) -> dict[str, float | list[float]]:
    """Return the mean over trainings and images with its 95 % interval, in [0, 1], for values (S, N) of `of_images`."""
    found = estimate(values, kind="measure")
    low, high = found.interval()
    return {"value": found.value, "interval": [max(low, 0.0), min(high, 1.0)]}


def compared(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Return the difference of two scores in a metric, both (S, N) of the same trainings and images."""
    return estimate(first - second, kind="measure")
