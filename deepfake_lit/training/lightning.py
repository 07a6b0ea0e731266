"""Everything that a run takes of Lightning beyond its public interface, so that a new release is held against one file.

pyproject.toml bounds Lightning to the releases that have it.
"""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging


def fetch_again(trainer: pl.Trainer) -> None:
    """Start on the images anew: Lightning has started on those of epoch 0 before it read the checkpoint."""
    iter(trainer.fit_loop._data_fetcher)


def is_accumulating(trainer: pl.Trainer) -> bool:
    """Return whether gradients are kept for a later optimizer step."""
    return trainer.fit_loop._should_accumulate()


def end_like_any_epoch(trainer: pl.Trainer) -> None:
    """Let a plateau scheduler step at the end of an epoch that a run went on within, which Lightning leaves out."""
    trainer.fit_loop._restarting = False


def take_over_sigterm(trainer: pl.Trainer) -> bool:
    """Return whether SIGTERM was received, and let Lightning forget it."""
    received = trainer.received_sigterm
    trainer._signal_connector.received_sigterm = False
    return received


def swap_weights(average: WeightAveraging, module: pl.LightningModule) -> None:
    """Exchange the weights of the module and of their average."""
    average._swap_models(module)


def keep_on_device(average: WeightAveraging, trainer: pl.Trainer) -> None:
    """Make the average where the module is moved to later, in place of where it is now."""
    average._device = trainer.strategy.root_device


def announce_no_epoch(checkpoint: dict[str, Any]) -> None:
    """Take back that the next epoch was announced, so that Lightning begins it like any other."""
    for counts in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
        counts["ready"] = counts["completed"]


def progress_of(checkpoint: dict[str, Any]) -> list[Any]:
    """Return the numbers of completed epochs and batches that a checkpoint states.

    Raises:
        KeyError, TypeError: it does not.
    """
    loop = checkpoint["loops"]["fit_loop"]
    return [loop[name]["current"]["completed"] for name in ("epoch_progress", "epoch_loop.batch_progress")]
