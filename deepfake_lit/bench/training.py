"""Training steps and what Lightning adds to them, each against the plain way."""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from rich.console import Console
from torch import Tensor, nn

from deepfake_lit.bench.timing import BenchConfig, Comparison, compared, images, in_a_process
from deepfake_lit.core import console, hardware, system
from deepfake_lit.data.datamodule import ImageDataModule
from deepfake_lit.prediction.checkpoint import describe
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.callbacks import History
from deepfake_lit.training.checkpointing import CheckpointWriter, Interrupts
from deepfake_lit.training.classifier import Classifier
from deepfake_lit.training.losses import soft_cross_entropy
from deepfake_lit.training.optimizers import build_optimizer
from deepfake_lit.training.steps import LEARNING, TrainingSteps
from deepfake_lit.training.trainer import build_trainer, quiet_lightning

STEPS = {"residual_cnn": 1, "deepfake_net": 4}  # per repetition
TRIVIAL_STEPS = 1500
FED_GOAL = 1.05  # most times that a step on batches as they come may take of one on a batch that is there


def step(cfg: BenchConfig) -> Iterator[Comparison]:
    """Compare steps as `_step` does, each experiment in a process of its own."""
    for experiment in STEPS:
        yield in_a_process(cfg, _step, experiment, cfg)


def fed(cfg: BenchConfig) -> Iterator[Comparison]:
    """Compare steps as `_fed` does, in a process of its own."""
    yield in_a_process(cfg, _fed, cfg)


def overhead(cfg: BenchConfig) -> Iterator[Comparison]:
    """Compare steps as `_overhead` does, in a process of its own."""
    yield in_a_process(cfg, _overhead, cfg)


def _step(experiment: str, cfg: BenchConfig) -> Comparison:
    """Compare forward, backward and optimizer step in this machine's precision and memory format with fp32 and
    contiguous tensors, on real batches, with the experiment's own settings and full width."""
    system.keep_freed_memory()
    run = compose([f"experiment={experiment}", f"data.root={cfg.data.root}"])
    data = images(cfg)
    machine = hardware.resolve(run.trainer.accelerator, run.trainer.precision, run.trainer.channels_last)
    plain = hardware.Hardware(machine.device, machine.name, machine.cores, "fp32", False)
    sides = [TrainingSteps(run, data, used) for used in (machine, plain)]
    repeated = STEPS[experiment]

    def loss(side: TrainingSteps, steps: int) -> float:
        return statistics.fmean(side.step(side.batches[i % LEARNING]) for i in range(steps))

    losses = [loss(side, LEARNING) for side in sides]
    alike = abs(losses[0] - losses[1]) < 0.05 * losses[1]
    size = run.data.batch_size * repeated
    return compared(
        "step",
        f"{experiment}, {machine.precision}",
        lambda: loss(sides[0], repeated),
        lambda: loss(sides[1], repeated),
        lambda a, b: alike,
        cfg,
        lambda a, b: (
            f"{size / a:.0f} images/s against {size / b:.0f}, {sides[0].flops * repeated / a / 1e9:.0f} GFLOP/s of "
            f"{matmul_peak(machine) / 1e9:.0f}; mean loss of {LEARNING} steps {losses[0]:.3f} and {losses[1]:.3f}"
        ),
    )


