"""What the page shows beside a table: other figures' differences, the best row, where the variance comes from."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfake_lit.core.metrics import METRICS, SHOWN_CLASSES
from deepfake_lit.report.answers import right, same, which
from deepfake_lit.report.measure import OF_IMAGES, Measured
from deepfake_lit.report.pairs import class_differences
from deepfake_lit.report.rows import Row, Table
from deepfake_lit.results.family import LEVEL
from deepfake_lit.results.selection import optimism

MANY = 3  # rows; of two, the better one is no choice to speak of
SOURCES = {
    "training": ("the noise of a training", "more seeds"),
    "folds": ("the folds: other images and seeds", "more folds"),
    "overlap": ("the training images that folds share", "more images"),
    "images": ("the choice of the images", "more images"),
    "rest": ("image by training", "more seeds or images"),
}


@dataclass
class Source:
    """A source of variance, with its part of the standard errors in points, None where it has none."""

    name: str
    accuracy: float | None
    difference: float
    share: float  # of the variance of a difference
    remedy: str


def variance(measured: list[Measured]) -> list[Source]:
    """Return where the variance of a table's accuracies and differences comes from, in the mean over its rows."""
    own = [m.accuracy.parts for m in measured if m.accuracy and m.accuracy.parts]
    differences = [m.difference.estimate.parts for m in measured if m.difference and m.difference.estimate.parts]
    differences = [parts for parts in differences if sum(parts.values())]
    if not differences:
        return []
    found = []
    for key, (name, remedy) in SOURCES.items():
        parts = [each for each in differences if key in each]
        if not parts:
            continue
        accuracy = [each[key] for each in own if key in each]
        share = float(np.mean([each[key] / sum(each.values()) for each in parts]))
        of_difference = float(np.mean([each[key] for each in parts]))
        points = np.sqrt(np.mean(accuracy)) if accuracy else None
        found.append(Source(name, points, np.sqrt(of_difference), share, remedy))
    return found


@dataclass
class Best:
    label: str
    value: float
    corrected: float  # without what the choice adds
    interval: tuple[float, float]  # that holds for all rows
    rows: int


def best_of(measured: list[Measured]) -> Best | None:
    """Return the best row of a table; None where there are few rows, or of several images."""
    rows = [m for m in measured if m.accuracy]
    ids = [run.predictions["ids"] for m in rows for run in m.row.done]
    if len(rows) < MANY or not all(same(each, ids[0]) for each in ids):
        return None
    shares = np.stack([np.mean([right(run, which(m.row, "last")) for run in m.row.done], 0) for m in rows])
    noise = np.array([m.accuracy.parts.get("training", 0.0) for m in rows])
    best = max(rows, key=lambda m: m.accuracy.value)
    level = 1 - (1 - LEVEL) ** (1 / len(rows))  # Sidak
    corrected = best.accuracy.value - optimism(shares, noise)
    return Best(best.row.label, best.accuracy.value, corrected, best.accuracy.interval(level), len(rows))


def metric_differences(measured: list[Measured]) -> dict[str, Any] | None:
    """Return the differences of the other metrics; None where there is none."""
    rows = [(m.row.label, m.difference.metrics) for m in measured if m.difference and m.difference.metrics]
    return {"metrics": {name: METRICS[name] for name in OF_IMAGES}, "rows": rows} if rows else None


def by_class(table: Table, measured: list[Measured], every: list[Row], most: int) -> dict[str, Any] | None:
    """Return the differences of recall and precision; None where a table has too many rows or classes to be read so."""
    several = [run.result.data["class_names"] for m in measured for run in m.row.done]
    classes = several[0] if several else []
    if not 2 < len(classes) <= SHOWN_CLASSES or len(measured) > most or any(names != classes for names in several):
        return None
    reference = next((row for row in table.rows if row.key == table.reference), None)
    rows = [m.row for m in measured if m.difference]
    if not rows:
        return None
    found = class_differences(rows, reference, every)
    of_metric = {name: [(row.label, each[row.key]) for row in rows] for name, each in found.items()}
    return {"classes": classes, "rows": of_metric}
