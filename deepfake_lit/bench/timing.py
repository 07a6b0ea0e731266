"""Timing of two ways of doing the same thing, in turn, and what the benches share."""

import contextlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib

from deepfake_lit.core.system import cores
from deepfake_lit.data.images import ImageData, cache_dir, open_data
from deepfake_lit.settings.commands import BenchConfig

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class Comparison:
    """One row of a bench. Seconds are medians over repetitions or steps, in `growth` and `memory` of a single call.
    Memory is the peak of resident memory above that before the start, in `growth` anonymous memory at the end, in
    `memory` the peak of all processes of a command."""

    bench: str
    case: str  # what was done, such as "12,500 images"
    seconds: float
    reference_seconds: float
    ratio: float  # the reference's seconds / ours
    same: bool  # whether both sides gave the same answers; True where there is nothing to compare
    repetitions: int
    note: str = ""
    gib: float | None = None
    reference_gib: float | None = None
    machine: str = ""  # name of the GPU or processor that computed


class OutOfTime(Exception):
    """The time that a bench was given is over."""


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
    """Call both sides in turn, `cfg.repetitions` times, and compare their median seconds.

    Args:
        same: decides whether the last answers, ours first, are the same.
        note: makes the row's note of the median seconds of both, ours first.
        warm_up: call both once more at the start, untimed.
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
    """Call a function in a new interpreter, so that the number of threads holds for every library in it.

    It takes its time off `cfg.seconds`, where there is a limit.

    Raises:
        OutOfTime: no time was left for it, and the process was ended.
    """
    start = time.monotonic()
    before = {key: os.environ.get(key) for key in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(cfg.threads or cores())))
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            called = pool.submit(_without_workers, function, *arguments)
            try:
                return called.result(cfg.seconds)
            except TimeoutError:
                for process in pool._processes.values():
                    process.kill()
                raise OutOfTime from None
    finally:
        if cfg.seconds is not None:
            cfg.seconds = max(cfg.seconds - (time.monotonic() - start), 0)
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def _without_workers(function: Callable, *arguments: Any) -> Any:
    """Call a function and stop joblib's workers: a process that has used them may else wait for ever when it ends."""
    try:
        return function(*arguments)
    finally:
        stop_workers()


def stop_workers() -> None:
    """Stop joblib's worker processes, if there are any."""
    if (executor := joblib.externals.loky.reusable_executor._executor) is not None:
        executor.shutdown(wait=True)


def images(cfg: BenchConfig) -> ImageData:
    """Open the data set, with its cache beside the bench's output folder."""
    return open_data(cfg.data, cache_dir(cfg.data, Path(cfg.output).parent))


def made(folder: str) -> Path:
    """Make a folder if it is not there, and return its path."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


def resident(which: str, process: int | str = "self") -> float:
    """Return a process's memory in bytes by its name in /proc/<process>/status, as "VmRSS"; NaN without that file."""
    with contextlib.suppress(OSError, StopIteration), open(f"/proc/{process}/status") as file:
        return next(int(line.split()[1]) * 1024.0 for line in file if line.startswith(which))
    return float("nan")
