"""Helpers for a run on several devices, for each of which Lightning starts a process."""

import contextlib
import os

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only

from deepfake_lit.core.errors import UserError


def is_main_process() -> bool:
    """Return False in the processes that Lightning starts for the further devices of a run, else True."""
    return not rank_zero_only.rank


def any_process(trainer: pl.Trainer, condition: bool) -> bool:
    """Return whether the condition holds in any process of the run: all write checkpoints and stop together."""
    if trainer.world_size == 1:
        return condition
    return trainer.strategy.reduce_boolean_decision(condition, all=False)


@contextlib.contextmanager
def process_group_left():
    """Leave the process group of a run after the block, so that the next trial of a sweep can start its processes."""
    names = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    before = {name: os.environ.get(name) for name in names}
    grouped = _in_a_group()
    try:
        yield
    finally:
        if _in_a_group() and not grouped:
            torch.distributed.destroy_process_group()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _in_a_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def one_device(what: str) -> None:
    """Refuse several GPUs for work that trains several runs in one process: Lightning cannot start it on each of them.

    Raises:
        UserError: this process sees more than one GPU.
    """
    if torch.cuda.device_count() > 1:
        raise UserError(
            f"{what} uses one GPU: set CUDA_VISIBLE_DEVICES=0, and start it again in another terminal for each of the "
            "others; they share the runs"
        )
