"""Co-occurrences of noise residuals, which show traces of a generator's up-sampling in neighbouring pixels.

The methods come from steganalysis: SPAM (Pevny, Bas and Fridrich 2010, "Steganalysis by subtractive pixel adjacency
matrix"), SRM (Fridrich and Kodovsky 2012, "Rich models for steganalysis of digital images") and, for co-occurrences
between colour channels, CRM (Goljan, Cogranne and Fridrich 2014, "Rich model for steganalysis of color images").
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.system import batch_of

ALONG = {"d1": (-1, 1), "d2": (1, -2, 1), "d3": (1, -3, 3, -1)}  # differences of order 1 to 3 along a direction
DIRECTIONS = {"straight": ((0, 1), (1, 0)), "diagonal": ((1, 1), (1, -1))}  # (rows, columns)
KERNELS = {  # non-directional predictors of SRM
    "square": ((-1, 2, -1), (2, -4, 2), (-1, 2, -1)),
    "kv": ((-1, 2, -2, 2, -1), (2, -6, 8, -6, 2), (-2, 8, -12, 8, -2), (2, -6, 8, -6, 2), (-1, 2, -2, 2, -1)),
    "laplace": ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
}
PLANES = ("rgb", "each", "chroma")
BETWEEN = ("pixels", "channels")
NEIGHBOURS = 3  # number of values in a co-occurrence
TOGETHER = 4  # images per batch, so that a batch fits a core's cache; fewer where they are large
PIXEL_BYTES = 240  # of one pixel of a batch: planes, levels and the indices of triples


def cooccurrence(
    images: np.ndarray,
    residuals: Sequence[str] = ("d1", "d2"),
    truncation: int = 3,
    planes: Sequence[str] = ("rgb", "chroma"),
    between: Sequence[str] = ("pixels", "channels"),
) -> np.ndarray:
    """Return the square roots of the relative frequencies of triples of neighbouring quantised residuals.

    A residual r is quantised to min(max(round(r / step), -truncation), truncation). Triples that become each other
    when the image is negated or mirrored are counted together. The result is float32 (N, D).

    Args:
        residuals: each NAME, or NAME/STEP to set a quantisation step (grey levels) other than 1. Names are d1, d2, d3
            (differences along rows and columns, and along diagonals) and square, kv, laplace (kernels).
        planes: rgb (sums of the channels' counts), each (R, G and B separately), chroma (R - G and G - B).
        between: pixels (three neighbours in the residual's direction), channels (R, G and B of one pixel).
    """
    for name, given, known in (("planes", planes, PLANES), ("between", between, BETWEEN)):
        if wrong := set(given) - set(known):
            raise UserError(f"cooccurrence: {name} is any of {', '.join(known)}; got {', '.join(map(str, wrong))}")
    if truncation < 1:
        raise UserError("cooccurrence: truncation must be at least 1")
    parsed = [_parse(residual) for residual in residuals]
    parts = []
    step = batch_of(PIXEL_BYTES * math.prod(images.shape[1:3]), TOGETHER)
    for start in range(0, len(images), step):
        some = np.moveaxis(images[start : start + step, ..., :3], -1, 1).astype(np.float32)
        parts.append(_of_some(some, parsed, truncation, planes, between))
    return np.concatenate(parts)


def _parse(residual: str) -> tuple[str, float]:
    name, _, step = str(residual).partition("/")
    try:
        value = float(step) if step else 1.0
    except ValueError:
        value = 0.0
    if name not in (*ALONG, *KERNELS) or value <= 0:
        known = ", ".join((*ALONG, *KERNELS))
        raise UserError(f"cooccurrence: residual {residual!r} must be one of {known}, or NAME/STEP with a step above 0")
    return name, value


def _of_some(colours: np.ndarray, residuals, truncation: int, planes, between) -> np.ndarray:
    """Return the features float32 (n, D) of colours float32 (n, C, H, W)."""
    sources = []  # each a group of planes whose counts are summed
    if "rgb" in planes:
        sources.append(colours)
    if "each" in planes:
        sources += [colours[:, i : i + 1] for i in range(colours.shape[1])]
    if "chroma" in planes and colours.shape[1] == 3:
        sources.append(colours[:, :2] - colours[:, 1:])
    found = []
    for name, step in residuals:
        for directions in DIRECTIONS.values() if name in ALONG else (DIRECTIONS["straight"],):
            if "pixels" in between:
                for source in sources:
                    levels = [(_levels(source, name, d, step, truncation), d) for d in directions]
                    triples = [[_shifted(q, k, NEIGHBOURS - 1, d) for k in range(NEIGHBOURS)] for q, d in levels]
                    found.append(_shares(triples, truncation, mirrored=True))
            if "channels" in between and colours.shape[1] == 3:
                which = directions if name in ALONG else directions[:1]
                levels = [_levels(colours, name, d, step, truncation) for d in which]
                found.append(_shares([[q[:, i] for i in range(3)] for q in levels], truncation, mirrored=False))
    return np.concatenate(found, 1)


def _levels(planes: np.ndarray, name: str, direction, step: float, truncation: int) -> np.ndarray:
    """Return the quantised residual plus the truncation, uint16 (n, C, h, w), in 0..2 * truncation."""
    if name in ALONG:
        taps = ALONG[name]
        residual = sum(tap * _shifted(planes, k, len(taps) - 1, direction) for k, tap in enumerate(taps))
    else:
        side = len(KERNELS[name])
        height, width = planes.shape[-2] - side + 1, planes.shape[-1] - side + 1
        residual = sum(
            tap * planes[..., i : i + height, j : j + width]
            for i, row in enumerate(KERNELS[name])
            for j, tap in enumerate(row)
            if tap
        )
    if step != 1:
        residual = np.rint(residual * np.float32(1 / step))
    return (np.clip(residual, -truncation, truncation) + truncation).astype(np.uint16)


def _shifted(array: np.ndarray, k: int, span: int, direction: tuple[int, int]) -> np.ndarray:
    """Return a view shifted by k steps along a direction; the views of steps 0 to `span` have the same shape."""
    rows, columns = direction
    height, width = array.shape[-2:]
    top = k * rows
    left = k * columns if columns >= 0 else (span - k)
    return array[..., top : height - (span * rows - top), left : width - (span * abs(columns) - left)]


def _shares(triples: list[list[np.ndarray]], truncation: int, mirrored: bool) -> np.ndarray:
    """Return the square roots of the frequencies of the classes of triples, float32 (n, classes)."""
    levels = 2 * truncation + 1
    count = levels**NEIGHBOURS
    images = len(triples[0][0])
    offsets = np.arange(images, dtype=np.intp)[:, None] * count
    counts = np.zeros(images * count)
    for a, b, c in triples:
        code = (a * levels + b) * levels + c
        counts += np.bincount((code.reshape(images, -1) + offsets).ravel(), minlength=images * count)
    merged = counts.reshape(images, count) @ _merging(truncation, mirrored)
    return np.sqrt(merged / merged.sum(1, keepdims=True)).astype(np.float32)


@cache
def _merging(truncation: int, mirrored: bool) -> np.ndarray:
    """Return a 0/1 matrix (triples, classes) that assigns each triple to the class in which it is counted."""
    shape = (2 * truncation + 1,) * NEIGHBOURS
    codes = np.arange(np.prod(shape)).reshape(shape)  # by the three levels of a triple
    same = [codes, np.flip(codes)]  # a negated image has the levels counted from the other end
    if mirrored:
        same += [codes.transpose(2, 1, 0), np.flip(codes).transpose(2, 1, 0)]
    _, classes = np.unique(np.min(same, 0).ravel(), return_inverse=True)
    return np.eye(classes.max() + 1)[classes]
