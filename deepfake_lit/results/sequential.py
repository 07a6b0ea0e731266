"""Which claim gets more seeds: the one whose next look is the likeliest to end in a verdict, for what it costs.

A claim is looked at when it has a declared number of seeds, and no more once it has a verdict. Whoever looks again
pays for it (see `looks.py`). How much a look costs depends on how much more the last one can tell: the images are all
there from the first look on, and only the noise of the trainings shrinks. So the share of the information is that of
the variances, as they are estimated from the claim's own answers (Lan and Zucker, Statistics in Medicine 12, 1993).

Where more seeds would hardly bring one, as where the choice of the images is what is not
known, it is left as it is. To stop for that can only make errors rarer (Jennison and Turnbull, Group Sequential
Methods, 2000, section 10.4: conditional power).
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.stats import norm
from scipy.stats import t as student_t

from deepfake_lit.results.comparison import Estimate
from deepfake_lit.results.family import LEVEL, Family
from deepfake_lit.results.looks import early, levels

SPENDING = early
RATIOS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
FUTILE = 0.2  # a lesser chance of a verdict is not worth more seeds


@dataclass(frozen=True)
class Open:
    """A claim without a verdict.

    Attributes:
        rows: the two rows that it compares.
        family: the comparisons that it is read with, at one look.
    """

    rows: tuple[str, str]
    estimate: Estimate
    family: Family


def next_look(
    claims: list[Open], looks: tuple[int, ...], margin: float, cost: Callable[[tuple[str, str], int], float]
) -> tuple[Open, int] | None:
    """Return the claim that gets more seeds and the look that it gets them for; None if none is worth it.

    Args:
        looks: declared numbers of seeds, growing.
        margin: below which two rows are the same.
        cost: of bringing two rows to a number of seeds, above 0.
    """
    found = []
    for claim in claims:
        for seeds in looks:
            if seeds > claim.estimate.seeds:
                level = level_of(claim.estimate, claim.family, looks, seeds)
                chance = chance_of_verdict(claim.estimate, seeds, level, margin)
                if chance >= FUTILE:
                    found.append((chance / cost(claim.rows, seeds), claim, seeds))
    return max(found, key=lambda each: each[0], default=(0, None, 0))[1:] if found else None


def level_of(found: Estimate, family: Family, looks: tuple[int, ...], seeds: int) -> float:
    """Return the level of one comparison of a family at a look at so many seeds."""
    return at_look(family, looks, seeds, noise_ratio(found)).level()


@functools.cache
def at_look(family: Family, looks: tuple[int, ...], seeds: int, ratio: float) -> Family:
    """Return a family of comparisons as it is read at one of several looks.

    Args:
        looks: declared numbers of seeds.
        ratio: as `noise_ratio` returns it.
    """
    end = max(looks[-1], seeds)
    taken = [*(n for n in looks if 1 < n < seeds), seeds]
    shares = [n / end if math.isinf(ratio) else (1 + ratio / end) / (1 + ratio / n) for n in taken]
    return Family(family.size, family.one_reference, levels(shares, spending=SPENDING)[-1] / LEVEL)


def noise_ratio(found: Estimate) -> float:
    """Return the variance from one seed beside that from the choice of the images, rounded up to one of `RATIOS`."""
    of_seeds = found.seeds * (found.parts.get("training", 0.0) + found.parts.get("rest", 0.0))
    images = found.parts.get("images", 0.0)
    return next((ratio for ratio in RATIOS if of_seeds <= ratio * images), math.inf)


def chance_of_verdict(found: Estimate, seeds: int, level: float, margin: float) -> float:
    """Return the probability that a difference is called real, or the same, once it has so many seeds.

    It takes the difference and its noise as they were found. What comes from the choice of the images stays.

    Args:
        level: of the comparison at that look.
    """
    of_seeds = found.parts.get("training", 0.0) + found.parts.get("rest", 0.0)
    if not of_seeds:  # more seeds would show the same
        return 0.0
    error = math.sqrt(found.parts["images"] + of_seeds * found.seeds / seeds)
    moves = math.sqrt(of_seeds * (1 - found.seeds / seeds))  # how far the mean may go with the further seeds
    freedom = found.freedom * seeds / found.seeds
    outer = student_t.isf(level / 2, freedom) * error
    inner = max(margin - student_t.isf(level, freedom) * error, 0.0)
    real = norm.sf((outer - found.value) / moves) + norm.cdf((-outer - found.value) / moves)
    same = norm.cdf((inner - found.value) / moves) - norm.cdf((-inner - found.value) / moves)
    return 1.0 if inner >= outer else float(real + same)
