"""How a run ends when it is told to."""

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
    """Ends a run at SIGTERM, SIGUSR1 (how SLURM announces preemption) or Ctrl-C with a checkpoint of the step it is at.

    A second Ctrl-C does not wait for it. Being a checkpoint callback it runs after the others, on whole steps.
    Lightning gives the signals their handlers back when the fit is over.
    """

    def __init__(self, writer: CheckpointWriter):
        self.writer = writer
        self.received = False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.received = lightning.take_over_sigterm(trainer)  # before now
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
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
