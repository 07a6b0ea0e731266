"""The noise of a training: what two trainings of one recipe with other seeds differ by, pooled over recipes."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.stats import chi2
from scipy.stats import f as f_distribution

OUTLIER = 0.01  # a row whose noise would be as large by chance in so few cases keeps its own


@dataclass(frozen=True)
class Noise:
    """The variance of a training's accuracy beyond what is its row's and its seed's, and its degrees of freedom."""

    variance: float
    freedom: float
    rows: int = 1  # from which it is estimated


def row_noise(accuracies: np.ndarray) -> list[Noise | None]:
    """Return the noise of the trainings of each row, pooled over the rows in which it is alike.

    It starts with the half of the rows that spread least, and adds the next one as long as its spread is no larger than
    chance allows (an F test at `OUTLIER`). Rows that are left over, as with a failed training, keep their own noise.

    Args:
        accuracies: float (R, S) of R rows and S seeds; NaN where a training is missing.

    Returns:
        One a row; None for a row with fewer than two trainings that others share a seed with.
    """
    rows = [i for i, row in enumerate(accuracies) if np.isfinite(row).sum() > 1]
    found: list[Noise | None] = [None] * len(accuracies)
    if len(rows) < 2:
        return found
    table = accuracies[rows]
    table = table[:, np.isfinite(table).any(0)]
    centred = table - np.nanmean(table, 1, keepdims=True)
    freedom = np.isfinite(table).sum(1) - 1.0
    # What the median row shows of each seed is not moved by failed trainings.
    spread = _variances(centred - (np.nanmedian if len(rows) > 2 else np.nanmean)(centred, 0))
    alike = np.argsort(spread, kind="stable")[: max(2, (len(rows) + 1) // 2)].tolist()
    while True:
        pooled = _pooled(table[alike], len(alike) / len(rows))
        others = [i for i in range(len(rows)) if i not in alike]
        # The rows so far tell the effect of a seed, with an error of their own.
        own = _variances(centred - _means(centred[alike])) / (1 + 1 / len(alike))
        limit = f_distribution.isf(OUTLIER, freedom, max(pooled.freedom, 1.0)) * pooled.variance
        nearest = sorted((i for i in others if own[i] <= limit[i]), key=lambda i: own[i])
        if not nearest or pooled.freedom <= 0:
            break
        alike += nearest[: max(1, len(others) // 8)]
    pooled = _pooled(table[alike], 1.0)
    for i, row in enumerate(rows):
        found[row] = pooled if i in alike else Noise(float(own[i]), float(freedom[i]))
    return found


def _means(table: np.ndarray) -> np.ndarray:
    """Return the mean of each column without its gaps, NaN where there are only gaps."""
    return np.ma.masked_invalid(table).mean(0).filled(np.nan)


def _variances(table: np.ndarray) -> np.ndarray:
    """Return the variance of each row without its gaps, NaN where it has fewer than two values."""
    return np.ma.masked_invalid(table).var(1, ddof=1).filled(np.nan)


def _pooled(table: np.ndarray, share: float) -> Noise:
    """Return the mean square of row x seed of some rows.

    Args:
        share: of all rows, that these are the calmest of; their spread is scaled up to that of all.
    """
    there = np.isfinite(table)
    residual = np.where(there, table, 0.0)
    for _ in range(1 if there.all() else 100):  # rows and seeds in turn, which ends at the least squares
        for axis in (1, 0):
            count = np.maximum(there.sum(axis, keepdims=True), 1)
            residual -= np.where(there, residual.sum(axis, keepdims=True) / count, 0.0)
    rows, seeds = there.any(1).sum(), there.any(0).sum()
    freedom = int(there.sum() - rows - seeds) + _blocks(there)
    if freedom <= 0:
        return Noise(0.0, 0.0, len(table))
    variance, each = float((residual**2).sum() / freedom), freedom / len(table)
    expected = chi2.cdf(chi2.ppf(share, each), each + 2) / share if share < 1 else 1.0
    return Noise(variance / max(float(expected), 1e-3), float(freedom), len(table))


def _blocks(there: np.ndarray) -> int:
    """Return into how many parts a table falls whose rows share no seed."""
    if there.all():
        return 1
    rows, seeds = there.shape
    links = np.zeros((rows + seeds,) * 2, bool)
    links[:rows, rows:] = there
    used = np.concatenate([there.any(1), there.any(0)])
    return int(connected_components(links[np.ix_(used, used)], directed=False)[0])


def accuracy_noise(noise: Noise, accuracies: np.ndarray) -> Noise:
    """Return the variance between a row's trainings: the noise, and what seeds do to all rows alike.

    Args:
        accuracies: float (R, S) of the rows that `noise` is of, without gaps.
    """
    rows, seeds = accuracies.shape
    of_seeds, own = float(accuracies.mean(0).var(ddof=1)), (1 - 1 / rows) * noise.variance
    if of_seeds + own == 0:
        return noise
    freedom = (of_seeds + own) ** 2 / (of_seeds**2 / (seeds - 1) + own**2 / noise.freedom)
    return Noise(of_seeds + own, freedom, noise.rows)


def of_pair(noises: list[Noise | None], same: bool) -> Noise | None:
    """Return the noise of the difference of rows with these noises; None if one is not known.

    Args:
        same: whether the rows share one estimate, which is then counted once.
    """
    if not noises or any(noise is None for noise in noises):
        return None
    total = sum(noise.variance for noise in noises)
    if same or total == 0:
        return Noise(total, noises[0].freedom, noises[0].rows)
    parts = sum(noise.variance**2 / noise.freedom for noise in noises)
    return Noise(total, total**2 / parts, max(noise.rows for noise in noises))
