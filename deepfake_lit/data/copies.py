"""Copies of an image that are turned or mirrored, which have another hash of their pixels."""

import hashlib
import math
from collections import defaultdict

import numpy as np

from deepfake_lit.core.console import progress
from deepfake_lit.core.system import batch_of
from deepfake_lit.data.images import ImageData


def turned_copies(data: ImageData) -> list[list[str]]:
    """Return pairs of files in different splits whose decoded pixels are equal after a quarter turn or a mirroring.

    Equal counts of every grey value in each of R, G, B make candidates; their pixels decide. Pixels that were resized
    on decoding, which rounds, are found only where rounding agrees.
    """
    seen: dict[bytes, list[tuple[str, int]]] = defaultdict(list)
    pairs = []
    for name, split in data.splits.items():
        step = batch_of(math.prod(split.pixels.shape[1:]), len(split))
        for start in progress(range(0, len(split), step), f"copies in {name}", len(split), step):
            pixels = split.pixels[split.rows[start : start + step]]
            for i, image in enumerate(pixels, start):
                key = _counts(image)
                for other, j in seen[key]:
                    if other != name and _turned(image, data.splits[other].gather(np.array([j]))[0][0]):
                        pairs.append([split.files[i], data.splits[other].files[j]])
                        break
                seen[key].append((name, i))
    return pairs


def _counts(image: np.ndarray) -> bytes:
    counts = [np.bincount(image[..., plane].reshape(-1), minlength=256) for plane in range(3)]
    return hashlib.blake2b(np.stack(counts).tobytes(), digest_size=16).digest()


def _turned(image: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether one is the other, turned or mirrored; the same pixels as they are do not count."""
    turns = [np.rot90(mirrored, k) for mirrored in (image, image[:, ::-1]) for k in range(4)]
    return any(np.array_equal(turn, other) for turn in turns[1:]) and not np.array_equal(image, other)
