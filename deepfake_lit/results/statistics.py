"""What accuracies on the same images allow to say: of one predictor, and of two beside each other."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest
from scipy.stats import f as f_distribution
from scipy.stats import t as student_t


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
    rows: float = 1.0  # so many rows of as many seeds have told the component between seeds


@dataclass(frozen=True)
class SeedNoise:
    """The variance between seeds that several rows have in common, and its degrees of freedom."""

    variance: float
    freedom: int


def mean_over(values: np.ndarray, noise: SeedNoise | None = None) -> Mean:
    """Compute the mean of several trainings on the same images, with both taken for samples.

    Seeds and images are crossed random effects. The variance of the mean is
    `between seeds / S + between images / N + rest / (S N)`, with components from the two-way analysis of variance
    (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4; one that comes out negative counts as 0), and
    the degrees of freedom of Student's t are Satterthwaite's (Biometrics Bulletin 2, 1946). The same is done for
    readers and cases in the evaluation of diagnoses. With one seed it is the interval over images alone: Wilson's of
    shares. `single` is wider: for one more training on the same images, as a report's is, the variance between seeds
    and the rest over N come on top.

    Args:
        values: (S, N), right (1) or not (0), or differences of two of these.
        noise: what other rows say of the component between seeds; None: by these values alone.
    """
    seeds, images = values.shape
    values = values.astype(np.float64)
    mean = float(values.mean())
    if seeds == 1:
        return Mean(mean, tuple(wilson_interval(mean, images)), None, 1, images)
    between_seeds, between_images, rest = _components(values)
    rows = 1.0
    if noise:
        between_seeds, rows = noise.variance, noise.freedom / (seeds - 1)
    components = max(between_seeds, 0), max(between_images, 0), rest
    variance, freedom = _variance(components, seeds, images, rows)
    lowest = -1.0 if values.min() < 0 else 0.0
    if variance == 0:  # every image is answered alike, as where nothing was learned: as sure as one training is
        interval = (mean, mean) if lowest < 0 else tuple(wilson_interval(mean, images))
        return Mean(mean, interval, float(mean == 0), seeds, images, components, interval, rows)
    p = 2 * float(student_t.sf(abs(mean) / math.sqrt(variance), freedom))

    def around(variance: float, freedom: float) -> tuple[float, float]:
        half = float(student_t.ppf(0.975, freedom)) * math.sqrt(variance)
        return max(mean - half, lowest), min(mean + half, 1.0)

    single = around(*_variance(components, seeds, images, rows, further=True))
    return Mean(mean, around(variance, freedom), p, seeds, images, components, single, rows)


def pooled_noise(several: list[np.ndarray]) -> tuple[SeedNoise, list[bool]]:
    """Pool the variance between seeds over all rows, since a few seeds of one row say next to nothing of it.

    Also return for each row whether it was counted. A row is left out where its seeds differ so much more than those of
    the others that the F test of both variances has a p below 0.001, as where one training of two has failed.

    Args:
        several: of each row (S, N), right or not, of two seeds or more.
    """
    spread = np.array([values.mean(1).var(ddof=1) for values in several])
    freedom = np.array([len(values) - 1 for values in several])
    counted = []
    for i in range(len(several)):
        others = np.delete(spread, i) @ np.delete(freedom, i)
        its = freedom.sum() - freedom[i]
        limit = f_distribution.ppf(0.999, freedom[i], its) * others / its if its else math.inf
        counted.append(bool(spread[i] <= limit))
    components = np.array([_components(values.astype(np.float64))[0] for values in several])
    weights = freedom * counted
    variance = float(components @ weights / weights.sum()) if weights.any() else 0.0
    return SeedNoise(max(variance, 0.0), int(weights.sum())), counted


def _components(values: np.ndarray) -> tuple[float, float, float]:
    """Between seeds, between images, and what is left; unbiased, so that the first two can be negative."""
    seeds, images = values.shape
    by_seed, by_image = values.mean(1), values.mean(0)
    ms_seeds = images * by_seed.var(ddof=1)
    ms_images = seeds * by_image.var(ddof=1)
    rest = values - by_seed[:, None] - by_image + values.mean()
    ms_rest = (rest**2).sum() / ((seeds - 1) * (images - 1))
    return float((ms_seeds - ms_rest) / images), float((ms_images - ms_rest) / seeds), float(ms_rest)


def _variance(
    components: tuple[float, float, float], seeds: int, images: int, rows: float = 1.0, further: bool = False
) -> tuple[float, float]:
    """(variance of the mean, or of one further training's value from it; its degrees of freedom).

    Args:
        rows: that the component between seeds is of, each of so many seeds.
    """
    between_seeds, between_images, rest = components
    ms_seeds, ms_images = images * between_seeds + rest, seeds * between_images + rest
    variance = between_seeds / seeds + between_images / images + rest / (seeds * images)
    if further:
        variance += between_seeds + rest / images
        ms_seeds *= seeds + 1
    if variance == 0:
        return 0.0, math.inf
    # the mean squares that it is a sum of: seeds, images, and the rest taken off once
    parts = ((ms_seeds, rows * (seeds - 1)), (ms_images, images - 1), (rest, (seeds - 1) * (images - 1)))
    scale = (seeds * images) ** 2
    return variance, variance**2 / (sum(ms**2 / freedom for ms, freedom in parts) / scale)


def seeds_needed(mean: Mean, difference: float, level: float = 0.05, at_most: int = 1000) -> int | None:
    """Return how many seeds find a difference of this size in 4 of 5 experiments (power 80 %) on as many images, by the
    variance components of a measured mean difference. None: no number of seeds does, and more images would be needed.

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


def wilson_interval(share: float, count: int, z: float = 1.959964) -> list[float]:
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return [max(0.0, centre - half), min(1.0, centre + half)]  # rounding may pass the ends, as in -0.0000
