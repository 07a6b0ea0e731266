"""Exact nearest neighbours by matrix products: `KNeighborsClassifier(algorithm="brute")`, many times as fast."""

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin

from deepfake_lit.baselines.distances import UNIT, gamma, has_quick_int8, quantised_distances, squared_distances
from deepfake_lit.core.system import batch_of, cores

QUERIES = 1250  # at a time; fewer where there are many training rows
FEW = 50  # queries whose distances to all rows stay in a core's cache
MANY = 200  # candidates a query, on average, that it takes longer to measure again than int8 has saved


class KNN(ClassifierMixin, BaseEstimator):
    """K nearest neighbours under the Euclidean distance, with equal votes.

    One matrix product ranks the training rows of every query approximately: of int8 where the CPU is quick at it, else
    of float32. Its error has a bound, so the rows that can be among the nearest are known for certain; their distances
    are computed again in float64, for uint8 data without any rounding. The neighbours are therefore the exact ones on
    every device. Equal distances go to the lower training row, equal votes to the lowest label.

    Args:
        n_neighbors: k.
        device: of the matrix product.
    """

    def __init__(self, n_neighbors: int = 5, device: str = "cpu"):
        self.n_neighbors, self.device = n_neighbors, device

    def fit(self, X: np.ndarray, y: np.ndarray) -> "KNN":
        """X uint8 or float (N, D); it is kept, not copied, unless it is float64 (to float32)."""
        self.classes_, self.labels_ = np.unique(y, return_inverse=True)
        self.rows_ = X if X.dtype == np.uint8 else np.ascontiguousarray(X, np.float32)
        if not 1 <= self.n_neighbors <= len(X):
            raise ValueError(f"n_neighbors={self.n_neighbors} must be 1 to the number of training rows, {len(X)}")
        # whole numbers stay whole; others are best centred on their mean
        self.centre_ = 128.0 if X.dtype == np.uint8 else X.mean(0, dtype=np.float64).astype(np.float32)
        self.quick_int8_, self.scale_ = has_quick_int8(self.device, X.shape[1]), 1.0
        if self.quick_int8_ and X.dtype != np.uint8:
            largest = max((self.rows_.max(0) - self.centre_).max(), (self.centre_ - self.rows_.min(0)).max())
            self.scale_ = float(largest) / 127 or 1.0  # 127: the largest that int8 holds of either sign
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.classes_[self.predict_proba(X).argmax(1)]

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Share of the votes, float64 (N, classes)."""
        return self.votes(self.kneighbors(X)[1])

    def votes(self, indices: np.ndarray) -> np.ndarray:
        """Share of the votes of neighbours int64 (N, k): the first columns of one search serve every smaller k."""
        classes = np.arange(len(self.classes_))
        step = batch_of(indices.shape[1] * len(classes), len(indices))
        parts = [indices[i : i + step] for i in range(0, len(indices) or 1, step)]
        return np.concatenate([(self.labels_[part][..., None] == classes).mean(1) for part in parts])

    def kneighbors(self, X: np.ndarray, n_neighbors: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return distances float64 (N, k) and indices int64 (N, k), nearest first."""
        count = n_neighbors or self.n_neighbors
        queries = np.ascontiguousarray(X, self.rows_.dtype)
        found = []
        step = batch_of(8 * len(self.rows_), QUERIES)  # their distances, float64
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            found += _threads(self._nearest, part, self._possible(part, count), itertools.repeat(count))
        squared, indices = map(np.stack, zip(*found, strict=True))
        return np.sqrt(squared), indices

    def _possible(self, queries: np.ndarray, count: int) -> list[np.ndarray]:
        """For each query the training rows that can be among the nearest, whatever the rounding errors were."""
        if self.quick_int8_:
            possible = self._candidates(*self._int8(queries), count)
            if sum(map(len, possible)) <= MANY * len(queries):
                return possible
            self.quick_int8_ = False  # a few values are far larger than the others, which int8 then cannot tell apart
        return self._candidates(*self._float32(queries), count)

    def _int8(self, queries: np.ndarray) -> tuple[torch.Tensor, Callable]:
        """Distances float64 (n, m), and a function of a slice of the queries that gives their errors' bound."""
        distances, errors, row_errors = quantised_distances(
            queries, self.rows_, self.centre_, self.scale_, "nearest neighbours"
        )
        return distances, lambda some: errors[some, None] + row_errors

    def _float32(self, queries: np.ndarray) -> tuple[torch.Tensor, Callable]:
        """The same, of squared distances."""
        shape = len(queries), len(self.rows_)
        squared = torch.from_numpy(np.empty(shape)).to(self.device)
        lengths, row_lengths = (torch.empty(n, dtype=torch.float64, device=self.device) for n in shape)
        tiles = squared_distances(queries, self.rows_, self.centre_, self.device, "nearest neighbours")
        for rows, columns, tile, norms, other_norms in tiles:
            squared[rows, columns] = tile
            lengths[rows], row_lengths[columns] = norms.sqrt(), other_norms.sqrt()

        def error(some: slice) -> torch.Tensor:  # of the product, and of rounding the centred rows
            length = lengths[some, None]
            return 2 * gamma(queries.shape[1]) * length * row_lengths + 4 * UNIT * (length + row_lengths) ** 2

        return squared, error

    @staticmethod
    def _candidates(near: torch.Tensor, error: Callable, count: int) -> list[np.ndarray]:
        """Of distances, or their squares, that are certain to within an error, for each query the rows that can be
        among the `count` nearest."""

        def some(start: int) -> list[np.ndarray]:
            part = near[start : start + FEW]
            wide = error(slice(start, start + FEW))
            farthest = (part + wide).kthvalue(count, dim=1, keepdim=True).values  # the k-th neighbour is no farther
            return [np.flatnonzero(row) for row in (part - wide <= farthest).cpu().numpy()]

        return [rows for start in range(0, len(near), FEW) for rows in some(start)]

    def _nearest(self, query: np.ndarray, candidates: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(squared distances float64 (k,), indices (k,))."""
        difference = self.rows_[candidates].astype(np.float64) - query
        distances = np.einsum("nd,nd->n", difference, difference)
        order = np.lexsort((candidates, distances))[:count]
        return distances[order], candidates[order]


def _threads(function: Callable, *arguments: Iterable) -> list:
    """NumPy lets go of the interpreter's lock in what takes time here."""
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(function, *arguments))
