"""Exact nearest neighbours by matrix products: `KNeighborsClassifier(algorithm="brute")`, many times as fast."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin

from deepfake_lit.baselines.distances import squared_distances
from deepfake_lit.data.pool import cores

UNIT = 2.0**-24  # unit roundoff of float32
QUERIES = 1250  # at a time
FEW = 50  # queries whose distances to all rows stay in a core's cache


class KNN(ClassifierMixin, BaseEstimator):
    """K nearest neighbours under the Euclidean distance, with equal votes.

    One float32 matrix product ranks the training rows of every query approximately. The product's error has a bound
    that holds in any order of summation (Higham 2002, "Accuracy and stability of numerical algorithms", section
    3.1), so the rows that can be among the nearest are known for certain; their distances are computed again in
    float64, for uint8 data without any rounding. The neighbours are therefore the exact ones on every device. Equal
    distances go to the lower training row, equal votes to the lowest label.

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
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.classes_[self.predict_proba(X).argmax(1)]

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Share of the votes, float64 (N, classes)."""
        return self.votes(self.kneighbors(X)[1])

    def votes(self, indices: np.ndarray) -> np.ndarray:
        """Share of the votes of neighbours int64 (N, k): the first columns of one search serve every smaller k."""
        return (self.labels_[indices][..., None] == np.arange(len(self.classes_))).mean(1)

    def kneighbors(self, X: np.ndarray, n_neighbors: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(distances float64 (N, k), indices int64 (N, k)), nearest first."""
        count = n_neighbors or self.n_neighbors
        queries = np.ascontiguousarray(X, self.rows_.dtype)
        found = []
        for start in range(0, len(queries), QUERIES):
            part = queries[start : start + QUERIES]
            found += _threads(self._nearest, part, self._possible(part, count), itertools.repeat(count))
        squared, indices = map(np.stack, zip(*found, strict=True))
        return np.sqrt(squared), indices

    def _possible(self, queries: np.ndarray, count: int) -> Iterator[np.ndarray]:
        """For each query the training rows that can be among the nearest, whatever the rounding errors were."""
        shape = len(queries), len(self.rows_)
        squared = torch.from_numpy(np.empty(shape)).to(self.device)
        lengths, row_lengths = (torch.empty(n, dtype=torch.float64, device=self.device) for n in shape)
        tiles = squared_distances(queries, self.rows_, self.centre_, self.device, "nearest neighbours")
        for rows, columns, tile, norms, other_norms in tiles:
            squared[rows, columns] = tile
            lengths[rows], row_lengths[columns] = norms.sqrt(), other_norms.sqrt()
        terms = queries.shape[1]
        gamma = terms * UNIT / (1 - terms * UNIT)
        for near, length in zip(squared.split(FEW), lengths[:, None].split(FEW), strict=True):
            # of a product of `terms` terms, and of rounding the centred rows
            error = 2 * gamma * length * row_lengths + 4 * UNIT * (length + row_lengths) ** 2
            farthest = (near + error).kthvalue(count, dim=1, keepdim=True).values  # the k-th neighbour is no farther
            yield from map(np.flatnonzero, (near - error <= farthest).cpu().numpy())

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
