"""What checkpoints say of images: the class or none of these, how sure, and which classes it may be."""

from typing import NamedTuple, TypeVar

import numpy as np

NONE = "none_of_these"
Parts = TypeVar("Parts", bound=tuple)


class Answers(NamedTuple):
    """The answers for N images and K classes. Without a calibration only the probabilities are there.

    Attributes:
        probabilities: float32 (N, K), the mean over views and checkpoints, calibrated where there is a calibration.
        sets: bool (N, K), the classes of each prediction set, which can be empty.
        unfamiliarity: float32 (N,), larger for images that are less like those of training.
        rejected: bool (N,), whether it is none of the classes.
    """

    probabilities: np.ndarray
    sets: np.ndarray | None = None
    unfamiliarity: np.ndarray | None = None
    rejected: np.ndarray | None = None

    @classmethod
    def nothing(cls, classes: int, calibrated: bool) -> "Answers":
        """Return the answers for no image."""
        p, none = np.empty((0, classes), np.float32), np.empty(0, np.float32)
        return cls(p, p.astype(bool), none, none.astype(bool)) if calibrated else cls(p)

    def at(self, rows: np.ndarray) -> "Answers":
        """Return the answers for some of the images."""
        return Answers(*(None if each is None else each[rows] for each in self))

    @property
    def labels(self) -> np.ndarray:
        """Return the most probable class of each image, int64 (N,), also of those that are rejected."""
        return self.probabilities.argmax(1)

    def names(self, class_names: list[str]) -> list[str]:
        """Return what is said of each image: the name of a class, or none_of_these."""
        rejected = np.zeros(len(self.probabilities), bool) if self.rejected is None else self.rejected
        return [NONE if no else class_names[label] for label, no in zip(self.labels, rejected, strict=True)]

    def set_of(self, row: int, class_names: list[str]) -> list[str] | None:
        """Return the names of an image's prediction set; None without a calibration."""
        return None if self.sets is None else [n for n, there in zip(class_names, self.sets[row], strict=True) if there]


def guarantees(answers: Answers, labels: np.ndarray) -> dict[str, float]:
    """Return what calibrated answers for images of known classes come to; empty without a calibration.

    Returns:
        `coverage`, the share of prediction sets with the truth; `set_size`, their mean number of classes; `rejected`,
        the share of images that are called none of the classes.
    """
    if answers.sets is None:
        return {}
    return {
        "coverage": float(answers.sets[np.arange(len(labels)), labels].mean()),
        "set_size": float(answers.sets.sum(1).mean()),
        "rejected": float(answers.rejected.mean()),
    }


def joined(parts: list[Parts]) -> Parts:
    """Return what was found of several batches as one: named tuples of arrays, or of None in all of them."""
    return type(parts[0])(*(None if each[0] is None else np.concatenate(each) for each in zip(*parts, strict=True)))
