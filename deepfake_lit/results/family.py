"""Comparisons that are read together, and what that costs each of them."""

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

LEVEL = 0.05


@dataclass(frozen=True)
class Family:
    """Comparisons that are read together: an error anywhere among them has the probability of one.

    Differences from one reference share its noise, a correlation of 1/2 (Dunnett, JASA 50, 1955). For comparisons of
    several references nothing is assumed (Sidak, JASA 62, 1967).

    Attributes:
        share: of `LEVEL`, that is theirs: less than 1 where the comparisons are looked at more than once.
    """

    size: int
    one_reference: bool = True
    share: float = 1.0

    def adjusted(self, p: float) -> float:
        """Return the p of any comparison of the family being as far from 0 by chance, divided by `share`."""
        return min(1.0, self._of_any(p) / self.share)

    def _of_any(self, p: float) -> float:
        if self.size < 2 or p >= 1 or p <= 0:
            return min(p, 1.0)
        if not self.one_reference:
            return -math.expm1(self.size * math.log1p(-p))
        return min(1.0, max(p, _largest(norm.isf(p / 2), self.size)))

    @functools.cache  # noqa: B019  (a handful of families a page)
    def level(self) -> float:
        """Return the level of each comparison at which its adjusted p is `LEVEL`."""
        low, high = LEVEL * self.share / max(self.size, 1) / 2, LEVEL
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if self.adjusted(middle) > LEVEL else (middle, high)
        return high


_NODES = np.linspace(-9, 9, 3001)
_WEIGHTS = norm.pdf(_NODES) * (_NODES[1] - _NODES[0])


def _largest(z: float, size: int) -> float:
    """Return the probability that any of `size` normal deviates with correlations 1/2 goes beyond z, either way."""
    root = math.sqrt(2)
    inside = norm.cdf(root * z + _NODES) - norm.cdf(-root * z + _NODES)
    return float((_WEIGHTS * -np.expm1(size * np.log(np.maximum(inside, 1e-300)))).sum())
