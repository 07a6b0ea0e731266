"""Lightning callbacks that derive the random numbers of a run and record its history."""

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, Checkpoint

from deepfake_lit.core.console import duration, note
from deepfake_lit.core.files import atomic
from deepfake_lit.core.randomness import seed_torch

SILENCE = 60  # seconds without a line in a log


class DerivedRandomness(Callback):
    """A callback that seeds torch before each step from (seed, epoch, step), so dropout ignores what ran before."""

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        seed_torch(module.device, self.seed, trainer.current_epoch, batch_idx, trainer.global_rank, "step")


class History(Checkpoint):
    """A callback that records one row per epoch in the checkpoint, in `history.csv` and on the console.

    As a checkpoint callback, it runs after the epoch's training and validation metrics are logged. It runs before the
    checkpoint writer, so a checkpoint holds the rows up to its own epoch.
    """

    def __init__(self, path: Path):
        self.path = path
        self._said = time.monotonic()
        self.rows: list[dict[str, float]] = []
        self._started = self._trained = self._elapsed = 0.0
        self._images = 0

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": time.monotonic() - self._started, "images": self._images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self._images = state_dict["rows"], state_dict["images"]
        self._elapsed = state_dict["seconds"]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clock: a run that resumes within an epoch gets no `on_train_epoch_start`."""
        self._started = self._trained = time.monotonic() - self._elapsed

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._started = self._trained = time.monotonic()
        self._images = 0

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs, batch, batch_idx) -> None:
        self._images += len(batch.labels)
        self._trained = time.monotonic()
        if self._trained - self._said > SILENCE and trainer.is_global_zero and trainer.progress_bar_callback is None:
            self._print_share((batch_idx + 1) / trainer.num_training_batches, trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        groups = trainer.optimizers[0].param_groups
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "lr": groups[0]["lr"] if groups else 0.0,  # an ensemble that only votes has no groups
            "seconds": time.monotonic() - self._started,
            "images_per_second": self._images * trainer.world_size / max(self._trained - self._started, 1e-9),
        }
        # Lightning stores float32: this writes 0.9 instead of 0.8999999761581421
        row |= {name: float(str(np.float32(value.item()))) for name, value in trainer.callback_metrics.items()}
        self.rows = [*self.rows, row]
        if trainer.is_global_zero:
            self.write()
            self._print(trainer.max_epochs)

    def write(self) -> None:
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with atomic(self.path) as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)

    def _print_share(self, done: float, trainer: pl.Trainer) -> None:
        """Print how much of the epoch is done, as a sign of life where there is no progress bar."""
        self._said = time.monotonic()
        seconds = self._trained - self._started
        left = seconds / done * (trainer.max_epochs - trainer.current_epoch - done)
        speed = self._images * trainer.world_size / max(seconds, 1e-9)
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        note(f"{epoch}  {done:.0%} of it  {speed:.0f} images/s  {duration(left)} left")

    def _print(self, epochs: int) -> None:
        self._said = time.monotonic()
        row = self.rows[-1]
        left = (epochs - row["epoch"] - 1) * row["seconds"]
        metrics = [name for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy") if name in row]
        parts = [f"epoch {row['epoch'] + 1}/{epochs}", *(f"{name} {row[name]:.4f}" for name in metrics)]
        parts += [f"{row['images_per_second']:.0f} images/s", f"{row['seconds']:.0f} s, {duration(left)} left"]
        note("  ".join(parts))
