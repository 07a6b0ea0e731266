"""Squared Euclidean distances as matrix products of centred float32 rows, tile by tile in memory that is used again."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from deepfake_lit import console

TILE_BYTES = 2**28  # of the float32 rows in one tile
NARROW = 4  # tiles of the right-hand rows are so many times smaller: each row of them is used but once a tile
NORM_ROWS = 16  # squared at a time in float64: what stays in a core's cache


def tile_rows(features: int) -> int:
    return max(1, min(2500, TILE_BYTES // (4 * features)))


class Tiles:
    """Rows, less a centre, as float32 on a device, in tiles.

    Centring keeps the norms, and with them float32's rounding errors in the products, small; uncentred pixels have
    norms that change neighbours. Fresh memory costs a page fault for every 4 KiB, so there is one buffer.

    Args:
        rows: uint8 or float (N, D).
        centre: float32 (D,) or a number.
        step: rows in a tile.
    """

    def __init__(self, rows: np.ndarray, centre: np.ndarray | float, device: str, step: int):
        self.rows = rows
        self.centre = torch.from_numpy(np.asarray(centre, np.float32)).to(device)
        self.step = min(len(rows), step)
        self.buffer = torch.from_numpy(np.empty((self.step, rows.shape[1]), np.float32)).to(device)

    @property
    def starts(self) -> range:
        return range(0, len(self.rows), self.step)

    def load(self, start: int) -> tuple[Tensor, Tensor]:
        """(float32 (n, D), squared norms float64 (n,)); the rows are overwritten by the next call."""
        part = self.rows[start : start + self.step]
        tile = self.buffer[: len(part)]
        tile.copy_(torch.from_numpy(part)).sub_(self.centre)
        return tile, torch.cat([few.double().square_().sum(1) for few in tile.split(NORM_ROWS)])


def squared_distances(
    a: np.ndarray, b: np.ndarray, centre: np.ndarray | float, device: str, label: str | None = None
) -> Iterator[tuple[slice, slice, Tensor, Tensor, Tensor]]:
    """Tiles of the matrix of squared distances, on the device.

    Where `a is b` only tiles that reach the diagonal or lie above it come.

    Args:
        label: of a progress bar; None: no bar.

    Yields:
        (rows of a, rows of b, squared float64 (n, m), norms of these a, norms of these b: float64).
    """
    step = tile_rows(a.shape[1])
    left, right = Tiles(a, centre, device, step), Tiles(b, centre, device, max(1, step // NARROW))
    pairs = [(i, j) for i in left.starts for j in right.starts if a is not b or j + right.step > i]
    loaded = None
    for i, j in console.progress(pairs, label, len(pairs)) if label else pairs:
        if loaded != i:
            tile, norms = left.load(i)
            loaded = i
        other, other_norms = right.load(j)
        squared = _product(tile, other).double().mul_(-2).add_(norms[:, None]).add_(other_norms)
        yield slice(i, i + len(norms)), slice(j, j + len(other_norms)), squared, norms, other_norms


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b.T. On a CPU by NumPy's BLAS: on AMD it is a third faster than torch's, elsewhere as fast."""
    if a.device.type == "cpu":
        return torch.from_numpy(a.numpy() @ b.numpy().T)
    return a @ b.T
