"""Windows of images of any size. A resize would remove the traces that generators leave; a window keeps its pixels."""

import copy
import multiprocessing
import os
import pickle
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.system import cores
from deepfake_lit.data.decode import decode
from deepfake_lit.data.fit import WHOLE, corner, window
from deepfake_lit.data.sources import Source


class Windows(ABC):
    """N images of any size as if they were one array uint8 (N, H, W, 3), or (N, H, W) of transparency.

    Indexing with rows gives the centre windows of these images; `at` gives windows elsewhere.

    Args:
        sizes: int64 (N, 2), each image's (height, width); zeros for one that could not be decoded.
        size: (height, width) of the windows.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, sizes: np.ndarray, size: tuple[int, int], transparency: bool = False):
        self.sizes, self.size, self.planes = sizes, size, () if transparency else (3,)
        self.part = (slice(None), slice(None))

    @property
    def shape(self) -> tuple[int, ...]:
        height, width = (len(range(*p.indices(side))) for p, side in zip(self.part, self.size, strict=True))
        return (len(self.sizes), height, width, *self.planes)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.sizes)

    def of_size(self, size: tuple[int, int]) -> "Windows":
        """Return the same images in windows of another (height, width)."""
        other = copy.copy(self)
        other.size = size
        return other

    def __getitem__(self, key) -> "np.ndarray | Windows":
        """Return the centre windows of some rows; `[:, top:bottom, left:right]` is a view, as of an array."""
        if isinstance(key, tuple):
            rows, *part = key
            other = copy.copy(self)
            other.part = (*part, *[slice(None)] * 2)[:2]
            return other if isinstance(rows, slice) and rows == slice(None) else other[rows]
        rows = np.arange(len(self))[key]
        return self.at(rows) if rows.ndim else self.at(rows[None])[0]

    def at(self, rows: np.ndarray, places: np.ndarray | None = None) -> np.ndarray:
        """Return one window of each row's image, uint8 (B, H, W, 3) or (B, H, W).

        Args:
            places: (B, 2), or (2,) for all of them, as in `corner`; None: the centre. An image that is smaller than a
                window is in its centre, with its border mirrored.
        """
        corners = corner(self.sizes[rows], self.size, places)
        found = np.zeros((len(rows), *self.shape[1:]), np.uint8)

        def fill(i: int) -> None:
            if self.sizes[rows[i]].all():
                found[i] = window(self.image(rows[i]), *corners[i], self.size)[self.part]

        self._each(fill, len(rows))
        return found

    def _each(self, fill, count: int) -> None:
        for i in range(count):
            fill(i)

    @abstractmethod
    def image(self, row: int) -> np.ndarray:
        """Return a whole image, uint8 (h, w, 3) or (h, w)."""


class Ragged(Windows):
    """Images in one flat uint8 array, one after the other; failed ones keep their place."""

    def __init__(self, flat: np.ndarray, sizes: np.ndarray, size: tuple[int, int], transparency: bool = False):
        super().__init__(sizes, size, transparency)
        self.flat, self.offsets = flat, offsets_of(sizes, 1 if transparency else 3)

    def image(self, row: int) -> np.ndarray:
        return self.flat[self.offsets[row] : self.offsets[row + 1]].reshape(*self.sizes[row], *self.planes)


def offsets_of(sizes: np.ndarray, planes: int) -> np.ndarray:
    """Return where each image begins in a flat array, int64 (N + 1,); the last is the length of the whole."""
    return np.concatenate([[0], np.cumsum(planes * sizes.prod(1))]).astype(np.int64)


class Streamed(Windows):
    """Images that are decoded from their files whenever they are asked for.

    It can be pickled and used after a fork. The main process decodes with threads, a loader's worker by itself.

    Args:
        decoded: (height, width) that files are brought to by `fit`; None keeps their own sizes.
        opaque: bool (N,), the images without transparency, which are not decoded for it.
    """

    def __init__(
        self,
        source: Source,
        files: list[str],
        sizes: np.ndarray,
        size: tuple[int, int],
        fit: str,
        opaque: np.ndarray,
        transparency: bool = False,
    ):
        decoded = None if fit == WHOLE else size
        super().__init__(sizes if decoded is None else np.where(sizes > 0, size, 0), size, transparency)
        self.source, self.files, self.fit, self.decoded, self.opaque = source, files, fit, decoded, opaque
        self.process = os.getpid()

    def image(self, row: int) -> np.ndarray:
        if not self.planes and self.opaque[row]:
            return np.zeros(self.sizes[row], np.uint8)
        try:
            fact, pixels, transparency = decode(self.source.read(self.files[row]), self.decoded, self.fit)
        except Exception as error:  # permission, I/O, a file that is gone, a damaged archive
            raise UserError(f"{self.files[row]} can no longer be read: {error}") from None
        if fact.error or pixels.shape[:2] != tuple(self.sizes[row]):
            reason = fact.error[1] if fact.error else f"it is {fact.width} x {fact.height} pixels now"
            raise UserError(f"{self.files[row]} changed since it was first read: {reason}; start again")
        return pixels if self.planes else transparency

    def _each(self, fill, count: int) -> None:
        if self.process != os.getpid():  # a fork shares the place in an open file; a source anew opens its own
            self.source, self.process = pickle.loads(pickle.dumps(self.source)), os.getpid()
        if count == 1 or multiprocessing.parent_process() is not None:
            super()._each(fill, count)
            return
        with ThreadPoolExecutor(min(count, cores())) as pool:
            list(pool.map(fill, range(count)))
