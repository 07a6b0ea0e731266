"""Verdicts that are read more than once, at growing numbers of seeds, and err in 5 % of cases all together.

Every look spends a part of the error. How much by then is a function of the share of the information (Lan and DeMets,
Biometrika 70, 1983), here that which comes near to O'Brien and Fleming's bounds (Biometrics 35, 1979): little at first,
so that the last look is judged at nearly 5 %. What is left for a look is integrated numerically (Armitage, McPherson
and Rowe, JRSS A 132, 1969).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from deepfake_lit.results.family import LEVEL

NODES, WEIGHTS = np.polynomial.legendre.leggauss(300)


@dataclass(frozen=True)
class Looks:
    """The looks at the verdicts of a plan, each at a number of seeds: those before, and the present one.

    Attributes:
        declared: in the plan, growing; the last one is at all of its seeds.
        seeds: of the present look. With one seed there are no verdicts, and no look.
    """

    declared: tuple[int, ...]
    seeds: int

    @property
    def taken(self) -> tuple[int, ...]:
        """Return all looks up to the present one."""
        return (*(n for n in self.declared if 1 < n < self.seeds), self.seeds)

    @property
    def late(self) -> bool:
        """Return whether the plan was over before, and its error spent."""
        return len(self.taken) > 1 and self.seeds > self.declared[-1]

    def level(self) -> float:
        """Return the level at which the present look is judged."""
        return self._levels()[-1] if self.seeds > 1 else LEVEL

    def error(self) -> float:
        """Return how often any of the looks errs: `LEVEL`, unless there are more than declared."""
        return exceeded([n / self.seeds for n in self.taken], self._levels()) if self.late else LEVEL

    @property
    def text(self) -> str:
        """Return how many looks there were and what they cost, in one line; empty if there is but one."""
        number, last = len(self.taken), self.declared[-1]
        if self.late:
            return (
                f"Look {number}, at {self.seeds} seeds, where the plan ended at {last}: with undeclared looks a "
                f"difference that does not exist is called real in up to {self.error():.1%} of cases, not in 5 %."
            )
        if self.level() == LEVEL:
            return ""
        return (
            f"Look {number}, at {self.seeds} of {last} declared seeds. Looking again is paid for: p and intervals are "
            f"as at a level of {100 * self.level():.2g} %, so that all looks of the plan together err in 5 %."
        )

    def _levels(self) -> list[float]:
        end = max(self.declared[-1], self.seeds) if len(self.taken) == 1 else self.declared[-1]
        planned = levels([n / end for n in self.taken if n <= end])
        return [*planned, planned[-1]] if self.late else planned


@dataclass(frozen=True)
class Sequential:
    """The looks at claims of which each has as many seeds as it needed.

    Attributes:
        declared: numbers of seeds at which a claim may be looked at, growing.
        seeds: of the claims.
    """

    declared: tuple[int, ...]
    seeds: tuple[int, ...]

    @property
    def text(self) -> str:
        """Return how many looks there were and that they are paid for, in one line; empty if there was none."""
        taken = [sum(n <= seeds for n in self.declared) for seeds in self.seeds if seeds > 1]
        if not taken:
            return ""
        several = f"{min(taken)} to {max(taken)}" if min(taken) < max(taken) else str(taken[0])
        return (
            f"Each claim got seeds until it was settled, or more would hardly have settled it: {several} looks, at "
            f"{', '.join(map(str, self.declared))} declared seeds. Looking again is paid for: p and intervals are as "
            "at the level of a claim's last look, so that all looks together err in 5 %."
        )


def early(share: float, level: float) -> float:
    """Return the error spent by a share of the information: more of it early (Kim and DeMets, Biometrika 74, 1987)."""
    return level * share**2


def late(share: float, level: float) -> float:
    """Return the error spent by a share of the information, little at first: near to O'Brien and Fleming's bounds."""
    return 4 * norm.sf(norm.isf(level / 4) / np.sqrt(share))  # half of it on either side


def levels(
    information: list[float], level: float = LEVEL, spending: Callable[[float, float], float] = late
) -> list[float]:
    """Return the two-sided level of each look, so that all together err in no more than `level` of cases.

    Args:
        information: at each look, as a share of that of the whole plan, growing, in (0, 1]. The share of the seeds is
            the least that it can be, since the images are all there from the first look on: the later looks tell less
            anew than is counted, and err less often.
        spending: how much of the error is spent by a share of the information.
    """
    found: list[float] = []
    for i, share in enumerate(information):
        spent = spending(share, level)

        def beyond(own: float, so_far=information[: i + 1], spent=spent) -> float:
            return exceeded(so_far, [*found, own]) - spent

        found.append(float(brentq(beyond, 1e-15, level, xtol=1e-9)))
    return found


def exceeded(information: list[float], level_of: list[float]) -> float:
    """Return how often any look goes beyond its level where nothing is different.

    Args:
        information: as for `levels`; the statistic of a look is a Brownian motion at that time, divided by its root.
    """
    inside, at, before = np.ones(1), np.zeros(1), 0.0
    for share, level in zip(information, level_of, strict=True):
        bound = norm.isf(level / 2) * np.sqrt(share)
        last = (inside, at, np.sqrt(share - before), bound)
        points = NODES * bound
        inside = norm.pdf((points[:, None] - at) / last[2]) @ inside / last[2] * WEIGHTS * bound
        at, before = points, share
    masses, at, step, bound = last
    return 1 - float(masses @ (norm.cdf((bound - at) / step) - norm.cdf((-bound - at) / step)))
