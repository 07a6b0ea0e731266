"""Verdicts: what a measured difference says about a claimed one, as a value; its sentence is made here alone."""

import math
from dataclasses import dataclass
from typing import Any

from deepfake_lit.results.comparison import Estimate
from deepfake_lit.results.family import LEVEL, Family
from deepfake_lit.results.statistics import newcombe
from deepfake_lit.settings.report_file import DIRECTIONS

MARGIN = 0.01  # two accuracies that differ by less are the same, unless a report's YAML says otherwise
ROUNDING = 0.00101  # largest error of a difference of two shares that are printed in tenths of a percent


@dataclass(frozen=True)
class Verdict:
    """What a difference is.

    Attributes:
        kind: `reproduced` (without randomness, to the digits), `real`, `same` (smaller than a margin), `unsettled`,
            `contradicted` (the claim), `unseen` (the claim, at another scale than its own), `single` (one pair of
            trainings: real or not is not known) or `none` (no verdict at this scale).
        size: of a real difference beside the claim: as large, smaller, larger, the other way round; empty: no claim.
            Of a pair: in the claimed direction, against the claim, or empty if it is not even distinguishable.
        p: of the claim, corrected, where it is contradicted or unseen.
        points: the margin of `same`, the smallest detectable difference of `unsettled`; a share.
        seeds: pairs of trainings; 0: without randomness.
        scale: at which it was measured, if not the claim's own.
        blocks: "seeds", or "folds" in their place.
    """

    kind: str
    size: str = ""
    p: float | None = None
    points: float | None = None
    seeds: int = 0
    scale: str | None = None
    blocks: str = "seeds"

    @property
    def text(self) -> str:
        """Return the verdict in a few words."""
        named = {
            "reproduced": "reproduced",
            "real": "real" + (f", {self.size}" if self.size else ""),
            "same": f"the same within {_points(self.points)}",
            "unsettled": "not settled" if self.seeds != 1 else "not settled with 1 seed",
            "contradicted": "contradicted",
            "unseen": "not seen at this scale",
            "single": "differs in this one pair of trainings" + (f", {self.size}" if self.size else ""),
            "none": "none at this scale",
        }
        shown = self.scale if self.kind in ("real", "same", "unsettled") else None
        return named[self.kind] + (f", at scale {shown}" if shown else "")

    @property
    def reason(self) -> str:
        """Return what the verdict rests on, in one sentence."""
        if self.seeds == 1:
            return "what another seed would change is unknown: 2 more seeds would show it"
        trainings = f"{self.seeds} {self.blocks}" if self.seeds else "no randomness"
        claim = (
            "" if self.p is None else f"the claim has p {self.p:.3f}" if self.p >= 0.001 else "the claim has p < 0.001"
        )
        return {
            "reproduced": "no randomness, the same digits",
            "real": trainings,
            "same": f"{trainings}; two one-sided tests",
            "unsettled": f"{trainings}; differences above {_points(self.points)} would have been seen",
            "contradicted": f"{trainings}; {claim}",
            "unseen": f"{trainings}; {claim}, but networks or trainings of another size cannot contradict it",
        }.get(self.kind, "")


def _points(share: float | None) -> str:
    shown = f"{100 * (share or 0):.1f}".removesuffix(".0")
    return f"{shown} point{'' if shown == '1' else 's'}"


def claimed(reported: dict[str, Any], reference: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Return the differences that a report claims, each lowest and highest.

    The key is the class whose recall differs, or empty for the accuracy.
    """
    found: dict[str, tuple[float, float]] = {}
    if "gain" in reported:  # "+0.3-0.5 %"
        found[""] = tuple(reported["gain"])
    elif "accuracy" in reported and "accuracy" in reference:
        found[""] = (reported["accuracy"] - reference["accuracy"],) * 2
    return found | {name: tuple(gain) for name, gain in reported.get("recall_gain", {}).items()}


def judge(
    difference: Estimate,
    family: Family,
    claim: tuple[float, float] | None = None,
    *,
    deterministic: bool = False,
    scale: str | None = None,
    margin: float = MARGIN,
) -> Verdict:
    """Judge a measured difference beside a claimed one.

    A report's figures are of one training each. So a claim is contradicted only where one more pair of trainings on the
    same images would hardly show it. Without randomness, it is where the digits differ.

    Args:
        family: the comparisons that this one is read with.
        claim: lowest and highest.
        scale: at which it was measured, if networks or trainings had another size than the claim's.
    """
    seeds = 0 if deterministic else difference.seeds
    middle = 0.0 if claim is None else sum(claim) / 2
    p = family.adjusted(difference.p())
    against = bool(middle) and (difference.value > 0) != (middle > 0)
    if deterministic and claim is not None and claim not in DIRECTIONS:
        if claim[0] - ROUNDING <= difference.value <= claim[1] + ROUNDING:
            return Verdict("reproduced")
        return Verdict("contradicted", p=0.0)
    if seeds == 1:
        size = "against the claim" if against else "in the claimed direction" if middle else ""
        return Verdict("single", size, seeds=1) if p < LEVEL else Verdict("unsettled", seeds=1)
    of_claim = 1.0
    if claim is not None and not claim[0] <= difference.value <= claim[1]:
        of_claim = family.adjusted(difference.p_of_single(min(claim, key=lambda end: abs(end - difference.value))))
    beside = "smaller than claimed" if abs(difference.value) < abs(middle) else "larger than claimed"
    over = {"seeds": seeds, "blocks": difference.blocks}
    if of_claim < LEVEL and (against if p < LEVEL else beside.startswith("smaller")):
        return Verdict("unseen" if scale else "contradicted", p=of_claim, **over)
    if p < LEVEL:
        as_claimed = "as claimed" if claim in DIRECTIONS else "as large as claimed"
        size = "the other way round" if against else beside if of_claim < LEVEL else as_claimed
        return Verdict("real", size if claim else "", **over, scale=scale)
    if difference.p_of_margin(margin) < family.level():  # corrected, as the interval beside it is
        return Verdict("same", points=margin, **over, scale=scale)
    return Verdict("unsettled", points=difference.detectable(family.level()), **over, scale=scale)


def interval_of_values(first: float, second: float, images: int, phi: float = 0.0) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two accuracies of which only the values are known (Newcombe 1998).

    Args:
        phi: correlation of what two networks have right, in -1..1; 0: as of two independent samples of images.
    """
    spread = math.sqrt(first * (1 - first) * second * (1 - second))
    both = images * min(first * second + phi * spread, first, second)
    a, b = first * images, second * images
    return newcombe(both, a - both, b - both, images - a - b + both)
