"""Augmentation by what happens to files on their way: random distortions of decoded images by real codecs.

It runs where a batch is gathered, so in the loader's worker processes: on one core Pillow's JPEG does eight times the
images a second of a differentiable one on tensors, and it is the very codec.
"""

from functools import partial

import numpy as np
from numpy.random import Generator
from torch import Tensor

from deepfake_lit.data.distortions import KINDS, on_batch
from deepfake_lit.settings.schema import AugmentConfig


def used(cfg: AugmentConfig) -> dict[str, list[float]]:
    """Return the kinds of distortion that are not null, with their ranges."""
    return {kind: limits for kind in KINDS if (limits := getattr(cfg, f"laundering_{kind}")) is not None}


def launder(
    pixels: np.ndarray, transparency: np.ndarray | None, keys: Tensor, cfg: AugmentConfig
) -> tuple[np.ndarray, np.ndarray | None]:
    """Distort a training batch, as `on_batch`; an image's distortions are a function of its key alone.

    Args:
        keys: int64 (B,), as `augment` takes them.
    """
    return on_batch(pixels, transparency, [key % 2**64 for key in keys.tolist()], partial(_distorted, cfg=cfg))


def _distorted(image: np.ndarray, random: Generator, cfg: AugmentConfig) -> np.ndarray:
    """Apply 1 to `laundering_most` distortions with probability `laundering_p`; a kind can come twice."""
    if random.random() >= cfg.laundering_p:
        return image
    ranges = list(used(cfg).items())
    for which in random.integers(len(ranges), size=random.integers(1, cfg.laundering_most + 1)):
        kind, limits = ranges[which]
        image = KINDS[kind](image, random.uniform(*limits), random)
    return image
