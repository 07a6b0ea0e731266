"""What accuracies on the same images allow to say: of one predictor, and of two beside each other."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

Z = 1.959964  # of 95 %


@dataclass(frozen=True)
class Paired:
    """`difference` of two accuracies on the same images (first minus second), its 95 % interval over images, and the p
    of McNemar's exact test; `gained` and `lost` are the images that only the first, only the second has right."""

    difference: float
    interval: tuple[float, float]
    p: float
    gained: int
    lost: int


def paired(first: np.ndarray, second: np.ndarray) -> Paired:
    """Compare two predictors on the same images.

    Args:
        first, second: bool (N,), whether each image is right.

    The interval is method 10 of Newcombe, "Improved confidence intervals for the difference between binomial
    proportions based on paired data", Statistics in Medicine 17 (1998); the test is McNemar's (1947) in its exact
    form, a sign test on the images that one has right and the other has not.
    """
    both, gained = int((first & second).sum()), int((first & ~second).sum())
    lost, neither = int((~first & second).sum()), int((~first & ~second).sum())
    p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    return Paired((gained - lost) / len(first), newcombe(both, gained, lost, neither), float(p), gained, lost)


def newcombe(both: float, gained: float, lost: float, neither: float, z: float = Z) -> tuple[float, float]:
    """Return the interval of the difference of two shares on the same images (Newcombe 1998, method 10)."""
    n = both + gained + lost + neither
    p1, p2 = (both + gained) / n, (both + lost) / n
    (low1, high1), (low2, high2) = wilson_interval(p1, n, z), wilson_interval(p2, n, z)
    margins = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
    covariance = both * neither - gained * lost
    if covariance > 0:
        covariance = max(covariance - n / 2, 0)
    phi = covariance / math.sqrt(margins) if margins else 0.0

    def half(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0))

    difference = p1 - p2
    return difference - half(p1 - low1, high2 - p2), difference + half(high1 - p1, p2 - low2)


def wilson_interval(share: float, count: int, z: float = Z) -> list[float]:
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return [max(0.0, centre - half), min(1.0, centre + half)]  # rounding may pass the ends, as in -0.0000
