"""How the DCT coefficients of neighbouring pixels go together: second moments of their clipped halves.

Undecimated DCT coefficients as noise residuals are those of DCTR (Holub and Fridrich 2015, "Low-complexity features for
JPEG steganalysis using undecimated DCT"); that generators are known by their DCT, Frank et al. 2020 ("Leveraging
frequency analysis for deep fake image recognition", arXiv 2003.08685); second moments instead of histograms are the
second-order pooling of Carreira et al. 2012 ("Semantic segmentation with second-order pooling").
"""

from functools import cache

import numpy as np
from scipy.fft import dct

from deepfake_lit.core.errors import UserError

MIDDLE = 127.5  # grey level that coefficients are taken around
LEAST = 0.1  # grey levels added to a standard deviation: of a flat image it is 0


def dct_moments(
    images: np.ndarray, side: int = 3, stride: int = 1, deviations: float | None = 1.5, levels: float | None = 5.0
) -> np.ndarray:
    """Moments of the DCT coefficients of all patches of an image, float32 (N, D).

    A patch of side x side pixels and its C channels has F = side * side * C coefficients: of a DCT along rows,
    columns and channels. Each is clipped, split into its positive and its negative part, and the 2 F parts give their
    means and the square roots of the means of their products, 2 F + F (2 F + 1) numbers. Clipping keeps edges of the
    content from outweighing the texture, and lets the products see more than the linear covariance.

    Args:
        stride: pixels from patch to patch, in both directions.
        deviations: clip each coefficient, less its mean, at this many standard deviations of the image's own, so that
            contrast does not count; adds the logarithms of these F deviations. None: leave these moments out.
        levels: clip all coefficients at this many grey levels. None: leave these moments out.
    """
    height, width = images.shape[1:3]
    if not 1 <= side <= min(height, width) or stride < 1:
        raise UserError(f"dct_moments: side must be 1 to {min(height, width)} and stride above 0; got {side}, {stride}")
    given = [value for value in (deviations, levels) if value is not None]
    if not given or min(given) <= 0:
        raise UserError("dct_moments: deviations or levels must be given, above 0")
    planes = np.moveaxis(images[..., :3], -1, 1).astype(np.float32) - np.float32(MIDDLE)
    basis = _basis(side, planes.shape[1])
    rows = []
    for image in planes:
        windows = np.lib.stride_tricks.sliding_window_view(image, (side, side), (1, 2))[:, ::stride, ::stride]
        coefficients = basis @ windows.transpose(0, 3, 4, 1, 2).reshape(len(basis), -1)  # (F, patches)
        parts = []
        if deviations is not None:
            spread = coefficients.std(1) + np.float32(LEAST)
            relative = (coefficients - coefficients.mean(1, keepdims=True)) / spread[:, None]
            parts += [np.log(spread), *_moments(relative, deviations)]
        if levels is not None:
            parts += _moments(coefficients, levels)
        rows.append(np.concatenate(parts))
    return np.stack(rows)


def _moments(values: np.ndarray, bound: float) -> tuple[np.ndarray, np.ndarray]:
    """(2 F,) means and (F (2 F + 1),) roots of mean products of the clipped parts of float32 (F, P), over `bound`."""
    scaled = values / np.float32(bound)
    parts = np.concatenate([np.clip(scaled, 0, 1), np.clip(-scaled, 0, 1)])
    products = parts @ parts.T / parts.shape[1]
    return parts.mean(1), np.sqrt(products[np.triu_indices(len(products))])


@cache
def _basis(side: int, channels: int) -> np.ndarray:
    """Orthonormal, float32 (F, channels * side * side)."""
    along, across = (dct(np.eye(n), axis=0, norm="ortho") for n in (side, channels))
    return np.kron(across, np.kron(along, along)).astype(np.float32)
