"""Checkpoint writing of a run, and its stop: early, or by a signal."""

import contextlib
import math
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from deepfake_lit.core.console import note
from deepfake_lit.core.errors import UNFINISHED
from deepfake_lit.core.metrics import better
from deepfake_lit.core.processes import any_process
from deepfake_lit.core.system import STOP_SIGNALS
from deepfake_lit.prediction.checkpoint import BEST, LAST
from deepfake_lit.training import lightning
from deepfake_lit.training.averaging import Average

EPOCH = "epoch-{:03d}.ckpt"


class CheckpointWriter(Checkpoint):
    """A callback that writes the checkpoints of a run and stops training early.

    It writes `last.ckpt` at the end of epochs and at intervals within them, and keeps the one before it as
    `previous.ckpt`. `best.ckpt` holds the weights of the first epoch with the best value of the monitored metric.

    The checkpoints of an epoch are written after the epoch is over: when the next epoch starts or training ends.
    Lightning's ModelCheckpoint writes during the end of an epoch. A run that resumes from such a checkpoint ends the
    same epoch again: it logs the metrics twice and loses the step of a plateau scheduler.

    Training stops after `patience` epochs without a better value. This follows from the best epoch and needs no state.

    If writing is slow, `last.ckpt` is skipped within epochs and after epochs that are neither better nor kept, so that
    it takes no more than `SHARE` of the time. A run that resumes from an older `last.ckpt` repeats the steps since.

    Args:
        minutes: time between two writes of `last.ckpt` within an epoch.
        average: its weights go into `best.ckpt` and `epoch-NNN.ckpt`; None: the trained weights do.
        keep: number of best epochs whose weights are kept as `epoch-NNN.ckpt`; NNN counts from 0.

    Attributes:
        seconds, written: time spent on checkpoints so far, and their number.
        began: whether a training step has started, which shows that the run could resume from its checkpoint.
    """

    SHARE = 0.02
    STATE = ("best_value", "best_epoch", "seconds", "written", "kept", "_next")

    def __init__(
        self,
        folder: Path,
        monitor: str,
        minutes: float,
        patience: int | None = None,
        average: Average | None = None,
        keep: int = 0,
    ):
        self.folder, self.monitor, self.minutes, self.patience = folder, monitor, minutes, patience
        self.average, self.keep = average, keep
        self.kept: list[tuple[float, int]] = []  # (value, epoch), best first, earlier epoch first on ties
        self.began = False
        self.best_value, self.best_epoch = math.nan, -1
        self.seconds, self.written = 0.0, 0
        self._pending = self._improved = False
        self._next = (0, 0)  # epoch and step that follow the last checkpoint
        self._finished = time.monotonic()  # when the last checkpoint was written
        self._took = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name in self.STATE:
            if name in state_dict:  # older checkpoints have no "kept"
                setattr(self, name, state_dict[name])

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._finished = time.monotonic()
        if self._next != (0, 0):
            trainer.train_dataloader.sampler.start_at(*self._next)
            lightning.fetch_again(trainer)
            self._stop_if_no_better(trainer, self._next[0] - 1)

    def on_train_batch_start(self, *arguments: Any) -> None:
        self.began = True

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs, batch, batch_idx) -> None:
        if any_process(trainer, time.monotonic() - self._finished > max(60 * self.minutes, self._took / self.SHARE)):
            self.write_within_epoch(trainer, batch_idx)

    def write_within_epoch(self, trainer: pl.Trainer, batch_idx: int) -> bool:
        """Write `last.ckpt` after this batch; return False if gradients are accumulated or the epoch ends next."""
        if lightning.is_accumulating(trainer) or batch_idx + 1 >= trainer.num_training_batches:
            return False
        self._write_last(trainer, batch_idx + 1)
        return True

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        value = trainer.callback_metrics[self.monitor].item()
        sign = -1 if better(self.monitor) == "max" else 1
        self._pending, self._improved = True, sign * value < sign * self.best_value or math.isnan(self.best_value)
        if self._improved:
            self.best_value, self.best_epoch = value, trainer.current_epoch
        ranked = sorted([*self.kept, (value, trainer.current_epoch)], key=lambda each: (sign * each[0], each[1]))
        self.kept = ranked[: self.keep]
        self._stop_if_no_better(trainer, trainer.current_epoch)
        lightning.end_like_any_epoch(trainer)

    def _stop_if_no_better(self, trainer: pl.Trainer, epoch: int) -> None:
        if self.patience is not None and epoch - self.best_epoch >= self.patience:
            trainer.should_stop = True

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        wanted = self._improved or self._keeps(trainer.current_epoch - 1)
        if wanted or any_process(trainer, time.monotonic() - self._finished > self._took / self.SHARE):
            self.write_between_epochs(trainer)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.write_between_epochs(trainer)

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._next[1] == 0:  # between epochs
            lightning.announce_no_epoch(checkpoint)

    def write_between_epochs(self, trainer: pl.Trainer) -> None:
        """Write the checkpoints of the epoch that is over, unless they are written already."""
        if not self._pending:
            return
        self._pending = False
        if self._improved:  # before last.ckpt, whose state says that best.ckpt is from this epoch
            self._timed(trainer, BEST, weights_only=True)
        self._improved = False
        epoch = trainer.fit_loop.epoch_progress.current.completed - 1
        if self._keeps(epoch):
            self._timed(trainer, EPOCH.format(epoch), weights_only=True)
        self._write_last(trainer, 0)
        if self.keep and trainer.is_global_zero:  # only now: before, a run could resume from a state that keeps them
            for path in set(self.folder.glob("epoch-*.ckpt")) - {self.folder / EPOCH.format(e) for _, e in self.kept}:
                path.unlink()

    def _keeps(self, epoch: int) -> bool:
        return any(epoch == kept for _, kept in self.kept)

    def _write_last(self, trainer: pl.Trainer, next_step: int) -> None:
        self._next = (trainer.current_epoch, next_step)
        before = self.seconds
        self._timed(trainer, LAST, weights_only=False)
        self._finished, self._took = time.monotonic(), self.seconds - before

    def _timed(self, trainer: pl.Trainer, name: str, weights_only: bool) -> None:
        start = time.monotonic()
        self.written += 1
        # Lightning calls no callback when it saves only weights, so the average must be swapped in.
        swapped = self.average is not None and weights_only
        with lightning.averaged(self.average, trainer.lightning_module) if swapped else contextlib.nullcontext():
            trainer.save_checkpoint(self.folder / name, weights_only)
        self.seconds += time.monotonic() - start


