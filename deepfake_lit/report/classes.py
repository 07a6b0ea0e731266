"""The details of each class on a page: confusion matrices and figures, measured beside reported."""

from typing import Any

import numpy as np

from deepfake_lit.core.metrics import PER_CLASS, SHOWN_CLASSES, worst
from deepfake_lit.report import figures
from deepfake_lit.report.answers import distinct
from deepfake_lit.report.measure import Measured


def by_class(m: Measured, reported: dict[str, Any]) -> dict[str, Any]:
    """Return a row's confusion matrix and figures by class, the seeds' mean after the last epoch, and the reported.

    Of more than `SHOWN_CLASSES` these are the classes with the least recall; the last column of the confusion matrix
    counts the answers for all others.
    """
    runs = distinct(m.row.done)
    results = [run.result.figures("last", m.row.view) for run in runs]
    class_names = runs[0].result.data["class_names"]
    confusion = reported.get("confusion", {}).get(m.row.key)
    figures_of = reported.get("per_class", {}).get(m.row.key)
    if len(class_names) != len(confusion or figures_of or class_names):
        confusion = figures_of = None  # the report has other classes
    if figures_of is None and confusion is not None:
        figures_of = _from_confusion(np.array(confusion))
    counts = np.mean([r["confusion"] for r in results], 0)
    own = np.stack([np.mean([r[name] for r in results], 0) for name in PER_CLASS], 1)
    chosen, columns = list(range(len(class_names))), class_names
    if len(class_names) > SHOWN_CLASSES:
        confusion = figures_of = None
        chosen = worst(counts, SHOWN_CLASSES)
        rest = np.delete(counts[chosen], chosen, 1).sum(1)
        counts, own = np.column_stack([counts[np.ix_(chosen, chosen)], rest]), own[chosen]
        columns = [*(class_names[i] for i in chosen), "others"]
    return {
        "label": m.row.label,
        "seeds": len(results),
        "class_names": [class_names[i] for i in chosen],
        "columns": columns,
        "left_out": len(class_names) - len(chosen),
        "confusion": _shaded(counts),
        "reported_confusion": None if confusion is None else _shaded(np.array(confusion, float)),
        "figures": own.tolist(),
        "reported_figures": figures_of,
        "recalls": figures.recalls(m, figures_of and [row[1] for row in figures_of], class_names, chosen),
    }


def _from_confusion(counts: np.ndarray) -> list[list[float]]:
    right = np.diag(counts)
    precision = right / np.maximum(counts.sum(0), 1)
    recall = right / np.maximum(counts.sum(1), 1)
    f1 = 2 * right / np.maximum(counts.sum(0) + counts.sum(1), 1)
    return np.stack([precision, recall, f1], 1).tolist()


def _shaded(counts: np.ndarray) -> list[list[tuple[str, int]]]:
    """Return each cell's text, and its share of the true class in percent."""
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    whole = np.allclose(counts, np.round(counts))
    return [
        [(f"{c:.0f}" if whole else f"{c:.1f}", round(s)) for c, s in zip(*both, strict=True)]
        for both in zip(counts, shares, strict=True)
    ]
