"""What the probabilities of a table's rows tell besides the answer, and of classes that are put together."""

from typing import Any

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.groups import group_labels, grouped, grouped_classes
from deepfake_lit.core.metrics import DETECTION, METRICS
from deepfake_lit.report.answers import distinct, which
from deepfake_lit.report.measure import Measured

Answered = tuple[np.ndarray, np.ndarray]  # probabilities float (N, K), labels int64 (N,)


def detection(measured: list[Measured], groups: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the means over runs of the metrics of detection for every row; None without any.

    Args:
        groups: classes that are put together; None: those of each run's own settings, if it has any.

    Returns:
        `metrics` by name; `rows`: label and values; `together`: the same of the classes that are put together, with the
        accuracy, and `names`, those of the groups.
    """
    rows, together, names = [], [], []
    for m in (m for m in measured if m.accuracy):
        runs = distinct(m.row.done)
        key = which(m.row, "last")
        answers = [(run.probabilities(key), run.predictions["labels"]) for run in runs]
        rows.append((m.row.label, _means(DETECTION, answers)))
        own = groups or runs[0].result.config.get("data", {}).get("groups")
        if own:
            try:
                classes = grouped_classes(own, runs[0].result.data["class_names"])
            except UserError:
                continue  # this row has other classes
            put = [(grouped(p, classes), group_labels(labels, classes)) for p, labels in answers]
            together.append((m.row.label, _means(("accuracy", *DETECTION), put)))
            names = list(classes)
    if not rows:
        return None
    return {"metrics": {n: METRICS[n] for n in DETECTION}, "rows": rows, "together": together, "names": names}


def _means(names: tuple[str, ...], answers: list[Answered]) -> dict[str, float | None]:
    found = {name: [METRICS[name].compute(*each) for each in answers] for name in names}
    return {name: None if None in values else float(np.mean(values)) for name, values in found.items()}
