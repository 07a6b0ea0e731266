"""Handling of the signals that stop a run."""

import signal
import threading
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from deepfake_lit.core.console import note
from deepfake_lit.core.errors import UNFINISHED
from deepfake_lit.core.processes import any_process
from deepfake_lit.core.system import STOP_SIGNALS
from deepfake_lit.training import lightning
from deepfake_lit.training.checkpointing import CheckpointWriter


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

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if any_process(trainer, self.received):
            self._end()

    def _end(self) -> None:
        note("stopped after a whole step; the same command goes on from there")
        raise SystemExit(UNFINISHED)
