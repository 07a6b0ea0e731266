"""Support vector classification with an RBF kernel: libsvm's solution on a kernel matrix that matrix products made."""

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.svm import SVC

from deepfake_lit.baselines.distances import squared_distances, tile_rows
from deepfake_lit.core import console
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.system import batch_of

GIB = 2**30
ROWS = 2500  # of the data to predict at a time; fewer where they are long or the training rows many


class SVM(ClassifierMixin, BaseEstimator):
    """`sklearn.svm.SVC(kernel="rbf")`, with the same solver and its predictions.

    SVC computes the kernel one entry at a time; here it is one float32 matrix product of centred rows, with norms and
    exponentials in float64. libsvm itself keeps kernel values in float32, and stops within 1e-3 of the solution: only
    a decision closer to 0 than that could come out the other way.

    Args:
        gamma: a number, "scale" (1 / (D * variance of X)) or "auto" (1 / D), as in SVC.
        device: of the matrix products.
        memory_gib: of the kernel matrix (float64, N x N) and the blocks it is made in. Where the matrix does not
            fit, the kernel is computed as SVC does: slowly, with the same result.
    """

    def __init__(
        self,
        C: float = 1.0,
        gamma: float | str = "scale",
        class_weight: dict | str | None = None,
        device: str = "cpu",
        memory_gib: float = 8.0,
    ):
        self.C, self.gamma, self.class_weight = C, gamma, class_weight
        self.device, self.memory_gib = device, memory_gib

    def fit(self, X: np.ndarray, y: np.ndarray) -> "SVM":
        """X float (N, D).

        Raises:
            UserError: neither the kernel matrix nor a float64 copy of X fits `memory_gib`.
        """
        X = np.ascontiguousarray(X, np.float32)
        self.gamma_ = self._gamma(X)
        tile = min(len(X), tile_rows(X.shape[1]))
        needed = 8 * len(X) ** 2 + 2 * 4 * tile * X.shape[1] + 2 * 8 * tile**2  # bytes
        settings = {"C": self.C, "class_weight": self.class_weight}
        if needed > self.memory_gib * GIB:
            if X.size * 8 > self.memory_gib * GIB:
                raise UserError(
                    f"an SVM of {len(X):,} rows with {X.shape[1]:,} features needs "
                    f"{min(needed, X.size * 8) / GIB:.1f} GiB; memory_gib is {self.memory_gib}"
                )
            console.note(f"the kernel matrix does not fit {self.memory_gib} GiB: computing it entry by entry, slowly")
            with console.working("support vector machine"):
                self.svc_ = SVC(kernel="rbf", gamma=self.gamma_, **settings).fit(X, y)
            self.rows_ = None
        else:
            self.centre_ = X.mean(0, dtype=np.float64).astype(np.float32)
            kernel = self._kernel(X, X)
            with console.working("support vector machine"):
                self.svc_ = SVC(kernel="precomputed", **settings).fit(kernel, y)
            del kernel  # before the support vectors are copied
            self.rows_ = X[self.svc_.support_]
            self.trained_on_ = len(X)
        self.classes_ = self.svc_.classes_
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return SVC's one-against-the-rest decision from the pairs' votes: float64 (N, classes), or (N,) of two."""
        return np.concatenate([self.svc_.decision_function(part) for part in self._parts(X)])

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.concatenate([self.svc_.predict(part) for part in self._parts(X)])

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Softmax of the decision function, float64 (N, classes): uncalibrated, but its largest is always `predict`'s
        label, also where the votes tie. `CalibratedClassifierCV` around this class gives calibrated ones."""
        parts = []
        for part in self._parts(X):
            scores = self.svc_.decision_function(part)
            if scores.ndim == 1:
                scores = np.stack([-scores, scores], 1) / 2
            p = torch.softmax(torch.from_numpy(scores), 1).numpy()
            first, chosen = p.argmax(1), np.searchsorted(self.classes_, self.svc_.predict(part))
            rows = np.arange(len(p))
            p[rows, first], p[rows, chosen] = p[rows, chosen], p[rows, first]
            parts.append(p)
        return np.concatenate(parts)

    def _gamma(self, X: np.ndarray) -> float:
        if self.gamma == "auto":
            return 1 / X.shape[1]
        if self.gamma == "scale":
            mean = X.mean(dtype=np.float64)
            variance = sum(np.square(row - mean).sum() for row in X) / X.size
            return 1 / (X.shape[1] * variance) if variance else 1.0
        return float(self.gamma)

    def _parts(self, X: np.ndarray):
        """What `svc_` predicts from: kernel rows against all training rows (support vectors count), or X itself."""
        against = 0 if self.rows_ is None else 16 * self.trained_on_
        step = batch_of(4 * X.shape[1] + against, ROWS)
        for start in range(0, len(X), step):
            part = np.asarray(X[start : start + step], np.float32)
            if self.rows_ is None:
                yield part
            else:
                against_all = np.zeros((len(part), self.trained_on_))
                against_all[:, self.svc_.support_] = self._kernel(part, self.rows_)
                yield against_all

    def _kernel(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        """exp(-gamma |a - b|^2), float64 (len(A), len(B))."""
        kernel = np.empty((len(A), len(B)))
        symmetric = A is B
        label = "kernel matrix" if symmetric else None
        for rows, columns, squared, *_ in squared_distances(A, B, self.centre_, self.device, label):
            tile = squared.clamp_(min=0).mul_(-self.gamma_).exp_().cpu().numpy()
            kernel[rows, columns] = tile
            if symmetric:
                kernel[columns, rows] = tile.T
        if symmetric:
            np.fill_diagonal(kernel, 1)
        return kernel
