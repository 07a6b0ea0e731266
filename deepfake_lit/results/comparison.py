"""Comparison of recipes that were trained with the same seeds and answered the same images, or on the same folds.

An answer is right or wrong by four things: the recipe, the seed, the image, and chance. What a seed or an image does to
all recipes alike cancels in a difference of two. What is left is estimated from the answers:

- the noise of a training: the mean square of row x seed, over all rows of a table whose noise is alike. Two or three
  seeds of one row say next to nothing about it, six rows of three seeds say enough;
- the choice of images: the variance between images of the pair's own difference.

`estimate` adds the two. The degrees of freedom are Satterthwaite's (Biometrics Bulletin 2, 1946), the components those
of the analysis of variance (Searle, Casella and McCulloch, Variance Components, 1992). It is what Obuchowski and
Rockette (Communications in Statistics 24, 1995) do for readers and cases in the evaluation of diagnoses.
"""

import dataclasses
import math
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binomtest, norm
from scipy.stats import t as student_t

from deepfake_lit.results.family import LEVEL
from deepfake_lit.results.noise import Noise
from deepfake_lit.results.statistics import newcombe, wilson_interval

POWER = 0.8
LIMITS = {"share": (0.0, 1.0), "difference": (-1.0, 1.0), "measure": (-math.inf, math.inf)}


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and images, of a row's accuracy or of the difference of two rows, and how sure it is.

    Attributes:
        variance, freedom: of `value`, and its degrees of freedom.
        single_variance, single_freedom: of what one more training, or pair of them, on the same images would show,
            around `value`. A report's figures are of such a one.
        rows: from which the noise of a training is estimated.
        parts: of `variance`: "training" (the noise of a training), "images" (their choice), "rest" (image by training);
            or "folds" and "overlap" (of their training images).
        counts: images that both, only the first, only the second, neither of two rows has right, where these decide:
            with one pair of trainings, or where hardly an image differs. `variance` is then that over images alone.
        kind: "share" of a row, "difference" of two shares, or another "measure".
    """

    value: float
    variance: float
    freedom: float
    seeds: int
    images: int
    single_variance: float = 0.0
    single_freedom: float = math.inf
    rows: int = 1
    parts: dict[str, float] = field(default_factory=dict)
    counts: tuple[float, float, float, float] | None = None
    kind: str = "difference"

    @property
    def blocks(self) -> str:
        """Return over what it is a mean, besides images."""
        return "folds" if "folds" in self.parts else "seeds"

    def p(self) -> float:
        """Return the two-sided p of the true value being 0."""
        if self.counts:
            _, gained, lost, _ = map(round, self.counts)
            return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
        if self.variance == 0:
            return float(self.value == 0)
        return 2 * float(student_t.sf(abs(self.value) / math.sqrt(self.variance), self.freedom))

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the interval of confidence 1 - level."""
        if self.counts:
            return newcombe(*self.counts, z=float(norm.isf(level / 2)))
        if self.kind == "share" and (self.seeds == 1 or self.variance == 0):
            return tuple(wilson_interval(self.value, self.images, float(norm.isf(level / 2))))
        half = self._quantile(1 - level / 2) * math.sqrt(self.variance)
        lowest, highest = LIMITS[self.kind]
        return max(self.value - half, lowest), min(self.value + half, highest)

    def p_of_single(self, claim: float) -> float:
        """Return the two-sided p of `claim` being what one more training, or pair of them, shows."""
        if self.single_variance == 0:
            return float(self.value == claim)
        return 2 * float(student_t.sf(abs(claim - self.value) / math.sqrt(self.single_variance), self.single_freedom))

    def p_of_margin(self, margin: float) -> float:
        """Return the p of a true difference of `margin` or more, either way: two one-sided tests (Schuirmann 1987)."""
        if self.variance == 0:
            return float(abs(self.value) >= margin)
        return float(student_t.sf((margin - abs(self.value)) / math.sqrt(self.variance), self.freedom))

    def detectable(self, level: float = LEVEL) -> float:
        """Return the smallest true difference that such an experiment finds in 4 of 5 cases."""
        return (self._quantile(1 - level / 2) + self._quantile(POWER)) * math.sqrt(self.variance)

    def chance_of_more(self) -> float:
        """Return the probability that one more pair of trainings on these images shows a difference above 0."""
        if self.single_variance == 0:
            return 0.5 + 0.5 * float(np.sign(self.value))
        return float(student_t.cdf(self.value / math.sqrt(self.single_variance), self.single_freedom))

    def _quantile(self, share: float) -> float:
        return float(student_t.ppf(share, self.freedom))


