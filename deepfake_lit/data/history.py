"""What a file has been through, as far as it can be read: its format and JPEG quality, and traces in its pixels.

The traces are signs of an earlier JPEG and of a resize. Imports no torch.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import bdtrc

from deepfake_lit.data.channels import LUMA
from deepfake_lit.data.decode import decode

SIDE = 128  # pixels; of a larger image its centre is looked at
FALSE_ALARMS = 1e-3  # expected number of images with signs of a JPEG among as many without as there are images
PEAK = 6.0  # periodic part of the second difference, in multiples of what frequencies around it have


class History(NamedTuple):
    """What is known of a file.

    Attributes:
        format, quality, metadata: as in `Facts`.
        grid: (row, column) at which the 8x8 blocks of a JPEG begin; None without signs of one.
        period: in pixels, with which sharpness repeats after a resize; None without signs of one.
    """

    format: str
    quality: int | None
    metadata: str
    grid: tuple[int, int] | None
    period: float | None


def history_of(data: bytes) -> History | None:
    """Return what a file's bytes tell; None if it cannot be decoded."""
    facts, pixels, _ = decode(data, None)
    if facts.error:
        return None
    return History(facts.format, facts.quality, facts.metadata, *traces(pixels))


def traces(pixels: np.ndarray) -> tuple[tuple[int, int] | None, float | None]:
    """Return `grid` and `period` of decoded pixels, uint8 (H, W, 3)."""
    height, width = pixels.shape[:2]
    # From a multiple of 8 on, so that blocks keep their places.
    top, left = (max(0, (side - SIDE) // 2) // 8 * 8 for side in (height, width))
    luma = pixels[top : top + SIDE, left : left + SIDE].astype(np.float32) @ np.array(LUMA, np.float32)
    if min(luma.shape) < 24:
        return None, None
    grid = jpeg_grid(luma)
    return grid, resize_period(luma, blocks=grid is not None)


def said(grid: tuple[int, int] | None, period: float | None) -> str:
    """Return `traces` in words."""
    signs = [name for name, sign in (("JPEG", grid), ("resize", period)) if sign is not None]
    return f"signs of {' and '.join(signs)}" if signs else "no signs"


def jpeg_grid(luma: np.ndarray) -> tuple[int, int] | None:
    """Return where the 8x8 blocks of an earlier JPEG begin, by the coefficients that it has rounded to zero.

    Every pixel votes for that one of the 64 grids whose block around it has most zeros; a grid with more votes than
    chance gives is one (Nikoukhah et al., "ZERO: a local JPEG grid origin detector based on the number of DCT zeros",
    IPOL 2021). A later resize removes it. WebP has blocks, too, and leaves signs in some images; so does a resize whose
    weights repeat every 4 or 8 pixels.

    Args:
        luma: float32 (H, W) in 0..255.
    """
    basis = _dct()
    windows = np.lib.stride_tricks.sliding_window_view(np.rint(luma), (8, 8))
    rows, columns = windows.shape[:2]
    coefficients = windows.reshape(rows * columns, 64) @ np.kron(basis, basis).T
    zeros = (np.abs(coefficients) < 0.5).sum(1, dtype=np.int8).reshape(rows, columns)
    zeros[zeros >= 63] = 0  # constant blocks fit every grid
    # For every pixel and grid, the zeros of the grid's block around the pixel; pixels at the border have none.
    height, width = rows - 7, columns - 7
    around = np.empty((8, 8, height, width), zeros.dtype)
    y, x = np.arange(7, 7 + height), np.arange(7, 7 + width)
    for down in range(8):
        for right in range(8):
            tops, lefts = y - (y - down) % 8, x - (x - right) % 8
            around[down, right] = zeros[tops[:, None], lefts]
    around = around.reshape(64, -1)
    best = around.max(0)
    clear = ((around == best).sum(0) == 1) & (best > 0)  # no vote where grids are alike
    votes = np.bincount(around.argmax(0)[clear], minlength=64)
    winner = int(votes.argmax())
    # Pixels of one block vote alike: a block counts once. bdtrc is the upper tail of a binomial.
    expected = 64 * float(bdtrc(votes[winner] // 64 - 1, max(1, int(clear.sum()) // 64), 1 / 64))
    return divmod(winner, 8) if expected < FALSE_ALARMS else None


def _dct() -> np.ndarray:
    """Return the matrix of the orthonormal DCT of 8 values, float32 (8, 8)."""
    k, n = np.arange(8)[:, None], np.arange(8)
    basis = np.cos(np.pi * (2 * n + 1) * k / 16) * math.sqrt(2 / 8)
    basis[0] /= math.sqrt(2)
    return basis.astype(np.float32)


def resize_period(luma: np.ndarray, blocks: bool) -> float | None:
    """Return the period, in pixels, with which sharpness repeats along rows and columns after an interpolation.

    An interpolated pixel depends on its neighbours by weights that repeat with the factor. So does the mean size of the
    second difference (Gallagher, "Detection of linear and cubic interpolation in JPEG compressed images", CRV 2005).
    Enlarging is seen, shrinking is not.

    Args:
        luma: float32 (H, W) in 0..255.
        blocks: whether the image has the blocks of a JPEG, whose periods, 8 pixels and their parts, do not count then.
    """
    size = 128  # of the spectra of both directions, which are brought to one scale
    frequency = np.arange(size // 2 + 1) / size
    spectrum = np.zeros(len(frequency))
    for image in (luma, luma.T):
        sharpness = np.log1p(np.abs(np.diff(image, 2, axis=1))).mean(0)
        length = len(sharpness) // 8 * 8  # so that the blocks' frequencies are whole ones
        sharpness = sharpness[:length] - np.convolve(sharpness, np.ones(9) / 9, "same")[:length]
        power = np.abs(np.fft.rfft(sharpness * np.hanning(length))) / length
        spectrum += np.interp(frequency, np.arange(len(power)) / length, power)
    far = np.abs(frequency * 8 - np.rint(frequency * 8)) > 0.2
    counted = (frequency > 0.15) & (far | (not blocks))
    usual = np.median(spectrum[counted])
    place = int(np.where(counted, spectrum, 0).argmax())
    return float(1 / frequency[place]) if spectrum[place] > PEAK * usual else None
