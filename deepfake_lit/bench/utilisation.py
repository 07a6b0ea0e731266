"""The share of the machine's speed that a training step reaches: of matrix products, or of memory."""

import statistics
import time
from collections.abc import Iterator

import torch

from deepfake_lit.bench.timing import BenchConfig, Comparison, images, in_a_process
from deepfake_lit.bench.training import matmul_peak
from deepfake_lit.core import hardware, system
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.steps import TrainingSteps

COMPUTE = {"residual_cnn": (64, 256), "vgg16": (32, 256)}  # batch size on a CPU, on a GPU
MEGABYTES = 51  # moved per image by a training step of DeepFakeNet at 128x128 in bf16, which memory limits
COPIED = 2**28  # bytes


def utilisation(cfg: BenchConfig) -> Iterator[Comparison]:
    """Compare steps with the time of the same work at the peak speed measured just before: the ratio is the share."""
    for experiment in COMPUTE:
        yield in_a_process(cfg, _compute, experiment, cfg)
    yield in_a_process(cfg, _memory, cfg)


def _compute(experiment: str, cfg: BenchConfig) -> Comparison:
    training, machine, size = _training(cfg, experiment)
    peak = matmul_peak(machine)
    seconds = _seconds(training, cfg)
    note = f"{training.flops / seconds / 1e9:,.0f} GFLOP/s of {peak / 1e9:,.0f}, {size / seconds:.0f} images/s"
    ideal = training.flops / peak
    case = f"{experiment}, batches of {size}: FLOP/s of a matrix product's"
    return Comparison("utilisation", case, seconds, ideal, ideal / seconds, True, cfg.repetitions, note)


def _memory(cfg: BenchConfig) -> Comparison:
    training, machine, size = _training(cfg, "deepfake_net")
    bandwidth = copy_bandwidth(machine.device)
    seconds = _seconds(training, cfg)
    ideal = size * MEGABYTES * 1e6 / bandwidth
    note = f"{size / seconds:.0f} images/s x {MEGABYTES} MB of {bandwidth / 1e9:,.0f} GB/s"
    case = f"deepfake_net, batches of {size}: bytes/s of a copy's"
    return Comparison("utilisation", case, seconds, ideal, ideal / seconds, True, cfg.repetitions, note)


def _training(cfg: BenchConfig, experiment: str) -> tuple[TrainingSteps, hardware.Hardware, int]:
    system.keep_freed_memory()
    settings = [f"experiment={experiment}", f"data.root={cfg.data.root}"]
    machine = hardware.resolve(compose(settings).trainer.accelerator)
    if experiment in COMPUTE:
        settings.append(f"data.batch_size={COMPUTE[experiment][machine.device == 'cuda']}")
    run = compose(settings)
    return TrainingSteps(run, images(cfg), machine), machine, run.data.batch_size


def _seconds(training: TrainingSteps, cfg: BenchConfig) -> float:
    """Return the median seconds of a step, including the wait for the device."""
    times = []
    for _ in range(max(cfg.repetitions, 3) + 1):
        start = time.perf_counter()
        training.step(training.batches[0])
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def copy_bandwidth(device: str) -> float:
    """Measure how many bytes per second a large copy reads and writes."""
    source = torch.ones(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        target.copy_(source)
        target[0].item()  # waits for the device
        seconds.append(time.perf_counter() - start)
    return 2 * COPIED / min(seconds)
