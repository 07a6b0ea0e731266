"""The words by which people name splits, classes and columns. All are compared in lower case."""

import re
from collections.abc import Iterable

SPLITS = {
    "train": ("train", "training", "tr"),
    "validation": ("validation", "val", "valid", "dev", "eval"),
    "test": ("test", "testing"),
}
REAL = ("real", "nature", "natural", "authentic", "genuine", "original", "human", "0_real", "real_images", "photo")
FAKE = (
    "fake",
    "ai",
    "generated",
    "synthetic",
    "artificial",
    "deepfake",
    "1_fake",
    "fake_images",
    "ai_generated",
    "gan",
)
# The first one that a table has is taken.
PATH_COLUMNS = ("image_id", "filename", "file_name", "filepath", "file_path", "image_path", "path", "file", "image")
PATH_COLUMNS += ("img", "image_name", "img_name", "name", "imageid", "id")
LABEL_COLUMNS = (
    "label",
    "labels",
    "class",
    "target",
    "category",
    "class_name",
    "label_name",
    "class_id",
    "y",
    "is_fake",
)
GROUP_COLUMNS = ("generator", "model", "method", "source", "group")
SPLIT_COLUMNS = ("split", "set", "subset", "partition")


def split_of(word: str) -> str | None:
    """Return train, validation or test if a word means one of them, else None."""
    word = word.strip().lower()
    return next((split for split, words in SPLITS.items() if word in words), None)


def columns(names: Iterable[str], wanted: tuple[str, ...]) -> list[str]:
    """Return the wanted columns that a table has, as the table writes them, in the order of `wanted`."""
    own = {re.sub(r"[\s-]+", "_", name.strip().lower()): name for name in names}
    return [own[word] for word in wanted if word in own]


def column(names: Iterable[str], wanted: tuple[str, ...]) -> str | None:
    """Return the first wanted column that a table has, as the table writes it; None without one."""
    return next(iter(columns(names, wanted)), None)
