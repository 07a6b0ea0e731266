"""Two ways of doing the same thing, timed in turn."""

import contextlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib

from deepfake_lit.core.system import cores
from deepfake_lit.data.images import ImageData, cache_dir, open_data
from deepfake_lit.settings.schema import DataConfig

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class BenchConfig:
    data: DataConfig = field(default_factory=DataConfig)
    sizes: list[int] = field(default_factory=lambda: [2000, 4000, 12500])  # training images of KNN and SVM
    repetitions: int = 3  # of each side in turn; one that takes longer than `patience` runs once
    patience: float = 60.0  # seconds
    threads: int | None = None  # null: one a core
    growth: list[int] = field(default_factory=lambda: [12500, 50000, 200000])  # made-up images
    growth_runs: list[int] = field(default_factory=lambda: [20, 200, 2000])
    output: str = "outputs/bench"


@dataclass
class Comparison:
    """One comparison. Seconds are medians; memory is the highest resident memory above that before the start."""

    bench: str
    case: str  # what was done, such as "12,500 images"
    seconds: float
    reference_seconds: float
    ratio: float  # the reference's seconds / ours
    same: bool  # every answer of both sides
    repetitions: int
    note: str = ""
    gib: float | None = None
    reference_gib: float | None = None


def compared(
    bench: str,
    case: str,
    ours: Callable[[], Any],
    reference: Callable[[], Any],
    same: Callable[[Any, Any], bool],
    cfg: BenchConfig,
    note: Callable[[float, float], str] = lambda ours, reference: "",
    warm_up: bool = True,
) -> Comparison:
    """Call both in turn, `cfg.repetitions` times.

    Args:
        warm_up: by one more call of both, first.
        same: whether what they returned, ours first, is the same.
        note: of the median seconds of both.
    """
    sides = {"ours": ours, "reference": reference}
    answers = {}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(cfg.repetitions + warm_up):
        for name, call in sides.items():
            start = time.perf_counter()
            answers[name] = call()
            seconds[name].append(time.perf_counter() - start)
    a, b = (statistics.median(seconds[name][warm_up:]) for name in sides)
    agreed = same(answers["ours"], answers["reference"])
    return Comparison(bench, case, a, b, b / a, agreed, cfg.repetitions, note(a, b))


def in_a_process(cfg: BenchConfig, function: Callable, *arguments: Any) -> Any:
    """Call a function in a new interpreter, so that the number of threads holds for every library in it."""
    before = {key: os.environ.get(key) for key in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(cfg.threads or cores())))
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_without_workers, function, *arguments).result()
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def _without_workers(function: Callable, *arguments: Any) -> Any:
    """Else a process that has used joblib's workers may wait for them for ever when it ends."""
    try:
        return function(*arguments)
    finally:
        stop_workers()


def stop_workers() -> None:
    if (executor := joblib.externals.loky.reusable_executor._executor) is not None:
        executor.shutdown(wait=True)


def images(cfg: BenchConfig) -> ImageData:
    return open_data(cfg.data, cache_dir(cfg.data, Path(cfg.output).parent))


def made(folder: str) -> Path:
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


def resident(which: str) -> float:
    """Bytes; NaN where the system does not tell."""
    with contextlib.suppress(OSError, StopIteration), open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024.0 for line in file if line.startswith(which))
    return float("nan")
