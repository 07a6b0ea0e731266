"""All use of Lightning beyond its public interface, so that only this file is checked against a new release.

pyproject.toml restricts Lightning to the releases that have these internals.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch.optim.swa_utils import AveragedModel


def fetch_again(trainer: pl.Trainer) -> None:
    """Restart the data fetcher, because Lightning started it on epoch 0 before it read the checkpoint."""
    iter(trainer.fit_loop._data_fetcher)


def is_accumulating(trainer: pl.Trainer) -> bool:
    """Return whether gradients are accumulated for a later optimizer step."""
    return trainer.fit_loop._should_accumulate()


def end_like_any_epoch(trainer: pl.Trainer) -> None:
    """Let a plateau scheduler step at the end of an epoch that was resumed midway; Lightning skips this step."""
    trainer.fit_loop._restarting = False


def take_over_sigterm(trainer: pl.Trainer) -> bool:
    """Return whether SIGTERM was received, and reset this flag in Lightning."""
    received = trainer.received_sigterm
    trainer._signal_connector.received_sigterm = False
    return received


@contextlib.contextmanager
def averaged(average: WeightAveraging, module: pl.LightningModule) -> Iterator[None]:
    """Use the average as the module's weights within the block."""
    average._swap_models(module)
    try:
        yield
    finally:
        average._swap_models(module)


def keep_on_device(average: WeightAveraging, trainer: pl.Trainer) -> None:
    """Create the average on the device that the module is moved to later, not on its current device."""
    average._device = trainer.strategy.root_device


def update_by(average: WeightAveraging, update: Callable[[AveragedModel, pl.LightningModule], None]) -> None:
    """Let a function update the average, and count the updates on the host.

    torch asks the device at every step whether the update is the first, and so waits for it."""
    model = average._average_model
    model.n_averaged = torch.tensor(0)
    model.update_parameters = partial(update, model)


def announce_no_epoch(checkpoint: dict[str, Any]) -> None:
    """Undo the announcement of the next epoch in a checkpoint, so that Lightning starts it like any other."""
    for counts in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
        counts["ready"] = counts["completed"]


def progress_of(checkpoint: dict[str, Any]) -> list[Any]:
    """Return the numbers of completed epochs and batches in a checkpoint.

    Raises:
        KeyError, TypeError: the checkpoint does not hold them.
    """
    loop = checkpoint["loops"]["fit_loop"]
    return [loop[name]["current"]["completed"] for name in ("epoch_progress", "epoch_loop.batch_progress")]
