"""Metrics of a classification, the same ones while training and from stored probabilities."""

from typing import Any

from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from deepfake_lit.results.statistics import wilson_interval


def classification_metrics(num_classes: int) -> MetricCollection:
    """Accuracy and macro F1, precision, recall and F1 of each class, confusion matrix (rows true), calibration error.

    The calibration error is the expected one over 15 bins of the top probability (Guo et al. 2017,
    arXiv 1706.04599).
    """
    per_class = {"num_classes": num_classes, "average": "none"}
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "f1": MulticlassF1Score(num_classes, average="macro"),
            "precision_of": MulticlassPrecision(**per_class),
            "recall_of": MulticlassRecall(**per_class),
            "f1_of": MulticlassF1Score(**per_class),
            "confusion": MulticlassConfusionMatrix(num_classes),
            "calibration_error": MulticlassCalibrationError(num_classes, n_bins=15),
        },
        compute_groups=[
            ["accuracy"],
            ["f1", "precision_of", "recall_of", "f1_of"],
            ["confusion"],
            ["calibration_error"],
        ],
    )


def evaluate(probabilities: Tensor, labels: Tensor) -> dict[str, Any]:
    """All metrics as plain numbers and lists, ready for JSON.

    Args:
        probabilities: float (N, K).
        labels: int64 (N,).

    Returns:
        The keys of `classification_metrics`, `log_loss` (nats), `images` and `interval`, Wilson's 95 % interval of the
        accuracy over images (Wilson 1927) - not over seeds.
    """
    metrics = classification_metrics(probabilities.shape[1])
    metrics.update(probabilities, labels)
    result = {name: value.tolist() for name, value in metrics.compute().items()}
    picked = probabilities.gather(1, labels[:, None]).double().clamp_min(1e-12)
    result["log_loss"] = -picked.log().mean().item()
    result["images"] = len(labels)
    result["interval"] = wilson_interval(result["accuracy"], len(labels))
    return result
