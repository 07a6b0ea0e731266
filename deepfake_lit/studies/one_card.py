"""Several trials of a sweep on one GPU: how many at once, and whose turn it is."""

import contextlib
import fcntl
import gc
import math
import multiprocessing
import os
import platform
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from deepfake_lit.core import hardware
from deepfake_lit.core.system import cores
from deepfake_lit.settings.identity import digest
from deepfake_lit.settings.schema import Config
from deepfake_lit.training.run import open_run_data
from deepfake_lit.training.steps import TrainingSteps

CONTEXT = 2**30  # bytes that a process takes on a GPU before its first tensor, rounded up
SHARE = 0.9  # of the free memory that is given away


def trials_at_once(cfg: Config) -> int:
    """Return how many trainings like this one the GPU has memory for and computing time to spare.

    A few steps are measured in a process of its own, so that this one takes nothing of the GPU. A network that leaves
    the card idle for half of a step is trained twice at once, and so on; there is at most one training per core.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return _at_once(*pool.submit(_measured, cfg).result(), cores())


def _at_once(free: int, needed: int, busy: float, cores: int) -> int:
    return max(1, min(int(SHARE * free / needed), math.ceil(1 / max(busy, 0.01)), cores))


def _measured(cfg: Config) -> tuple[int, int, float]:
    """Return the GPU's free bytes, those that a training takes, and the share of a step in which the GPU computes."""
    data = open_run_data(cfg)
    t = cfg.trainer
    machine = hardware.resolve(t.accelerator, t.precision, t.channels_last)
    free = torch.cuda.mem_get_info()[0] if machine.device == "cuda" else 0
    training = TrainingSteps(cfg, data, machine)

    def seconds() -> float:
        start = time.perf_counter()
        for batch in training.batches:
            training.step(batch)  # it waits for the loss
        return time.perf_counter() - start

    seconds()  # to warm up
    wall = min(seconds() for _ in range(3))
    with profile(activities=[ProfilerActivity.CUDA if machine.device == "cuda" else ProfilerActivity.CPU]) as found:
        seconds()
    kernels = (event for event in found.key_averages() if event.device_type == DeviceType.CUDA)
    busy = sum(event.self_device_time_total for event in kernels) / 1e6
    kept = sum(split.pixels.nbytes for split in data.splits.values()) if cfg.data.on_device is not False else 0
    return free, CONTEXT + kept + torch.cuda.max_memory_reserved(), busy / wall


@contextlib.contextmanager
def turn(folder: Path, alone: bool = False) -> Iterator[None]:
    """Work on this machine's GPU beside the sweep's other trials, or alone: after those that are at it now, before all
    others. The kernel owns the locks and releases them however a process dies.
    """
    _free_memory()  # what an earlier try left
    card = digest(platform.node(), os.environ.get("CUDA_VISIBLE_DEVICES", ""))[:8]
    with open(folder / f".turn-{card}", "a") as turns, open(folder / f".gate-{card}", "a") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)  # while one waits to be alone, no other passes
        fcntl.flock(turns, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            _free_memory()  # this process may rest while another needs it


def _free_memory() -> None:
    gc.collect()
    torch.cuda.empty_cache()
