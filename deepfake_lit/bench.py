"""Speed against the plain way of doing the same: ratios, peak memory, and proof that both give the same answer."""

import contextlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_lit import console, hardware
from deepfake_lit.data.dataset import SplitImages, cache_dir, open_data
from deepfake_lit.data.pool import cores
from deepfake_lit.errors import UserError
from deepfake_lit.files import write_json
from deepfake_lit.results import code_version, versions
from deepfake_lit.schema import DataConfig, TrainerConfig

NEIGHBOURS = (3, 5, 7, 9, 11)  # report B's
WARM_UP = 100  # images
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class BenchConfig:
    data: DataConfig = field(default_factory=DataConfig)
    sizes: list[int] = field(default_factory=lambda: [2000, 4000, 12500])  # training images
    repetitions: int = 3  # of each side in turn; one that takes longer than `patience` runs once
    patience: float = 60.0  # seconds
    threads: int | None = None  # null: one a core
    output: str = "outputs/bench"


@dataclass
class Row:
    """One comparison. Seconds are medians; memory is the highest resident memory above that before the start."""

    bench: str
    images: int
    seconds: float
    reference_seconds: float
    ratio: float
    gib: float
    reference_gib: float
    same: bool  # every answer of both sides
    repetitions: int


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
    """`prepare` and `reference_prepare` are outside of the timing."""

    ours: Callable
    reference: Callable
    prepare: Callable
    reference_prepare: Callable


BENCHES = {
    # Five k on pixels against KNeighborsClassifier five times; the same on standardised float32 pixels.
    "knn": Bench(_knn, _sklearn_knn, _as_they_are, _scaled),
    "knn_standardised": Bench(_knn, _sklearn_knn, _standardised, _standardised),
    # Standardise + SVM against StandardScaler + SVC, fit and predict.
    "svm": Bench(_svm, _sklearn_svm, _as_they_are, _scaled),
}


def bench(names: list[str], cfg: BenchConfig) -> list[Row]:
    """Run the named comparisons (none: all) and write `bench.json` to `cfg.output`, after each.

    Each side runs in a process of its own, the two in turn, so that neither finds the other's memory.

    Raises:
        UserError: an unknown name, or the data cannot be used.
    """
    for name in names:
        if name not in BENCHES:
            raise UserError(f"there is no bench {name!r}; there are {', '.join(BENCHES)}")
    available = len(_images(cfg)[0])
    rows = []
    for name in names or BENCHES:
        for size in sorted({min(size, available) for size in cfg.sizes}):
            rows.append(_compare(name, size, cfg))
            _write(Path(cfg.output) / "bench.json", rows, cfg)
    return rows


def _images(cfg: BenchConfig) -> tuple[SplitImages, SplitImages]:
    data = open_data(cfg.data, cache_dir(cfg.data, Path(cfg.output).parent))
    return data.splits["train"], data.splits["validation"]


def _compare(name: str, size: int, cfg: BenchConfig) -> Row:
    measured: dict[str, list[tuple[float, float]]] = {"ours": [], "reference": []}
    answers = {}
    for _ in range(cfg.repetitions):
        for side, runs in measured.items():
            if runs and runs[-1][0] > cfg.patience:
                continue
            with console.working(f"{name}, {size:,} images: {side}"):
                seconds, gib, answers[side] = _in_a_process(_measure, name, side, size, cfg)
            runs.append((seconds, gib))
    ours, reference = (statistics.median(s for s, _ in measured[side]) for side in ("ours", "reference"))
    memory = (max(gib for _, gib in measured[side]) for side in ("ours", "reference"))
    same = bool(np.array_equal(answers["ours"], answers["reference"]))
    return Row(name, size, ours, reference, reference / ours, *memory, same, len(measured["ours"]))


def _in_a_process(function: Callable, name: str, side: str, size: int, cfg: BenchConfig) -> tuple[float, float, Any]:
    """In a new interpreter, so that the number of threads holds for every library in it."""
    before = {key: os.environ.get(key) for key in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(cfg.threads or cores())))
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(function, name, side, size, cfg).result()
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def _measure(name: str, side: str, size: int, cfg: BenchConfig) -> tuple[float, float, Any]:
    """(seconds, GiB, answer) of one side."""
    hardware.keep_freed_memory()
    bench = BENCHES[name]
    ours = side == "ours"
    train, validation = _images(cfg)
    chosen = np.linspace(0, len(train) - 1, size).astype(np.int64)  # files may come class by class
    both = np.concatenate([train.gather(chosen)[0], validation.gather(slice(None))[0]])
    both = (bench.prepare if ours else bench.reference_prepare)(both.reshape(len(both), -1))
    X, queries, labels = both[:size], both[size:], train.labels[chosen]
    run = bench.ours if ours else bench.reference
    few = slice(None, None, max(1, size // WARM_UP))
    run(X[few], labels[few], queries[:2])  # imports, threads
    hardware.return_freed_memory()  # else what the preparation left is used again and not counted
    memory = _resident("VmRSS")
    with contextlib.suppress(OSError):  # where this cannot be done the peak includes what came before
        Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    answer = run(X, labels, queries)
    seconds = time.perf_counter() - start
    return seconds, (_resident("VmHWM") - memory) / 2**30, np.asarray(answer)


def _resident(which: str) -> float:
    """Bytes; NaN where the system does not tell."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024.0 for line in file if line.startswith(which))
    except (OSError, StopIteration):
        return float("nan")


def _write(path: Path, rows: list[Row], cfg: BenchConfig) -> None:
    machine = hardware.resolve(TrainerConfig()).to_dict() | {"threads": cfg.threads or cores()}
    tree = {"hardware": machine, "code": code_version(), "versions": versions(), "rows": [asdict(row) for row in rows]}
    write_json(path, tree)