FEW = 3  # images that differ; so few give no variance to go by


def estimate(values: np.ndarray, noise: Noise | None = None, kind: str = "difference") -> Estimate:
    """Return the mean over seeds and images of a row's answers, or of the paired differences of two rows.

    Args:
        values: (S, N) for S trainings or pairs of them and N images: whether an answer is right, 1 or 0, or the
            difference of two of these; or another measure of each image, or the difference of two.
        noise: of a training, or of a pair's difference; None: by these trainings alone.
        kind: as of `Estimate`.
    """
    values = values.astype(np.float64)
    seeds, images = values.shape
    by_seed, by_image = values.mean(1), values.mean(0)
    mean, of_images = float(values.mean()), float(by_image.var(ddof=1)) / images  # holds chance once, as noise does
    few = kind == "difference" and np.count_nonzero((values != 0).any(0)) <= FEW
    if few or seeds == 1:
        gained, lost = int((by_image > 0).sum()), int((by_image < 0).sum())
        counts = (images - gained - lost, gained, lost, 0) if kind == "difference" else None
        single = 2 * of_images, images - 1
        return Estimate(mean, of_images, images - 1, seeds, images, *single, counts=counts, kind=kind)
    rest = ((values - by_seed[:, None] - by_image + mean) ** 2).sum() / ((seeds - 1) * (images - 1))
    noise = noise or Noise(float(by_seed.var(ddof=1)), seeds - 1.0)
    both = float(rest) / images / seeds  # chance is in the noise and in the images
    total, freedom = _sum(noise.variance / seeds, noise.freedom, of_images, both, images)
    single = _sum(noise.variance * (1 + 1 / seeds), noise.freedom, of_images, both, images)
    parts = {"training": max(noise.variance / seeds - both, 0), "images": max(of_images - both, 0), "rest": both}
    return Estimate(mean, total, freedom, seeds, images, *single, noise.rows, parts, kind=kind)


def fold_estimate(
    means: np.ndarray, folds: int, images: int, noise: Noise | None = None, kind="difference"
) -> Estimate:
    """Return the mean over folds of a row's accuracy, or of the difference of two rows.

    Trainings on other folds share most of their images, so that they differ by less than trainings on new ones would.
    Nadeau and Bengio (Machine Learning 52, 2003) add the ratio of test to training images to 1 / K: 1 / (K - 1).

    Args:
        means: (k,), of the folds that are there.
        folds: K, into how many the training images are divided.
        images: of all these folds.
        noise: of a fold's figure, or difference; None: by these folds alone.
        kind: as of `Estimate`.
    """
    noise = noise or Noise(float(np.var(means, ddof=1)) if len(means) > 1 else 0.0, max(len(means) - 1.0, 1.0))
    parts = {"folds": noise.variance / len(means), "overlap": noise.variance / (folds - 1)}
    total = sum(parts.values())
    single = total + noise.variance, noise.freedom
    return Estimate(
        float(np.mean(means)), total, noise.freedom, len(means), images, *single, noise.rows, parts, kind=kind
    )


def paired_estimate(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Return the difference of two single predictors, (N,) right or not, with the table of counts that decides."""
    found = estimate((first.astype(int) - second.astype(int))[None])
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    return dataclasses.replace(found, counts=(both, *found.counts[1:3], neither))


def _sum(noise: float, freedom: float, of_images: float, both: float, images: int) -> tuple[float, float]:
    """Return the sum of two estimated variances, less what is in both, with its degrees of freedom.

    A small estimate with one degree of freedom says so little that half of what is known to be in it is its least.
    """
    total = of_images + max(noise - both, 0)
    if total == 0:
        return 0.0, math.inf
    counted = noise if freedom > 1 else max(noise, (noise + both) / 2)
    return total, total**2 / (counted**2 / freedom + of_images**2 / (images - 1))
