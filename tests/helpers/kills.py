"""Runs in this process that end as killed ones do. Kills from outside, by a signal: helpers.faults."""

import math

from deepfake_lit.training.callbacks import DerivedRandomness
from deepfake_lit.training.checkpointing import CheckpointWriter


class Killed(BaseException):
    pass


def kill_at(monkeypatch, epoch: int, batch: int, every_step: bool = True) -> None:
    """End runs after a batch, as a kill would. Checkpoints stand after every step before it, or at epoch ends."""

    def kill(self, trainer, module, outputs, data, batch_idx):
        if (trainer.current_epoch, batch_idx) == (epoch, batch):
            raise Killed

    monkeypatch.setattr(DerivedRandomness, "on_train_batch_end", kill)
    monkeypatch.setattr(CheckpointWriter, "SHARE", math.inf)
    if not every_step:
        monkeypatch.setattr(CheckpointWriter, "write_within_epoch", lambda *_: False)