def _fed(cfg: BenchConfig) -> Comparison:
    """Compare steps of DeepFakeNet on augmented batches from the loader with steps on one batch again and again."""
    system.keep_freed_memory()
    run = compose(["experiment=deepfake_net", f"data.root={cfg.data.root}"])
    run.data.portion = cfg.data.portion
    data = images(cfg)
    machine = hardware.resolve(run.trainer.accelerator, run.trainer.precision, run.trainer.channels_last)
    training = TrainingSteps(run, data, machine)
    module = ImageDataModule(data, run.data, run.augment, run.seed, machine.channels_last, machine.device)
    loader = module.train_dataloader()
    portion = loader.sampler.portion
    repeated = -(-STEPS["deepfake_net"] // portion) * portion
    batches = chain.from_iterable(repeat(loader))

    def real() -> int:
        return sum(training.step(batch) > 0 for batch in islice(batches, repeated))

    def fixed() -> int:
        return sum(training.step(training.batches[0]) > 0 for _ in range(repeated))

    def excess(ours: float, reference: float) -> str:
        share = ours / reference
        return f"{share:.3f} times the steps on one batch (goal {FED_GOAL}); batches augmented in one call: {portion}"

    return compared("fed", "DeepFakeNet, batches of 32", real, fixed, lambda a, b: a == b, cfg, excess)


def matmul_peak(machine: hardware.Hardware) -> float:
    """Measure the FLOP/s of a large matrix product in the machine's precision."""
    side = 8192 if machine.device == "cuda" else 2048
    a, b = (torch.randn(side, side, device=machine.device, dtype=machine.dtype) for _ in range(2))
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        (a @ b)[0, 0].item()
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds)


class StepTimes(pl.Callback):
    """A callback that records when each training step began."""

    def __init__(self):
        self.times: list[float] = []

    def on_train_batch_start(self, *_) -> None:
        self.times.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Return the median seconds per step."""
        return float(np.median(np.diff(self.times)))


def _overhead(cfg: BenchConfig) -> Comparison:
    """Compare a step of a trivial network in this project's trainer, with metrics, logger, checkpoints and progress
    bar, with a bare loop over the same batches."""
    system.keep_freed_memory()
    silent = open(os.devnull, "w")  # noqa: SIM115 (open as long as the process lives)
    console.err = Console(force_terminal=True, file=silent)  # the progress bar is drawn, so timed, but not seen
    overrides = [f"data.root={cfg.data.root}", "data.batch_size=4", "trainer.max_epochs=1", "trainer.precision=fp32"]
    run = compose([*overrides, f"trainer.limit_train_batches={TRIVIAL_STEPS}", "trainer.accelerator=cpu"])
    data = images(cfg)
    machine = hardware.resolve(run.trainer.accelerator, run.trainer.precision, run.trainer.channels_last)

    def classifier() -> Classifier:
        torch.manual_seed(0)
        net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, len(data.class_names)))
        return Classifier(net, run, data.class_names)

    def trained() -> tuple[float, Tensor]:
        module, clock = classifier(), StepTimes()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            writer = CheckpointWriter(path, run.monitor, run.trainer.checkpoint_minutes)
            callbacks = [clock, History(path / "history.csv"), writer, Interrupts(writer)]
            with contextlib.redirect_stderr(silent), contextlib.redirect_stdout(silent), quiet_lightning():
                trainer = build_trainer(run, machine, path, callbacks, describe(run, data), 0)
                trainer.fit(module, ImageDataModule(data, run.data, run.augment, 0))
        return clock.seconds, module.net[2].weight.detach()

    def bare() -> tuple[float, Tensor]:
        module, clock = classifier(), StepTimes()
        datamodule = ImageDataModule(data, run.data, run.augment, 0)
        optimizer = build_optimizer(run.optimizer, module.net)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, run.optimizer.lr, total_steps=TRIVIAL_STEPS, pct_start=run.scheduler.warmup
        )
        for batch in islice(datamodule.train_dataloader(), TRIVIAL_STEPS):
            clock.on_train_batch_start()
            loss = soft_cross_entropy(module.net(batch.images), batch.targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        return clock.seconds, module.net[2].weight.detach()

    ours, reference = [], []
    for _ in range(cfg.repetitions + 1):  # the first warms up
        for side, times in ((trained, ours), (bare, reference)):
            seconds, weights = side()
            times.append(seconds)
            if side is trained:
                expected = weights
    same = torch.allclose(weights, expected, atol=1e-6)
    a, b = statistics.median(ours[1:]), statistics.median(reference[1:])
    note = f"{1e3 * (a - b):.2f} ms a step more than {1e3 * b:.2f}"
    return Comparison(
        "overhead",
        f"{min(TRIVIAL_STEPS, len(data.splits['train']) // 4):,} steps",
        a,
        b,
        b / a,
        same,
        cfg.repetitions,
        note,
    )
