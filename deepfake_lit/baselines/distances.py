"""Squared Euclidean distances as matrix products of centred rows, tile by tile in memory that is used again.

In float32 on every device; in int8 on a CPU that multiplies it several times as fast.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from deepfake_lit.core import console

TILE_BYTES = 2**28  # of the float32 rows in one tile
NARROW = 4  # tiles of the right-hand rows are so many times smaller: each row of them is used but once a tile
NORM_ROWS = 16  # squared at a time in float64: what stays in a core's cache
INT8_TERMS = 2**31 // 128**2 - 1  # products of int8 that a sum in int32 holds
UNIT = 2.0**-24  # unit roundoff of float32


def gamma(terms: int) -> float:
    """Bound of the relative error of a float32 sum of so many products, in any order (Higham 2002, "Accuracy and
    stability of numerical algorithms", section 3.1)."""
    return terms * UNIT / (1 - terms * UNIT)


def has_quick_int8(device: str, features: int) -> bool:
    """Return whether int8 products are exact and quick: on a CPU with AVX512-VNNI, and with few enough terms.

    Of a single one torch 2.14 multiplies what is not there.
    """
    return device == "cpu" and 1 < features <= INT8_TERMS and torch.cpu._is_vnni_supported()


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


class QuantisedTiles:
    """Rows, less a centre, as multiples of a scale in int8, in tiles, with what rounding has moved each of them by.

    Args:
        rows: uint8 or float32 (N, D).
        centre: float32 (D,), or 128 for uint8 rows.
        scale: of the quantisation; 1 for uint8 rows, which stay exact.
    """

    def __init__(self, rows: np.ndarray, centre: np.ndarray | float, scale: float, step: int):
        self.rows, self.centre, self.scale = rows, torch.from_numpy(np.asarray(centre, np.float32)), scale
        self.step = min(len(rows), step)
        self.buffer = torch.empty((self.step, rows.shape[1]), dtype=torch.int8)

    @property
    def starts(self) -> range:
        return range(0, len(self.rows), self.step)

    def load(self, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """(int8 (n, D), its squared norms int64 (n,), distances that the rows were moved by, float64 (n,)); the int8
        rows are overwritten by the next call."""
        part = self.rows[start : start + self.step]
        tile = self.buffer[: len(part)]
        moved, norms = torch.zeros(len(part), dtype=torch.float64), torch.empty(len(part), dtype=torch.int64)
        for i in range(0, len(part), NORM_ROWS):
            few = slice(i, i + NORM_ROWS)
            if part.dtype == np.uint8:
                np.bitwise_xor(part[few], 128, out=tile[few].view(torch.uint8).numpy())  # less 128
            else:
                moved[few] = self._quantise(torch.from_numpy(part[few]), tile[few])
            norms[few] = torch._int_mm(tile[few], tile[few].T).diagonal()  # quicker than squaring and adding
        return tile, norms, moved

    def _quantise(self, rows: Tensor, out: Tensor) -> Tensor:
        rest = (rows - self.centre).div_(self.scale)
        length = rest.square().sum(1).double().sqrt_()
        quantised = rest.round().clamp_(-127, 127)
        out.copy_(quantised)
        error = rest.sub_(quantised).square_().sum(1).double().sqrt_()
        # the sums of squares have errors too, and the subtractions and the division: the second term
        return (1 + gamma(rows.shape[1])) * self.scale * (error + 4 * UNIT * length)


def quantised_distances(
    queries: np.ndarray, rows: np.ndarray, centre: np.ndarray | float, scale: float, label: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return approximate distances float64 (n, m), and the errors of the queries (n,) and of the rows (m,).

    The true distance differs from the approximate one by no more than the sum of the two errors, which are 0 for uint8.

    Args:
        label: of the progress bar.
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
