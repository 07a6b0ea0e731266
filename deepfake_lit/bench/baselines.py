"""KNN and SVM against scikit-learn's, on the same arrays."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_lit.bench.timing import BenchConfig, Comparison, images, in_a_process, resident
from deepfake_lit.core import system

NEIGHBOURS = (3, 5, 7, 9, 11)  # report B's
WARM_UP = 100  # images


def _knn(pixels: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> list[np.ndarray]:
    from deepfake_lit.baselines.knn import KNN

    knn = KNN(max(NEIGHBOURS)).fit(pixels, labels)
    indices = knn.kneighbors(queries)[1]
    return [knn.classes_[knn.votes(indices[:, :k]).argmax(1)] for k in NEIGHBOURS]


def _sklearn_knn(pixels, labels, queries):
    from sklearn.neighbors import KNeighborsClassifier

    fitted = (KNeighborsClassifier(k, algorithm="brute").fit(pixels, labels) for k in NEIGHBOURS)
    return [knn.predict(queries) for knn in fitted]


def _svm(pixels, labels, queries):
    from deepfake_lit.baselines.standardise import Standardise
    from deepfake_lit.baselines.svm import SVM

    scale = Standardise().fit(pixels)
    return SVM(gamma="auto").fit(scale.transform(pixels), labels).predict(scale.transform(queries))


def _sklearn_svm(pixels, labels, queries):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    return make_pipeline(StandardScaler(), SVC(gamma="auto")).fit(pixels, labels).predict(queries)


def _scaled(pixels: np.ndarray) -> np.ndarray:
    return pixels / 255


def _standardised(pixels: np.ndarray) -> np.ndarray:
    from deepfake_lit.baselines.standardise import Standardise

    return Standardise().fit(pixels).transform(pixels)


def _as_they_are(pixels: np.ndarray) -> np.ndarray:
    return pixels


@dataclass(frozen=True)
class Bench:
    """The two sides of a comparison. Their preparations, from uint8 pixels (N, D), are not timed."""

    ours: Callable
    reference: Callable
    prepare: Callable
    reference_prepare: Callable


BENCHES = {
    # One search for all five k, against KNeighborsClassifier fitted for each; on pixels, and on standardised float32.
    "knn": Bench(_knn, _sklearn_knn, _as_they_are, _scaled),
    "knn_standardised": Bench(_knn, _sklearn_knn, _standardised, _standardised),
    # Both sides standardise, fit and predict.
    "svm": Bench(_svm, _sklearn_svm, _as_they_are, _scaled),
}


def compare(name: str, cfg: BenchConfig) -> Iterator[Comparison]:
    """Compare both sides on each number of images, in turn and each in its own process, so that neither reuses the
    other's memory."""
    available = len(images(cfg).splits["train"])
    for size in sorted({min(size, available) for size in cfg.sizes}):
        yield _compare(name, size, cfg)


def _compare(name: str, size: int, cfg: BenchConfig) -> Comparison:
    measured: dict[str, list[tuple[float, float]]] = {"ours": [], "reference": []}
    answers = {}
    for _ in range(cfg.repetitions):
        for side, runs in measured.items():
            if runs and runs[-1][0] > cfg.patience:
                continue
            seconds, gib, answers[side] = in_a_process(cfg, _measure, name, side, size, cfg)
            runs.append((seconds, gib))
    ours, reference = (statistics.median(s for s, _ in measured[side]) for side in ("ours", "reference"))
    memory = (max(gib for _, gib in measured[side]) for side in ("ours", "reference"))
    same = bool(np.array_equal(answers["ours"], answers["reference"]))
    case = f"{size:,} images"
    return Comparison(name, case, ours, reference, reference / ours, same, len(measured["ours"]), "", *memory)


def _measure(name: str, side: str, size: int, cfg: BenchConfig) -> tuple[float, float, Any]:
    """Return (seconds, GiB of peak memory above that before the start, answer) of one side."""
    system.keep_freed_memory()
    bench = BENCHES[name]
    ours = side == "ours"
    splits = images(cfg).splits
    train, validation = splits["train"], splits["validation"]
    chosen = np.linspace(0, len(train) - 1, size).astype(np.int64)  # spread: files may be sorted by class
    both = np.concatenate([train.gather(chosen)[0], validation.gather(slice(None))[0]])
    both = (bench.prepare if ours else bench.reference_prepare)(both.reshape(len(both), -1))
    X, queries, labels = both[:size], both[size:], train.labels[chosen]
    run = bench.ours if ours else bench.reference
    few = slice(None, None, max(1, size // WARM_UP))
    run(X[few], labels[few], queries[:2])  # warm-up: imports, threads
    system.return_freed_memory()  # else memory that the preparation freed is used again and not counted
    memory = resident("VmRSS")
    with contextlib.suppress(OSError):  # resets the peak; where that fails it includes what came before
        Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    answer = run(X, labels, queries)
    seconds = time.perf_counter() - start
    return seconds, (resident("VmHWM") - memory) / 2**30, np.asarray(answer)
