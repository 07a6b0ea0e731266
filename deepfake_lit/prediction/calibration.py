"""What turns a checkpoint's answers into answers that one can rely on, and how it is fitted.

It is fitted on images that neither trained nor selected the network, with the views that it is used with.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.metrics import calibration_gaps
from deepfake_lit.prediction.answers import Answers
from deepfake_lit.prediction.unfamiliarity import SCORES, Kept, Seen, logsumexp, softmax

ENTRY = "calibration"  # of what a checkpoint says of itself
METHODS = ("temperature", "vector")
LEAST = 1e-12  # a smaller probability counts as this
DRAWS = 200  # of labels, as perfect probabilities would have them


@dataclass
class Calibration:
    """The numbers of a calibration.

    Attributes:
        scale, bias: float64 (K,). The calibrated probabilities are softmax(scale * log p + bias). With a temperature
            every scale is 1 / temperature, and every bias 0.
        set_above: a prediction set has the classes whose calibrated probability is at least this.
        coverage: the share of images whose set shall hold the truth.
        score: of `SCORES`; `kept` is what it keeps of the training images.
        reject_above: an image with a larger unfamiliarity is none of the classes.
        rejected: the share of images of known classes that may be rejected.
        views: of test-time augmentation, that it was fitted with.
        fitted_on: which images, in words and numbers.
    """

    scale: np.ndarray
    bias: np.ndarray
    set_above: float
    coverage: float
    score: str
    kept: Kept
    reject_above: float
    rejected: float
    method: str
    views: list[str]
    fitted_on: dict[str, Any] = field(default_factory=dict)

    def probabilities(self, p: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities for those of the checkpoint, each float (N, K)."""
        return softmax(self.scale * np.log(np.maximum(p.astype(np.float64), LEAST)) + self.bias).astype(np.float32)

    def unfamiliarity(self, seen: Seen) -> np.ndarray:
        return SCORES[self.score].of(self.kept, seen)

    def answers(self, p: np.ndarray, unfamiliarity: np.ndarray) -> Answers:
        """Return the answers for a checkpoint's own probabilities, float (N, K), and scores, float (N,)."""
        return self.said(self.probabilities(p), unfamiliarity)

    def said(self, calibrated: np.ndarray, unfamiliarity: np.ndarray) -> Answers:
        """Return the answers for probabilities that are calibrated already."""
        return Answers(calibrated, calibrated >= self.set_above, unfamiliarity, unfamiliarity > self.reject_above)

    def to_entry(self) -> dict[str, Any]:
        """Return it as plain values and tensors, which a checkpoint can hold."""
        arrays = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in self.kept.items()}
        return vars(self) | {"scale": self.scale.tolist(), "bias": self.bias.tolist(), "kept": arrays}

    @classmethod
    def from_entry(cls, entry: dict[str, Any], path: str, classes: int) -> "Calibration":
        """Return what `to_entry` gave.

        Raises:
            UserError: it is damaged, or a newer version wrote it.
        """
        try:
            arrays = {name: tensor.numpy() for name, tensor in entry["kept"].items()}
            numbers = {name: np.array(entry[name], np.float64) for name in ("scale", "bias")}
            found = cls(**entry | numbers | {"kept": arrays})
            if found.score not in SCORES or any(each.shape != (classes,) for each in numbers.values()):
                raise ValueError("its score or its number of classes does not fit")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path} is damaged: its calibration cannot be read ({error})") from None
        return found


def fit_scaling(p: np.ndarray, labels: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and bias, each float64 (K,), that give the least log loss (Guo et al. 2017, arXiv 1706.04599).

    Args:
        p: float (N, K), a checkpoint's probabilities for images that it was not trained on.
        method: temperature, which leaves every answer as it is; or vector, with a scale and a bias for each class.
    """
    from scipy.optimize import minimize  # slow to import, and prediction does not need it

    logits = np.log(np.maximum(p.astype(np.float64), LEAST))
    k = logits.shape[1]

    def parts(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (np.full(k, np.exp(x[0])), np.zeros(k)) if method == "temperature" else (np.exp(x[:k]), x[k:])

    def loss(x: np.ndarray) -> float:
        scale, bias = parts(x)
        z = scale * logits + bias
        return float((logsumexp(z) - z[np.arange(len(z)), labels]).mean()) + 1e-6 * float((x**2).sum())

    start = np.zeros(1 if method == "temperature" else 2 * k)
    return parts(minimize(loss, start, method="L-BFGS-B").x)


def conformal_threshold(p: np.ndarray, labels: np.ndarray, coverage: float) -> float:
    """Return the least probability of a class in a prediction set: split conformal prediction (Sadinle, Lei and
    Wasserman 2019, arXiv 1609.00451).

    A new image's set then holds the truth with at least this probability, and the sets are as small as can be, if the
    images are exchangeable with these ones.

    Args:
        p: calibrated probabilities, float (N, K).
    """
    true = np.sort(p[np.arange(len(labels)), labels])
    rank = math.floor((len(labels) + 1) * (1 - coverage))  # that many of the true ones may lie below
    return float(true[rank - 1]) if rank > 0 else 0.0


def error_of_perfect(p: np.ndarray) -> tuple[float, float, float]:
    """Return the calibration error that these probabilities would show if they were perfect: mean, 5 % and 95 %.

    It is not 0, since the share that is right in a bin of few images is not its probability. The labels are drawn from
    the probabilities (Vaicenavicius et al. 2019, arXiv 1902.06977).

    Args:
        p: float (N, K).
    """
    random, sums = np.random.default_rng(0), p.astype(np.float64).cumsum(1)
    errors = [
        calibration_gaps(p, (random.random((len(p), 1)) * sums[:, -1:] > sums).sum(1)).mean() for _ in range(DRAWS)
    ]
    return float(np.mean(errors)), *map(float, np.quantile(errors, [0.05, 0.95]))


def rejection_threshold(unfamiliarity: np.ndarray, rejected: float) -> float:
    """Return the score above which at most this share of new images of known classes lies: a conformal quantile."""
    rank = math.ceil((len(unfamiliarity) + 1) * (1 - rejected))
    return float(np.sort(unfamiliarity)[rank - 1]) if rank <= len(unfamiliarity) else math.inf
