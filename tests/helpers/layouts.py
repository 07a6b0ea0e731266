"""Data sets as others have them, made small."""

from pathlib import Path

import numpy as np
from helpers.tiny_data import encode, noise

from deepfake_lit.data.images import open_data
from deepfake_lit.settings.schema import DataConfig

EACH = 6


def tree(root: Path, *folders: str, each: int = EACH, ending: str = "png") -> Path:
    """Images of their own in each of the folders."""
    for i, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for j in range(each):
            format = {"png": "PNG", "jpg": "JPEG", "jfif": "JPEG"}[ending]
            (root / folder / f"{j:05}.{ending}").write_bytes(encode(noise(1000 * i + j), format=format))
    return root


def opened(root: Path, tmp_path: Path, splits=("train", "validation", "test"), **settings):
    return open_data(DataConfig(root=str(root), **settings), tmp_path / "cache", splits, required=())


def counts(data) -> dict[str, list[int]]:
    k = len(data.class_names)
    return {name: np.bincount(split.labels, minlength=k).tolist() for name, split in data.splits.items()}


def write_csv(root: Path, text: str, name: str = "train.csv", encoding: str = "utf-8") -> Path:
    (root / name).write_bytes(text.encode(encoding))
    return root


def rows(template: str, count: int = EACH) -> str:
    return "".join(template.format(i=i, label=i % 2, word=("real", "fake")[i % 2]) + "\n" for i in range(count))
