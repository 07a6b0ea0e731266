"""The allowed values of settings whose type is text. This module imports no torch, as `--help` and checks need it."""

from dataclasses import dataclass
from typing import NamedTuple

CHANNELS = {
    "rgb": 3,
    "rgba": 4,
    "gray": 1,
}  # channel mode -> number of planes; a new mode also needs a line in `data.channels.planes_of`

FITS = {
    "auto": "resize; random_crop where fewer than 80 % of the images have one size and no decode_size is set",
    "resize": "bilinear, which removes traces of generators",
    "crop": "the centre; where a side is too short, its border is mirrored",
    "pad": "the same as crop, named for images that are too small",
    "random_crop": "whole images are kept: a random window in training, the centre in evaluation",
}  # ways to bring images to one size

BENCHES = {
    "loader": "augmented batches beside torchvision's transforms in a DataLoader",
    "step": "training steps in the machine's precision beside fp32",
    "utilisation": "the share of a matrix product's speed that a step reaches",
    "fed": "a step on batches as they come beside one on the same batch again and again",
    "end_to_end": "a training from files beside plain Lightning with torchvision",
    "overhead": "what metrics, logger and checkpoints add to a bare loop",
    "cache": "decoding and checking beside decoding alone",
    "start": "--help and the way to the first step beside importing torch",
    "predict": "prediction of files beside one image at a time",
    "sweep": "trials side by side beside one after the other",
    "growth": "time and memory over numbers of images and runs",
    "memory": "the peak memory of every command",
    "knn": "KNN on pixels beside scikit-learn",
    "knn_standardised": "KNN on standardised pixels beside scikit-learn",
    "svm": "the SVM beside scikit-learn",
}  # what `bench` compares

PRUNERS = {
    "hyperband": "successive halving from several first rungs in turn, in case the first epochs mislead",
    "halving": "successive halving: one trial in `eta` goes on from a rung",
    "median": "what is below the median of the finished trials pauses",
    "wilcoxon": "what is worse than the best finished trial, image by image, pauses",
    "none": "every trial goes to its end",
}  # of a search: which trials pause
SAMPLERS = {
    "tpe": "Optuna's estimator of where good values are",
    "random": "anywhere",
    "grid": "every combination of listed values",
}  # of a search: what is tried

UNTRAINED = ("mean", "vote")  # ways to combine an ensemble's members that have nothing to fit


# Distortions that training can draw from, as `augment.laundering_<kind>` -> the least and the largest strength; the
# functions are `data.distortions.KINDS`
LAUNDERING = {
    "jpeg": (1, 100),
    "webp": (1, 100),
    "resize": (0.1, 4),
    "crop": (0, 0.9),
    "blur": (0, 20),
    "noise": (0, 128),
    "gamma": (0.1, 10),
}


class View(NamedTuple):
    """Steps that a view of test-time augmentation applies to an image, in this order.

    `place` is that of the window in an image of any size, from 0 (topmost, leftmost) to 1 (lowest, rightmost).
    """

    place: tuple[float, float] | None = None  # None: the centre
    hflip: bool = False
    vflip: bool = False
    turns: int = 0  # quarter turns, counter-clockwise
    down: int = 0  # shift of the image in pixels; its border is mirrored
    right: int = 0


_SHIFTS = {"up": View(down=-2), "down": View(down=2), "left": View(right=-2), "right": View(right=2)}
_PLACES = {"tl": (0.0, 0.0), "tr": (0.0, 1.0), "bl": (1.0, 0.0), "br": (1.0, 1.0)}
_CROPS = {f"crop_{name}": View(place) for name, place in _PLACES.items()}
VIEWS: dict[str, View] = {
    "identity": View(),
    "hflip": View(hflip=True),
    "vflip": View(vflip=True),
    **{f"rot{90 * turns}": View(turns=turns) for turns in (1, 2, 3)},
    **_SHIFTS,
    **_CROPS,
    **{f"hflip_{name}": view._replace(hflip=True) for name, view in (_SHIFTS | _CROPS).items()},
}


@dataclass(frozen=True)
class ProblemKind:
    """Kind of problem that a data set can have."""

    meaning: str
    when_tolerated: str | None  # what happens if data.tolerate names it; None: it cannot be tolerated
    stops: bool = True  # False: it is a warning and stops no run


PROBLEMS = {
    "layout": ProblemKind("the data cannot be found or understood", None),
    "csv": ProblemKind("a CSV file cannot be read as `image_id,label`", None),
    "class_count": ProblemKind("the labels do not fit the number of classes", None),
    "empty_id": ProblemKind("rows without an image id", "the row is dropped"),
    "unsafe_id": ProblemKind("image ids that are a path or hold control characters", "the row is dropped"),
    "duplicate_id": ProblemKind("image ids with more than one row", "the first row counts"),
    "shared_id": ProblemKind("image ids that stand in several splits", "every split keeps its row"),
    "bad_label": ProblemKind(
        "labels that are no integer of 0 or more, and no class of train (data.class_names=[...] takes them as names)",
        "the row is dropped",
    ),
    "label_range": ProblemKind("labels beyond the number of classes", "the row is dropped"),
    "missing_file": ProblemKind("rows whose image file does not exist", "the row is dropped"),
    "ambiguous_file": ProblemKind("image ids with several files (endings differ)", "the first file by name counts"),
    "extra_file": ProblemKind("image files that no row names and no class folder holds", "the file is ignored"),
    "unused_file": ProblemKind("image files outside of the folders of the splits", "the file is ignored", stops=False),
    "corrupt_image": ProblemKind("files that cannot be decoded as an image", "the image is dropped"),
    "decompression_bomb": ProblemKind(
        "images that claim more pixels than any of this task has", "the image is dropped"
    ),
    "wrong_size": ProblemKind(
        "images of another size than the others (data.fit=crop cuts them and resizes none)", "the image is resized"
    ),
    "odd_mode": ProblemKind("images that are not 8-bit RGB or RGBA", "the image is converted to 8-bit RGB(A)"),
    "animated": ProblemKind("images of several frames", "the first frame counts"),
    "same_pixels": ProblemKind("images of one split that have the same pixels", "all are kept"),
    "conflicting_labels": ProblemKind(
        "images that have the same pixels and different labels: one label is wrong, or what makes the class is not in "
        "the pixels; either way no answer for them can be right",
        "all are kept, each with its label",
    ),
    "leaked_pixels": ProblemKind("images of different splits that have the same pixels", "all are kept"),
}
