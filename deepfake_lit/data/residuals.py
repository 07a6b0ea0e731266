"""What is left of an image without its content, and the spectrum of that: where generators leave patterns.

The means over many images of a class show what its images have in common (Marra et al. 2019, "Do GANs leave artificial
fingerprints?", arXiv 1812.11842). Imports no torch.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import fft
from scipy.ndimage import median_filter

from deepfake_lit.data.channels import LUMA
from deepfake_lit.data.images import SplitImages

SIDE = 128  # pixels; of larger images the centre is looked at
MOST = 500  # images of a class that a mean is made of
SMALLEST = 1e-8  # added to powers before a logarithm


class Pattern(NamedTuple):
    """Residual in grey levels and its log10 power spectrum with zero frequency in the centre, both (..., H, W)."""

    residual: np.ndarray
    spectrum: np.ndarray


def pattern_of(pixels: np.ndarray) -> Pattern:
    """Return the pattern, float32, of the centre of one image, uint8 (H, W, 3)."""
    height, width = pixels.shape[:2]
    top, left = (max(0, (side - SIDE) // 2) for side in (height, width))
    luma = pixels[top : top + SIDE, left : left + SIDE].astype(np.float32) @ np.array(LUMA, np.float32)
    residual = luma - median_filter(luma, 3)
    window = np.outer(*(np.hanning(side) for side in residual.shape)).astype(np.float32)
    power = np.abs(fft.fft2((residual - residual.mean()) * window / 255)) ** 2
    return Pattern(residual, fft.fftshift(np.log10(power + SMALLEST)))


def mean_patterns(splits: Iterable[SplitImages], numbers: np.ndarray, count: int) -> Pattern:
    """Return the mean pattern of each class, float32 (K, H, W): of `MOST` images at most, NaN for a class without any.

    Args:
        numbers: number of the class for each label of the splits.
        count: K.
    """
    found: list[list[Pattern]] = [[] for _ in range(count)]
    for split in splits:
        for row, label in enumerate(numbers[split.labels]):
            if len(found[label]) < MOST:
                found[label].append(pattern_of(split.gather(slice(row, row + 1))[0][0]))
    shape = next(each[0].residual.shape for each in found if each)
    empty = [Pattern(*np.full((2, *shape), np.nan, np.float32))]
    means = [Pattern(*(np.mean(part, 0) for part in zip(*(each or empty), strict=True))) for each in found]
    return Pattern(*(np.stack(part) for part in zip(*means, strict=True)))
