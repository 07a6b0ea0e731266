"""Construction of Lightning's trainer for a run."""

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from deepfake_lit.core import console
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.hardware import Hardware
from deepfake_lit.core.processes import is_main_process
from deepfake_lit.settings.schema import Config
from deepfake_lit.training.callbacks import DerivedRandomness
from deepfake_lit.training.checkpoint_io import AtomicCheckpointIO
from deepfake_lit.training.compiled import Compiled

# Of these loggers, messages below a warning only repeat what a run's own lines say.
TALKATIVE = ("utilities.rank_zero", "accelerators.cuda", "trainer.connectors.signal_connector")


def build_trainer(
    cfg: Config, machine: Hardware, folder: Path, further: list[Callback], description: dict[str, Any], first_step: int
) -> pl.Trainer:
    """Build the trainer of a run.

    Args:
        first_step: the step at which the run resumes; TensorBoard's records of this and later steps are purged.
    """
    t = cfg.trainer
    if is_main_process():
        order_events(folder / "tensorboard")
    callbacks = [Compiled(cfg), DerivedRandomness(cfg.seed), *further]
    if show_bar := t.progress_bar and console.err.is_terminal:
        callbacks.append(_Bar(refresh_rate=10))
    return pl.Trainer(
        default_root_dir=folder,
        accelerator=machine.device,  # what the result says; Lightning might choose another
        devices=1 if t.devices == "auto" else t.devices,  # the machine's number of GPUs must not change what is trained
        num_nodes=t.num_nodes,
        strategy=t.strategy,
        precision=machine.lightning_precision,
        max_epochs=t.max_epochs,
        gradient_clip_val=t.gradient_clip,
        accumulate_grad_batches=t.accumulate_grad_batches,
        limit_train_batches=t.limit_train_batches,
        limit_val_batches=t.limit_val_batches,
        deterministic=t.deterministic,
        log_every_n_steps=t.log_every_n_steps,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # Batches distributes an epoch among the processes itself
        enable_progress_bar=show_bar,
        enable_model_summary=False,
        callbacks=callbacks,
        logger=TensorBoardLogger(folder, name="", version="tensorboard", purge_step=first_step),
        plugins=[AtomicCheckpointIO(description)],
    )


@contextlib.contextmanager
def refusals(*kinds: type[Exception]) -> Iterator[None]:
    """Turn Lightning's refusal of a setting into a `UserError` of one line.

    Args:
        kinds: further exceptions that mean this.
    """
    try:
        yield
    except (MisconfigurationException, *kinds) as error:
        raise UserError(" ".join(str(error).split())) from None


@contextlib.contextmanager
def quiet_lightning():
    """Suppress Lightning's start-up lines and warnings that add nothing to the run's own lines."""
    loggers = [logging.getLogger(f"pytorch_lightning.{name}") for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have many workers")
            warnings.filterwarnings("ignore", ".*is smaller than the logging interval")
            warnings.filterwarnings("ignore", ".*LeafSpec")
            warnings.filterwarnings("ignore", ".*in eval mode at the start of training")  # an ensemble's members
            warnings.filterwarnings("ignore", ".*configure_optimizers` returned `None`")  # nothing to fit
            warnings.filterwarnings("ignore", ".*training_step` returned `None`")
            warnings.filterwarnings("ignore", ".*your dataloader is not resumable")  # CheckpointWriter does it
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Bar(TQDMProgressBar):
    """A progress bar without a version, which no run has, and whose first epoch is 1."""

    def get_metrics(self, trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(trainer, module).items() if name != "v_num"}

    def on_train_epoch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description(f"Epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")


EVENTS = "events.out.tfevents."


def order_events(folder: Path) -> None:
    """Rename TensorBoard's files if the clock has gone back.

    TensorBoard reads them in name order. Names begin with the time, so it would purge the records of the newer file."""
    written = sorted(folder.glob(f"{EVENTS}*"))
    if written and written[-1].name >= f"{EVENTS}{int(time.time()):010d}":
        for number, path in enumerate(written):
            path.rename(folder / f"{EVENTS}{number:010d}.earlier")
