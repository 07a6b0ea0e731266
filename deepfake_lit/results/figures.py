"""The figures of a result, computed from predicted probabilities. Runs and `evaluate` report the same ones."""

from typing import Any

import numpy as np

from deepfake_lit.core.metrics import AGAINST_REST, METRICS, PER_CLASS, confusion
from deepfake_lit.results.statistics import wilson_interval


def figures_of(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Compute every metric, as plain numbers and lists, ready for JSON.

    Args:
        probabilities: float (N, K).
        labels: int64 (N,).

    Returns:
        The keys of `METRICS`, `PER_CLASS` and `AGAINST_REST`, `confusion` (rows are true classes), `images` (N), and
        `interval`: Wilson's 95 % interval of the accuracy over images (Wilson 1927), not over seeds.
    """
    found = {name: m.compute(probabilities, labels) for name, m in (METRICS | PER_CLASS | AGAINST_REST).items()}
    found["confusion"] = confusion(probabilities, labels)
    found["images"] = len(labels)
    found["interval"] = wilson_interval(found["accuracy"], len(labels))
    return found