class Paused(SystemExit):
    """The end of a training at the epoch that `run` was asked to stop at. As an exit, it is no failure."""


class Pause(Checkpoint):
    """A callback that writes a checkpoint and raises `Paused` when so many epochs are over and more are planned.

    The plan stays that of the whole training, so the run goes on as if it had never stopped.
    """

    def __init__(self, writer: CheckpointWriter, epochs: int):
        self.writer, self.epochs = writer, epochs

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.current_epoch >= self.epochs:
            self.writer.write_between_epochs(trainer)
            raise Paused(UNFINISHED)


class Interrupts(Checkpoint):
    """A callback that writes a checkpoint of the current step and ends the run when a signal arrives.

    The signals are SIGTERM, SIGUSR1 (by which SLURM announces preemption) and Ctrl-C; a second Ctrl-C does not wait.
    As a checkpoint callback, it runs after the others, on whole steps. Lightning restores the handlers after the fit.
    """

    def __init__(self, writer: CheckpointWriter):
        self.writer = writer
        self.received = False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.received = lightning.take_over_sigterm(trainer)  # before this callback took over
        if threading.current_thread() is threading.main_thread():  # other threads cannot set handlers
            for number in STOP_SIGNALS:
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: Any) -> None:
        self.received = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs, batch, batch_idx) -> None:
        if any_process(trainer, self.received) and self.writer.write_within_epoch(trainer, batch_idx):
            self._end()

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if any_process(trainer, self.received):
            self.writer.write_between_epochs(trainer)
            self._end()

    on_train_end = on_train_epoch_start  # the writer, which is called first, has then written already

    def _end(self) -> None:
        note("stopped after a whole step; the same command goes on from there")
        raise SystemExit(UNFINISHED)
