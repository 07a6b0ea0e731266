"""What a report claims and nothing here can test, and how many seeds or images a test would take.

It goes by the reported numbers alone: accuracies, the number of images, and the spread over seeds where it is stated.
"""

import math
from typing import Any

from scipy.stats import norm, ttest_ind_from_stats
from scipy.stats import t as student_t

from deepfake_lit.report.claims import Claim
from deepfake_lit.results.comparison import POWER
from deepfake_lit.results.family import LEVEL
from deepfake_lit.settings.report_file import DIRECTIONS

# Correlations of what two networks have right: of strangers, and of networks of one kind (0.72 to 0.88 in the published
# tables of this project).
AGREEMENT = (0.0, 0.8)
SEEDS = 3  # of each row, the fewest that are worth it
NEEDED = (norm.isf(LEVEL / 2) + norm.isf(1 - POWER)) ** 2


def unchecked(found: list[Claim], reported: dict[str, Any]) -> list[str]:
    """Return a sentence for each claimed difference that was not measured."""
    return [_said(claim, reported) for claim in found if claim.m.difference is None and claim.middle]


def _said(claim: Claim, reported: dict[str, Any]) -> str:
    text = f"{claim.what} in place of {claim.reference}, "
    if claim.claimed in DIRECTIONS:
        return f"{text}{DIRECTIONS[claim.claimed]}: the report does not say by how much, so a test may take any number."
    size, text = abs(claim.middle), f"{text}{100 * claim.middle:+.1f} points: "
    first, second = ({} if claim.recall_of else _stated(reported, label) for label in (claim.row, claim.reference))
    parts = []
    if "accuracy" in first and "accuracy" in second:
        counts = [images_needed(first["accuracy"], second["accuracy"], size, phi) for phi in AGREEMENT]
        enough = "which it has" if reported["images"] >= counts[0] else f"it has {reported['images']:,}"
        parts.append(
            f"predictions for about {counts[0]:,} images would show it if the two err independently, for {counts[1]:,} "
            f"if they agree as networks of one kind do ({enough})"
        )
    spreads = [row["std"] for row in (first, second) if row.get("std")]
    several = [row.get("seeds", 0) for row in (first, second)]
    if len(spreads) == 2:
        seeds = max(2, math.ceil(NEEDED * (spreads[0] ** 2 + spreads[1] ** 2) / size**2))
        parts.append(f"by the stated spread it takes about {seeds} seeds of each")
        if "accuracy" in first and "accuracy" in second and min(several) > 1:
            test = ttest_ind_from_stats(
                first["accuracy"], spreads[0], several[0], second["accuracy"], spreads[1], several[1], equal_var=False
            )
            parts.append(f"the stated means over {several[0]} and {several[1]} seeds differ with p = {test.pvalue:.2g}")
    else:
        limit = size / (student_t.isf(LEVEL / 2, 2 * SEEDS - 2) * math.sqrt(2 / SEEDS))
        parts.append(
            f"no spread over seeds is stated; {SEEDS} seeds of each show it if trainings of one recipe have a standard "
            f"deviation below {100 * limit:.1f} points"
        )
    return f"{text}{'; '.join(parts)}."


def images_needed(first: float, second: float, difference: float, phi: float) -> int:
    """Return on how many images a difference of two accuracies is found in 4 of 5 cases (Connor, Biometrics 43, 1987).

    Args:
        phi: correlation of what the two have right.
    """
    spreads = first * (1 - first), second * (1 - second)
    variance = sum(spreads) - 2 * phi * math.sqrt(spreads[0] * spreads[1])
    variance = max(variance, difference)  # as many images differ at least
    return max(1, math.ceil(NEEDED * variance / difference**2))


def _stated(reported: dict[str, Any], label: str) -> dict[str, Any]:
    """Return what the tables state of a row, by its label; the first table counts."""
    found: dict[str, Any] = {}
    for table in reported["tables"]:
        for row in table["rows"]:
            if row["label"] == label:
                found = row | found
    return found
