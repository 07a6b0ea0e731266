"""Euclidean distances from matrix products of centred rows, tile by tile in a reused buffer.

The products are in float32 on every device, or in int8 on CPUs that multiply int8 several times as fast.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from deepfake_lit.core import console

TILE_BYTES = 2**28  # size of the float32 rows in one tile
NARROW = 4  # tiles of the right-hand rows are smaller by this factor: each of their rows is used only once per tile
NORM_ROWS = 16  # rows squared at a time in float64, so that they stay in a core's cache
INT8_TERMS = 2**31 // 128**2 - 1  # number of int8 products whose sum fits int32
UNIT = 2.0**-24  # unit roundoff of float32


def gamma(terms: int) -> float:
    """Return the bound on the relative error of a float32 sum of `terms` products, summed in any order.

    See Higham 2002, "Accuracy and stability of numerical algorithms", section 3.1.
    """
    return terms * UNIT / (1 - terms * UNIT)


def has_quick_int8(device: str, features: int) -> bool:
    """Tell whether int8 products are exact and fast: on a CPU with AVX512-VNNI, for 2 to `INT8_TERMS` features.

    With a single feature, torch 2.14 multiplies values that are not in the arrays.
    """
    return device == "cpu" and 1 < features <= INT8_TERMS and torch.cpu._is_vnni_supported()


def tile_rows(features: int) -> int:
    return max(1, min(2500, TILE_BYTES // (4 * features)))


class Tiles:
    """Tiles of centred rows, as float32 on a device.

    Centring keeps the norms small, and so float32's rounding errors in the products; the norms of uncentred pixels are
    large enough to change neighbours. New memory costs a page fault per 4 KiB, so all tiles share one buffer.

    Args:
        rows: uint8 or float (N, D).
        centre: float32 (D,) or a number, subtracted from every row.
        step: number of rows in a tile.
    """

    dtype = np.float32  # of the buffer

    def __init__(self, rows: np.ndarray, centre: np.ndarray | float, device: str, step: int):
        self.rows = rows
        self.centre = torch.from_numpy(np.asarray(centre, np.float32)).to(device)
        self.step = min(len(rows), step)
        self.buffer = torch.from_numpy(np.empty((self.step, rows.shape[1]), self.dtype)).to(device)

    @property
    def starts(self) -> range:
        return range(0, len(self.rows), self.step)

    def load(self, start: int) -> tuple[Tensor, Tensor]:
        """Return rows float32 (n, D), which the next call overwrites, and their squared norms float64 (n,)."""
        part = self.rows[start : start + self.step]
        tile = self.buffer[: len(part)]
        tile.copy_(torch.from_numpy(part)).sub_(self.centre)
        return tile, torch.cat([few.double().square_().sum(1) for few in tile.split(NORM_ROWS)])


class QuantisedTiles(Tiles):
    """Tiles of centred rows, quantised to int8 multiples of a scale, with a bound on each row's rounding error.

    Args:
        rows: uint8 or float32 (N, D).
        centre: float32 (D,), or 128 for uint8 rows; subtracted from every row.
        scale: quantisation step; 1 for uint8 rows, which stay exact.
    """

    dtype = np.int8

    def __init__(self, rows: np.ndarray, centre: np.ndarray | float, scale: float, step: int):
        super().__init__(rows, centre, "cpu", step)
        self.scale = scale

    def load(self, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows int8 (n, D), their squared norms int64 (n,) and error bounds float64 (n,).

        The error is the distance from a row to its quantised version. The next call overwrites the int8 rows.
        """
        part = self.rows[start : start + self.step]
        tile = self.buffer[: len(part)]
        moved, norms = torch.zeros(len(part), dtype=torch.float64), torch.empty(len(part), dtype=torch.int64)
        for i in range(0, len(part), NORM_ROWS):
            few = slice(i, i + NORM_ROWS)
            if part.dtype == np.uint8:
                np.bitwise_xor(part[few], 128, out=tile[few].view(torch.uint8).numpy())  # subtracts 128
            else:
                moved[few] = self._quantise(torch.from_numpy(part[few]), tile[few])
            norms[few] = torch._int_mm(tile[few], tile[few].T).diagonal()  # faster than squaring and summing
        return tile, norms, moved

    def _quantise(self, rows: Tensor, out: Tensor) -> Tensor:
        rest = (rows - self.centre).div_(self.scale)
        length = rest.square().sum(1).double().sqrt_()
        quantised = rest.round().clamp_(-127, 127)
        out.copy_(quantised)
        error = rest.sub_(quantised).square_().sum(1).double().sqrt_()
        # gamma bounds the rounding of the sums of squares; the second term, that of the subtractions and the division
        return (1 + gamma(rows.shape[1])) * self.scale * (error + 4 * UNIT * length)


def quantised_distances(
    queries: np.ndarray, rows: np.ndarray, centre: np.ndarray | float, scale: float, label: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return approximate distances float64 (n, m), the queries' errors (n,) and the rows' errors (m,).

    The true distance differs from the approximate one by at most the sum of the two errors, which are 0 for uint8.

    Args:
        label: text of the progress bar.
    """
    distances = torch.from_numpy(np.empty((len(queries), len(rows))))
    errors, row_errors = (torch.empty(n, dtype=torch.float64) for n in distances.shape)
    step = tile_rows(rows.shape[1])
    left, right = (QuantisedTiles(x, centre, scale, step) for x in (queries, rows))
    for i in console.progress(left.starts, label, len(left.starts)):
        tile, norms, errors[i : i + step] = left.load(i)
        for j in right.starts:
            other, other_norms, row_errors[j : j + step] = right.load(j)
            product = torch._int_mm(tile, other.T)
            squared = product.double().mul_(-2).add_(norms[:, None]).add_(other_norms)
            distances[i : i + step, j : j + step] = squared.sqrt_().mul_(scale)
    return distances, errors, row_errors


def squared_distances(
    a: np.ndarray, b: np.ndarray, centre: np.ndarray | float, device: str, label: str | None = None
) -> Iterator[tuple[slice, slice, Tensor, Tensor, Tensor]]:
    """Yield tiles of the matrix of squared distances, on the device.

    If `a is b`, only tiles that touch the diagonal or lie above it are computed.

    Args:
        label: text of a progress bar; None: no bar.

    Yields:
        Rows of a, rows of b, squared distances float64 (n, m), squared norms of these rows of a and of b, float64.
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
        # NumPy's BLAS is a third faster than torch's on AMD CPUs, and as fast on others
        product = torch.from_numpy(tile.numpy() @ other.numpy().T) if tile.device.type == "cpu" else tile @ other.T
        squared = product.double().mul_(-2).add_(norms[:, None]).add_(other_norms)
        yield slice(i, i + len(norms)), slice(j, j + len(other_norms)), squared, norms, other_norms
