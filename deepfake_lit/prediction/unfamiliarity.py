"""Scores of how unfamiliar an image is to a network: of which generator it is may be none that the network knows.

Each score is a function of what the network makes of the image, and of what `fit` keeps of its training images. Larger
is more unfamiliar.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

NEIGHBOURS = 50  # Sun et al.'s for training sets of this size
RIDGE = 1e-6  # share of the mean variance that is added to a covariance, which can then be inverted
Kept = dict[str, np.ndarray]


class Seen(NamedTuple):
    """What a network makes of N images: logits float32 (N, K), and the input of its last linear layer, float32 (N, D).

    features: None where there is no such layer, as in an ensemble or a baseline.
    """

    logits: np.ndarray
    features: np.ndarray | None

    def at(self, rows: np.ndarray | slice) -> "Seen":
        return Seen(self.logits[rows], None if self.features is None else self.features[rows])


@dataclass(frozen=True)
class Score:
    """A score of unfamiliarity.

    Attributes:
        of: takes what `fit` returned and `Seen`, returns float32 (N,).
        fit: takes `Seen` of the training images and their labels, int64 (N,), and returns the arrays that `of` needs.
            None: it needs none, and no features.
    """

    label: str
    source: str
    of: Callable[[Kept, Seen], np.ndarray]
    fit: Callable[[Seen, np.ndarray], Kept] | None = None


def logsumexp(logits: np.ndarray) -> np.ndarray:
    """Return the logarithm of the sum of exponentials of each row, (N,)."""
    top = logits.max(1)
    return top + np.log(np.exp(logits - top[:, None]).sum(1))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits (N, K)."""
    found = np.exp(logits - logits.max(1, keepdims=True))
    return found / found.sum(1, keepdims=True)


def mean_probabilities(seen: list[Seen]) -> np.ndarray:
    """Return the mean over views of the probabilities, float32 (N, K)."""
    return np.mean([softmax(each.logits) for each in seen], 0).astype(np.float32)


def max_softmax(kept: Kept, seen: Seen) -> np.ndarray:
    """Return the negative logarithm of the largest probability, which orders images as the probability does."""
    return logsumexp(seen.logits) - seen.logits.max(1)


def max_logit(kept: Kept, seen: Seen) -> np.ndarray:
    """Return the negative largest logit."""
    return -seen.logits.max(1)


def energy(kept: Kept, seen: Seen) -> np.ndarray:
    """Return the free energy, the negative logarithm of the sum of the exponentials of the logits."""
    return -logsumexp(seen.logits)


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def fit_knn(seen: Seen, labels: np.ndarray) -> Kept:
    return {"train": _unit(seen.features).astype(np.float16)}


def knn(kept: Kept, seen: Seen) -> np.ndarray:
    """Return the Euclidean distance to the k-th nearest training image, of features of length 1."""
    train = kept["train"].astype(np.float32)
    k = min(NEIGHBOURS, len(train))
    found = [
        np.partition(_unit(part) @ train.T, -k, axis=1)[:, -k] for part in np.array_split(seen.features, _parts(seen))
    ]
    return np.sqrt(np.maximum(2 - 2 * np.concatenate(found), 0)).astype(np.float32)


def _parts(seen: Seen) -> int:
    """Return in how many parts images are compared with the training images, so that memory stays bounded."""
    return -(-len(seen.logits) // 500)


def _precision(centred: np.ndarray) -> np.ndarray:
    covariance = np.cov(centred, rowvar=False, bias=True)
    return np.linalg.inv(covariance + RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance)))


def _distance(features: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    away = features.astype(np.float64) - mean
    return np.einsum("ni,ij,nj->n", away, precision, away, optimize=True)


def fit_mahalanobis(seen: Seen, labels: np.ndarray) -> Kept:
    features = seen.features.astype(np.float64)
    means = np.stack([features[labels == label].mean(0) for label in np.unique(labels)])
    number = np.searchsorted(np.unique(labels), labels)
    return {
        "means": means,
        "precision": _precision(features - means[number]),
        "mean": features.mean(0),
        "precision_of_all": _precision(features - features.mean(0)),
    }


def mahalanobis(kept: Kept, seen: Seen) -> np.ndarray:
    """Return the squared Mahalanobis distance to the nearest class mean, with one covariance for all classes."""
    by_class = [_distance(seen.features, mean, kept["precision"]) for mean in kept["means"]]
    return np.min(by_class, 0).astype(np.float32)


def relative_mahalanobis(kept: Kept, seen: Seen) -> np.ndarray:
    """Return the same less the distance to the mean of all training images, with the covariance of all of them."""
    background = _distance(seen.features, kept["mean"], kept["precision_of_all"])
    return (mahalanobis(kept, seen) - background).astype(np.float32)


def fit_vim(seen: Seen, labels: np.ndarray) -> Kept:
    """Keep the directions in which training features hardly vary, and the scale that makes a length a logit.

    Half of the dimensions are the principal space. Features are centred at their mean, since a last layer's weights
    are not at hand here.
    """
    features = seen.features.astype(np.float64)
    mean = features.mean(0)
    _, vectors = np.linalg.eigh(np.cov(features - mean, rowvar=False))
    rest = vectors[:, : features.shape[1] // 2]
    length = np.linalg.norm((features - mean) @ rest, axis=1)
    return {"mean": mean, "rest": rest, "scale": np.array(seen.logits.max(1).mean() / max(length.mean(), 1e-12))}


def vim(kept: Kept, seen: Seen) -> np.ndarray:
    """Return the length of the features outside of the principal space, as a logit, less the energy of the logits."""
    length = np.linalg.norm((seen.features - kept["mean"]) @ kept["rest"], axis=1)
    return (kept["scale"] * length - logsumexp(seen.logits)).astype(np.float32)


SCORES = {
    "max_softmax": Score("largest softmax", "Hendrycks and Gimpel 2017, arXiv 1610.02136", max_softmax),
    "max_logit": Score("largest logit", "Hendrycks et al. 2022, arXiv 1911.11132", max_logit),
    "energy": Score("energy", "Liu et al. 2020, arXiv 2010.03759", energy),
    "knn": Score("distance to the 50th neighbour", "Sun et al. 2022, arXiv 2204.06507", knn, fit_knn),
    "mahalanobis": Score("Mahalanobis", "Lee et al. 2018, arXiv 1807.03888", mahalanobis, fit_mahalanobis),
    "relative_mahalanobis": Score(
        "relative Mahalanobis", "Ren et al. 2021, arXiv 2106.09022", relative_mahalanobis, fit_mahalanobis
    ),
    "vim": Score("virtual logit", "Wang et al. 2022, arXiv 2203.10807", vim, fit_vim),
}
