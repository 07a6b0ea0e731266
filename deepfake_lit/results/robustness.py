"""The figures of answers for distorted images: by condition, beside the answers for clean ones, and over a grid."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from deepfake_lit.results.figures import figures_of
from deepfake_lit.results.statistics import Z, paired

CLEAN = "clean"


@dataclass(frozen=True)
class Condition:
    """A kind of distortion at one strength; `nothing` and `unit` as in `data.distortions.Distortion`."""

    kind: str
    strength: float | None = None  # None: the images as they are
    nothing: float = 0.0
    unit: str = ""
    source: str = ""

    @property
    def name(self) -> str:
        return self.kind if self.strength is None else f"{self.kind} {self.strength:g}"


def condition_figures(probabilities: np.ndarray, clean: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return the figures of one condition, ready for JSON.

    Args:
        probabilities, clean: float (N, K), for the distorted images and for the same ones as they are.
        labels: int64 (N,).

    Returns:
        The keys of `figures_of`; `confidence`, the mean top probability; `flips`, the share of images whose answer is
        another one than for the clean image; `from_clean`, the paired difference in accuracy with its 95 % interval and
        p.
    """
    answers, before = probabilities.argmax(1), clean.argmax(1)
    pair = paired(answers == labels, before == labels)
    return figures_of(probabilities, labels) | {
        "confidence": float(probabilities.max(1).mean()),
        "flips": float((answers != before).mean()),
        "from_clean": {"difference": pair.difference, "interval": list(pair.interval), "p": pair.p},
    }


def holm(p: list[float]) -> list[float]:
    """Return p-values corrected for their number (Holm, Scandinavian Journal of Statistics 6, 1979), in their order."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, p[i] * (len(p) - rank)))
        adjusted[i] = largest
    return adjusted


def mean_interval(values: np.ndarray) -> tuple[float, list[float]]:
    """Return the mean of a measure of each image, float (N,), and its 95 % interval over images, by the normal law."""
    mean = float(values.mean())
    half = Z * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return mean, [mean - half, mean + half]


def summary(conditions: list[Condition], found: list[dict[str, Any]], right: np.ndarray, labels: np.ndarray) -> dict:
    """Return the figures over a grid's distorted conditions, of one predictor.

    Args:
        found: `condition_figures` of each condition, the clean one first.
        right: float (N,), the share of the distorted conditions in which each image is right.

    Returns:
        `mean` accuracy with `interval` over images; `worst` and `worst_condition`; `confidence`, the mean over the
        conditions; `half`: for every kind with several strengths the one at which half of the advantage over chance is
        lost (see `half_strength`).
    """
    mean, interval = mean_interval(right)
    distorted = list(zip(conditions, found, strict=True))[1:]
    worst_condition, worst = min(distorted, key=lambda pair: pair[1]["accuracy"])
    chance = float(np.bincount(labels).max() / len(labels))
    kinds: dict[str, list[tuple[Condition, float]]] = {}
    for condition, figures in distorted:
        kinds.setdefault(condition.kind, []).append((condition, figures["accuracy"]))
    clean = found[0]["accuracy"]
    return {
        "clean": clean,
        "mean": mean,
        "interval": interval,
        "worst": worst["accuracy"],
        "worst_condition": worst_condition.name,
        "confidence": float(np.mean([figures["confidence"] for _, figures in distorted])),
        "half": {
            kind: half_strength(
                [(rows[0][0].nothing, clean), *((c.strength, accuracy) for c, accuracy in rows)], chance
            )
            for kind, rows in kinds.items()
            if len(rows) > 1
        },
    }


def half_strength(points: Iterable[tuple[float, float]], chance: float) -> float | None:
    """Return the strength at which half of the advantage over chance is lost, on straight lines between the points.

    Args:
        points: (strength, accuracy), that of no distortion first, then from the weakest on.

    Returns:
        None if it is not reached.
    """
    points = list(points)
    wanted = chance + (points[0][1] - chance) / 2
    for (weaker, above), (stronger, below) in pairwise(points):
        if below <= wanted < above:
            return weaker + (stronger - weaker) * (above - wanted) / (above - below)
    return None
