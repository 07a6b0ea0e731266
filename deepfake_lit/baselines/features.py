"""Image features for classical estimators: functions that turn each uint8 image into one row of numbers.

Each function takes images uint8 (N, H, W, C), with C = 1 or C >= 3 planes that begin with R, G, B, and keyword
settings. It returns an array (N, D). It is deterministic and treats images independently, so batches can be split.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import joblib
import numpy as np
from scipy import ndimage, stats

from deepfake_lit.baselines.cooccurrence import cooccurrence
from deepfake_lit.baselines.moments import dct_moments
from deepfake_lit.core import console
from deepfake_lit.core.errors import UserError, did_you_mean, one_of
from deepfake_lit.core.system import batch_of, cores
from deepfake_lit.data.channels import LUMA
from deepfake_lit.data.images import SplitImages

MOST = 50  # images per task: larger arrays would be new memory from the kernel each time, page by page
PIXEL_BYTES = 128  # of one pixel while its features are computed


def pixel_bytes(images: np.ndarray) -> np.ndarray:
    """Return pixels as uint8 (N, H * W * C), 0..255: an eighth of float64's memory, and the fastest input of `KNN`."""
    return images.reshape(len(images), -1)


def pixels(images: np.ndarray) -> np.ndarray:
    """Return pixels as float32 (N, H * W * C) in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def histogram(
    images: np.ndarray, space: str = "rgb", bins: int | list[int] = 256, joint: bool = False, norm: str = "l2"
) -> np.ndarray:
    """Return colour histograms, float32 (N, sum of the bins), or (N, product of the bins) if joint.

    Args:
        space: rgb, or hsv (hue, saturation and value scaled to 0..255).
        bins: number of bins of equal width, 1 to 256: one number for all channels, or a list with one per channel.
        joint: make one histogram over cells of the colour space instead of one per channel.
        norm: l1 (sum 1) or l2 (Euclidean length 1).
    """
    one_of("space", space, ("rgb", "hsv"))
    one_of("norm", norm, ("l1", "l2"))
    colours = images[..., :3]
    if space == "hsv":
        from skimage.color import rgb2hsv

        colours = np.round(rgb2hsv(colours) * 255).astype(np.uint8)
    channels = colours.shape[-1]
    per_channel = [bins] * channels if isinstance(bins, int) else list(bins)
    if len(per_channel) != channels or not all(1 <= b <= 256 for b in per_channel):
        raise UserError(f"histogram: bins must be 1 to 256, one number or {channels}; got {bins}")
    cells = colours.reshape(len(images), -1, channels).astype(np.intp) * per_channel // 256
    if joint:
        index, count = np.ravel_multi_index(tuple(np.moveaxis(cells, -1, 0)), per_channel), int(np.prod(per_channel))
    else:
        starts = np.cumsum([0, *per_channel])
        index, count = (cells + starts[:-1]).reshape(len(images), -1), int(starts[-1])
    counts = np.stack([np.bincount(row, minlength=count) for row in index]).astype(np.float32)
    return counts / np.linalg.norm(counts, 1 if norm == "l1" else 2, axis=1, keepdims=True)


def hog(images: np.ndarray, cell: int = 10, block: int = 2, orientations: int = 9) -> np.ndarray:
    """Return histograms of oriented gradients (Dalal and Triggs 2005), of the channel with the steepest gradient.

    Args:
        cell: side of a cell in pixels.
        block: side, in cells, of a block that is normalised as a whole.
    """
    from skimage.feature import hog as of_one

    settings = {"pixels_per_cell": (cell, cell), "cells_per_block": (block, block), "orientations": orientations}
    return np.stack([of_one(image[..., :3], channel_axis=-1, **settings) for image in images]).astype(np.float32)


def spectrum(images: np.ndarray, kind: str = "block", bins: int = 20) -> np.ndarray:
    """Return the channels' mean log-power spectrum, which shows generators (Durall et al. 2020, arXiv 2003.01826).

    Args:
        kind: block (means over bins x bins rectangles of the shifted spectrum, float32 (N, bins * bins)) or radial
            (means over rings of equal width from frequency 0 to the corner, float32 (N, bins)).
    """
    one_of("kind", kind, ("block", "radial"))
    planes = np.moveaxis(images[..., :3], -1, 1).astype(np.float32)
    planes -= planes.mean((2, 3), keepdims=True)
    power = np.abs(np.fft.fft2(planes)) ** 2 / planes[0, 0].size
    log_power = np.fft.fftshift(np.log1p(power).mean(1), axes=(1, 2))
    height, width = log_power.shape[1:]
    if not 1 <= bins <= min(height, width):
        raise UserError(f"spectrum: bins must be 1 to {min(height, width)} for images of {height} x {width}")
    if kind == "block":
        cell = np.add.outer(np.arange(height) * bins // height * bins, np.arange(width) * bins // width)
    else:
        radius = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij"))
        cell = np.minimum(np.fft.fftshift(radius) / np.sqrt(0.5) * bins, bins - 1).astype(np.intp)
    members = np.bincount(cell.ravel())
    sums = [np.bincount(cell.ravel(), row.ravel(), len(members)) for row in log_power]
    return (np.stack(sums) / np.maximum(members, 1)).astype(np.float32)


def residual_statistics(images: np.ndarray) -> np.ndarray:
    """Return the moments of each channel's noise residuals and the correlations between channels.

    The moments are log(1 + standard deviation), skewness and log(1 + kurtosis). There are three residuals: the image
    minus its 3x3 median, the image minus its Gaussian smoothing (sigma 1), and the image's Laplacian. With C channels,
    at most 3, the result is float32 (N, 3 * (3 C + C (C - 1) / 2)).
    """
    colours = images[..., :3].astype(np.float32)
    one_image = (1, 3, 3, 1)
    residuals = (
        colours - ndimage.median_filter(colours, one_image),
        colours - ndimage.gaussian_filter(colours, (0, 1, 1, 0)),
        ndimage.laplace(colours, axes=(1, 2)),
    )
    parts = []
    for residual in residuals:
        flat = residual.reshape(len(images), -1, residual.shape[-1])
        deviation = flat.std(1)
        safe = np.maximum(deviation, 1e-6)
        z = (flat - flat.mean(1, keepdims=True)) / safe[:, None]
        parts += [np.log1p(deviation), stats.skew(z, 1), np.log1p((z**4).mean(1))]
        upper = np.triu_indices(flat.shape[-1], 1)
        parts.append((np.einsum("npc,npd->ncd", z, z) / flat.shape[1])[:, upper[0], upper[1]])
    return np.nan_to_num(np.concatenate(parts, 1)).astype(np.float32)


FEATURES: dict[str, Callable[..., np.ndarray]] = {
    f.__name__: f
    for f in (pixel_bytes, pixels, histogram, hog, spectrum, residual_statistics, cooccurrence, dct_moments)
}
IN_PLACE = ("pixel_bytes", "pixels")  # as cheap as a copy, so not worth worker processes


def check_features(features: dict[str, dict[str, Any]]) -> None:
    """Raise `UserError` if there is no feature, or if a feature or setting is unknown."""
    if not features:
        raise UserError("a baseline needs at least one feature, such as features={pixels: {}}")
    for name, settings in features.items():
        if name not in FEATURES:
            hint = did_you_mean(name, FEATURES) or f"; there are {', '.join(FEATURES)}"
            raise UserError(f"there is no feature {name!r}{hint}")
        known = list(inspect.signature(FEATURES[name]).parameters)[1:]
        for key in settings or {}:
            if key not in known:
                raise UserError(f"the feature {name} has no setting {key!r}; it has {', '.join(known) or 'none'}")


def extract(features: dict[str, dict[str, Any]], split: SplitImages, channels: str) -> np.ndarray:
    """Return `features_of` all images of a split; compute them on all cores and show a progress bar."""
    most = min(MOST, max(1, len(split) // (4 * cores())))
    step = batch_of(PIXEL_BYTES * math.prod(split.pixels.shape[1:3]), most)
    tasks = ((features, *split.gather(slice(i, i + step)), channels) for i in range(0, len(split), step))
    if all(name in IN_PLACE for name in features):
        parts = (features_of(*task) for task in tasks)
    else:
        pool = joblib.Parallel(cores(), return_as="generator", pre_dispatch="2*n_jobs", batch_size=1)
        parts = pool(joblib.delayed(features_of)(*task) for task in tasks)
    label = f"{', '.join(features)}: {split.name}"
    return _stacked(console.progress(parts, label, len(split), step), len(split))


def features_of(
    features: dict[str, dict[str, Any]], colours: np.ndarray, transparency: np.ndarray | None, channels: str
) -> np.ndarray:
    """Return the features side by side: (N, D), uint8 for `pixel_bytes` alone, else float32.

    Args:
        features: name -> settings, in the order of the columns.
        colours: uint8 (N, H, W, 3).
        transparency: uint8 (N, H, W), 255 - alpha, or None if every image is opaque.
        channels: channel mode, rgb, rgba or gray; grey values are rounded to whole numbers.
    """
    images = _planes(colours, transparency, channels)
    found = [FEATURES[name](images, **(settings or {})) for name, settings in features.items()]
    return found[0] if len(found) == 1 else np.concatenate(found, 1)


def _stacked(parts: Iterator[np.ndarray], count: int) -> np.ndarray:
    """Stack the parts in one array as they arrive; concatenating them would take twice the memory."""
    whole, filled = None, 0
    for part in parts:
        whole = np.empty((count, part.shape[1]), part.dtype) if whole is None else whole
        whole[filled : filled + len(part)] = part
        filled += len(part)
    return whole


def _planes(colours: np.ndarray, transparency: np.ndarray | None, channels: str) -> np.ndarray:
    """Return the planes of a channel mode, uint8 (N, H, W, C)."""
    if channels == "rgb":
        return colours
    if channels == "gray":
        return np.rint(colours @ np.array(LUMA, np.float32)).astype(np.uint8)[..., None]
    alpha = np.full(colours.shape[:3], 255, np.uint8) if transparency is None else 255 - transparency
    return np.concatenate([colours, alpha[..., None]], -1)
