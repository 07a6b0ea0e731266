"""What accuracies on the same images allow to say: of one predictor, and of two beside each other."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest
from scipy.stats import t as student_t

from deepfake_lit.metrics import wilson_interval


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
    """
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


def newcombe(both: float, gained: float, lost: float, neither: float) -> tuple[float, float]:
    n = both + gained + lost + neither
    p1, p2 = (both + gained) / n, (both + lost) / n
    (low1, high1), (low2, high2) = wilson_interval(p1, n), wilson_interval(p2, n)
    margins = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
    covariance = both * neither - gained * lost
    if covariance > 0:
        covariance = max(covariance - n / 2, 0)
    phi = covariance / math.sqrt(margins) if margins else 0.0

    def half(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0))

    difference = p1 - p2
    return difference - half(p1 - low1, high2 - p2), difference + half(high1 - p1, p2 - low2)


@dataclass(frozen=True)
class Mean:
    """A mean over seeds and images, its 95 % interval over both, the p of its being 0, and the components of its
    variance: between seeds, between images, and what is left; None of them with one seed."""

    value: float
    interval: tuple[float, float]
    p: float | None
    seeds: int
    images: int
    components: tuple[float, float, float] | None = None
    single: tuple[float, float] | None = None  # where a single training's value on these images lies, by these seeds
    rows: int = 1  # so many rows' seeds have told the component between seeds


def mean_over(values: np.ndarray, pooled: tuple[float, int] | None = None) -> Mean:
    """The mean of answers of several trainings on the same images, with both taken for samples.

    Seeds and images are crossed random effects. The variance of the mean is
    `between seeds / S + between images / N + rest / (S N)`, with components from the two-way analysis of variance
    (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4; one that comes out negative counts as 0), and
    the degrees of freedom of Student's t are Satterthwaite's (Biometrics Bulletin 2, 1946). The same is done for
    readers and cases in the evaluation of diagnoses. With one seed it is the interval over images alone: Wilson's of
    shares. `single` is wider: for one more training on the same images, as a report's is, the variance between seeds
    and the rest over N come on top.

    Args:
        values: (S, N), right (1) or not (0), or differences of two of these.
        pooled: the component between seeds, and of how many rows of S seeds each it is the mean; None: by these values
            alone.
    """
    seeds, images = values.shape
    values = values.astype(np.float64)
    mean = float(values.mean())
    if seeds == 1:
        return Mean(mean, tuple(wilson_interval(mean, images)), None, 1, images)
    between_seeds, between_images, rest = _components(values)
    rows = 1
    if pooled:
        between_seeds, rows = pooled
    components = max(between_seeds, 0), max(between_images, 0), rest
    variance, freedom = _variance(components, seeds, images, rows)
    lowest = -1.0 if values.min() < 0 else 0.0
    if variance == 0:  # every image is answered alike, as where nothing was learned: as sure as one training is
        interval = (mean, mean) if lowest < 0 else tuple(wilson_interval(mean, images))
        return Mean(mean, interval, float(mean == 0), seeds, images, components, interval, rows)
    t = float(student_t.ppf(0.975, freedom))
    p = 2 * float(student_t.sf(abs(mean) / math.sqrt(variance), freedom))

    def around(variance: float) -> tuple[float, float]:
        half = t * math.sqrt(variance)
        return max(mean - half, lowest), min(mean + half, 1.0)

    single = variance + components[0] + components[2] / images
    return Mean(mean, around(variance), p, seeds, images, components, around(single), rows)


def pooled_between_seeds(several: list[np.ndarray]) -> float:
    """The component of variance between seeds, as one of all rows: the mean of what each says, which of two seeds is
    next to nothing.

    Args:
        several: (S, N) of each row, right or not.
    """
    return max(float(np.mean([_components(values.astype(np.float64))[0] for values in several])), 0.0)


def _components(values: np.ndarray) -> tuple[float, float, float]:
    """Between seeds, between images, and what is left; unbiased, so that the first two can be negative."""
    seeds, images = values.shape
    by_seed, by_image = values.mean(1), values.mean(0)
    ms_seeds = images * by_seed.var(ddof=1)
    ms_images = seeds * by_image.var(ddof=1)
    rest = values - by_seed[:, None] - by_image + values.mean()
    ms_rest = (rest**2).sum() / ((seeds - 1) * (images - 1))
    return float((ms_seeds - ms_rest) / images), float((ms_images - ms_rest) / seeds), float(ms_rest)


def _variance(components: tuple[float, float, float], seeds: int, images: int, rows: int = 1) -> tuple[float, float]:
    """(variance of the mean, its degrees of freedom) at a number of seeds, of rows that the first component is of."""
    between_seeds, between_images, rest = components
    ms_seeds, ms_images = images * between_seeds + rest, seeds * between_images + rest
    variance = between_seeds / seeds + between_images / images + rest / (seeds * images)
    if variance == 0:
        return 0.0, math.inf
    # the mean squares that it is a sum of: seeds, images, and the rest taken off once
    parts = ((ms_seeds, rows * (seeds - 1)), (ms_images, images - 1), (rest, (seeds - 1) * (images - 1)))
    scale = (seeds * images) ** 2
    return variance, variance**2 / (sum(ms**2 / freedom for ms, freedom in parts) / scale)


def seeds_needed(mean: Mean, difference: float, level: float = 0.05, at_most: int = 1000) -> int | None:
    """How many seeds it takes to find a difference of this size in 4 of 5 experiments (power 80 %) on as many images,
    going by a measured mean difference's components of variance. None where no number of seeds does: more images would
    be needed.

    Args:
        level: of the test, two-sided.
    """
    for seeds in range(2, at_most + 1):
        variance, freedom = _variance(mean.components, seeds, mean.images, mean.rows)
        quantiles = float(student_t.ppf(1 - level / 2, freedom) + student_t.ppf(0.8, freedom))
        if abs(difference) >= quantiles * math.sqrt(variance):
            return seeds
    return None


def holm(p: list[float]) -> list[float]:
    """p-values corrected for their number (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    order = sorted(range(len(p)), key=p.__getitem__)
    corrected, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = largest
    return corrected
