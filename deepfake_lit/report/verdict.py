"""Verdicts: what a measured difference says about a claimed one."""

from dataclasses import dataclass
from typing import Any

from deepfake_lit.results.statistics import Mean, newcombe, seeds_needed

LEVEL = 0.05


@dataclass(frozen=True)
class Verdict:
    kind: str  # real | contradicted | undecided | one pair
    text: str
    reason: str


def claimed(reported: dict[str, Any], reference: dict[str, Any]) -> tuple[float, float] | None:
    """Return the difference that a report claims, lowest and highest; None if it claims none."""
    if "gain" in reported:  # "+0.3-0.5 %"
        return tuple(reported["gain"])
    if "accuracy" not in reported or "accuracy" not in reference:
        return None
    difference = reported["accuracy"] - reference["accuracy"]
    return difference, difference


def judge(
    difference: Mean, p: float, claim: tuple[float, float] | None, deterministic: bool, comparisons: int = 1
) -> Verdict:
    """Judge a measured difference beside a claimed one.

    It is not enough for "contradicted" that the interval of the mean excludes the claim, since a report's figures are
    of one training each. Either a real difference has the other sign, or there is no real difference and the claim is
    larger than the measured one and outside of the interval for one more pair of trainings (`Mean.single`). One seed
    tells nothing about that interval: the difference is then that of one pair of trainings.

    Args:
        p: corrected for the table's comparisons.
        claim: lowest and highest.
        comparisons: number of the table's comparisons.
    """
    if difference.seeds == 1 and not deterministic:
        return _of_one_pair(difference, p, claim)
    seeds = "no randomness" if deterministic else f"{difference.seeds} seeds"
    low, high = difference.interval if deterministic else difference.single
    outside = claim is not None and (claim[1] < low or claim[0] > high)
    middle = 0.0 if claim is None else sum(claim) / 2
    if p < LEVEL:
        if middle and (difference.value > 0) != (middle > 0):
            return Verdict("contradicted", "contradicted", f"{seeds}: the other way round")
        if not outside:
            return Verdict("real", "real", seeds)
        size = "smaller" if abs(difference.value) < abs(middle) else "larger"
        return Verdict("real", f"real, {size} than claimed", seeds)
    if outside and abs(difference.value) < abs(middle):
        return Verdict("contradicted", "contradicted", seeds)
    if deterministic:
        reason = f"{seeds}; the images are too few for a difference of this size"
        return Verdict("undecided", "not distinguishable from chance", reason)
    text = f"not distinguishable from seed noise with {difference.seeds} seeds"
    return Verdict("undecided", text, _needed(difference, middle, comparisons))


def _of_one_pair(difference: Mean, p: float, claim: tuple[float, float] | None) -> Verdict:
    middle = 0.0 if claim is None else sum(claim) / 2
    if p >= LEVEL:
        reason = "seed noise is unknown: at least 2 more would be needed"
        return Verdict("undecided", "not distinguishable with 1 seed", reason)
    text = "differs in this one pair of trainings"
    if middle:
        text += ", in the claimed direction" if (difference.value > 0) == (middle > 0) else ", against the claim"
    return Verdict("one pair", text, "seed noise is unknown: 2 more seeds would show it")


def _needed(difference: Mean, claim: float, comparisons: int) -> str:
    wanted = claim or difference.value
    if not wanted or not any(difference.components):
        return ""
    needed = seeds_needed(difference, wanted, LEVEL / comparisons)
    size = f"{'the claimed ' if claim else 'a difference of '}{100 * wanted:+.1f}"
    if needed is None:
        return f"for {size} no number of seeds would do: more images would be needed"
    if needed <= difference.seeds:
        return f"{size} would have been found by as many seeds in 4 of 5 experiments"
    return f"roughly {needed - difference.seeds} more would be needed for {size}"


def independent_interval(first: float, second: float, images: int) -> tuple[float, float]:
    """Compute the 95 % interval of the difference of two accuracies of which only the values are known: that of two
    independent samples (Newcombe's method 10 with phi 0)."""
    a, b = round(first * images), round(second * images)
    both = a * b / images
    low, high = newcombe(both, a - both, b - both, images - a - b + both)
    return low, high
