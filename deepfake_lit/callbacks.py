"""Lightning callbacks: derived randomness, the history of a run, and its checkpoints."""

import csv
import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint

from deepfake_lit.checkpoint import ENTRY
from deepfake_lit.config import metric_mode
from deepfake_lit.console import note
from deepfake_lit.files import atomic
from deepfake_lit.randomness import derive


class DerivedRandomness(Callback):
    """Seeds torch before every step from (seed, epoch, step), so dropout does not depend on what ran before."""

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        rank = trainer.global_rank
        torch.manual_seed(derive(self.seed, trainer.current_epoch, batch_idx, rank, "step") >> 1)


class CheckpointDescription(Callback):
    """Adds the `deepfake_lit` entry, which makes a checkpoint enough to predict with."""

    def __init__(self, description: dict[str, Any]):
        self.description = description

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[ENTRY] = self.description


class History(Checkpoint):
    """One row an epoch, kept in the checkpoint, written to `history.csv` and printed.

    Being a checkpoint callback it runs when the epoch's training and validation metrics are both logged, and ahead of
    the writer of checkpoints, so that a checkpoint holds the rows up to its own epoch.
    """

    def __init__(self, path: Path):
        self.path = path
        self.rows: list[dict[str, float]] = []
        self._started = self._trained = 0.0
        self._images = 0

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._started = self._trained = time.monotonic()
        self._images = 0

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs, batch, batch_idx) -> None:
        self._images += len(batch.labels)
        self._trained = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "seconds": time.monotonic() - self._started,
            "images_per_second": self._images * trainer.world_size / max(self._trained - self._started, 1e-9),
        }
        row |= {name: value.item() for name, value in trainer.callback_metrics.items()}
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

    def _print(self, epochs: int) -> None:
        row = self.rows[-1]
        left = (epochs - row["epoch"] - 1) * row["seconds"]
        parts = [f"epoch {row['epoch'] + 1}/{epochs}"]
        for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
            if name in row:
                parts.append(f"{name} {row[name]:.4f}")
        parts.append(f"{row['images_per_second']:.0f} images/s")
        parts.append(f"{row['seconds']:.0f} s, {_duration(left)} left")
        note("  ".join(parts))


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


class CheckpointWriter(Checkpoint):
    """`last.ckpt` after every epoch, and `best.ckpt`, the first epoch with the best value of the monitored metric.

    They are written when an epoch is wholly over: as the next one starts, or training ends. Lightning's
    ModelCheckpoint writes inside an epoch's end, and a run that goes on from there ends the same epoch once more, with
    its metrics logged twice and the step of a plateau scheduler lost.
    """

    def __init__(self, folder: Path, monitor: str):
        self.folder, self.monitor = folder, monitor
        self.best_value, self.best_epoch = math.nan, -1
        self._pending = self._improved = False

    def state_dict(self) -> dict[str, Any]:
        return {"best_value": self.best_value, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_value, self.best_epoch = state_dict["best_value"], state_dict["best_epoch"]

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        value = trainer.callback_metrics[self.monitor].item()
        better = value > self.best_value if metric_mode(self.monitor) == "max" else value < self.best_value
        self._pending, self._improved = True, better or math.isnan(self.best_value)
        if self._improved:
            self.best_value, self.best_epoch = value, trainer.current_epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._write(trainer)

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Takes back that the next epoch was announced, so that Lightning begins it like any other."""
        for counts in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
            counts["ready"] = counts["completed"]

    def _write(self, trainer: pl.Trainer) -> None:
        if not self._pending:
            return
        self._pending = False
        if self._improved:  # before last.ckpt, which says that best.ckpt is the one of this epoch
            trainer.save_checkpoint(self.folder / "best.ckpt", weights_only=False)
        trainer.save_checkpoint(self.folder / "last.ckpt", weights_only=False)
