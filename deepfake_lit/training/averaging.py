"""Averages of a run's weights, for validation and checkpoints; `last.ckpt` stores the trained weights as well."""

import math

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, update_bn

from deepfake_lit.core.randomness import seed_torch
from deepfake_lit.settings.schema import TrainerConfig
from deepfake_lit.training import lightning


def build_average(cfg: TrainerConfig, seed: int) -> "Average | None":
    """Return the average that `cfg` asks for, or None."""
    if cfg.ema:
        return MovingAverage(cfg.ema)
    return None if cfg.swa is None else StochasticWeightAverage(cfg.swa, cfg.max_epochs, seed)


class Average(WeightAveraging):
    """An average of weights and batch-norm statistics, on the training device."""

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        lightning.keep_on_device(self, trainer)
        super().setup(trainer, module, stage)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Do nothing: Lightning would overwrite the trained weights, which a resumed run needs."""


class MovingAverage(Average):
    """An exponential moving average, updated after every optimizer step.

    After k updates the decay is at most (1 + k) / (10 + k), as in TensorFlow's ExponentialMovingAverage.

    Args:
        decay: the share of the old average that an update keeps, in (0, 1).
    """

    def __init__(self, decay: float):
        super().__init__()
        self.decay = decay

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, module, stage)
        lightning.update_by(self, self._update)

    @torch.no_grad()
    def _update(self, average: AveragedModel, module: pl.LightningModule) -> None:
        """Update the average in a few operations on all tensors, without a question to the device."""
        averages, currents = ([*each.parameters(), *each.buffers()] for each in (average.module, module))
        updates = average.n_averaged.clone()
        average.n_averaged += 1
        if updates == 0:
            torch._foreach_copy_(averages, currents)
            return
        decay = ((1 + updates) / (10 + updates)).clamp(max=self.decay).item()
        pairs = list(zip(averages, currents, strict=True))
        means, values = map(list, zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True))
        torch._foreach_sub_(means, values)
        torch._foreach_mul_(means, decay)
        torch._foreach_add_(means, values)
        if counts := [pair for pair in pairs if not pair[0].is_floating_point()]:  # of batches, in batch norm
            old, new = (torch.stack(each) for each in zip(*counts, strict=True))
            rounded = (new + decay * (old - new)).to(old.dtype)
            torch._foreach_copy_([count for count, _ in counts], list(rounded.unbind()))


class StochasticWeightAverage(Average):
    """The mean of the weights at the ends of the last epochs (Izmailov et al. 2018, arXiv 1803.05407).

    Until the first of these epochs ends, the average is the trained weights. Batch-norm statistics fit one set of
    weights, so those of a mean over several epochs are measured before each validation, on augmented training batches.

    Args:
        start: share of the epochs before the averaged ones, in [0, 1).
    """

    BATCHES = 100  # maximum number of batches for the batch-norm statistics

    def __init__(self, start: float, epochs: int, seed: int):
        self.first = min(math.floor(start * epochs), epochs - 1)
        self.seed = seed
        super().__init__(avg_fn=self.updated)

    def updated(self, average: Tensor, current: Tensor, updates: Tensor) -> Tensor:
        averaged = (updates - self.first + 1).clamp(min=1)  # including this epoch; updates counts those before
        return average + (current - average) / averaged.to(average.device)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs, batch, batch_idx) -> None:
        if trainer.is_last_batch:  # an update in on_train_epoch_end would come after validation
            super().on_train_batch_end(trainer, module, outputs, batch, batch_idx)

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        super().on_validation_epoch_start(trainer, module)
        epoch = trainer.current_epoch
        if epoch > self.first:
            batches = trainer.datamodule.training_images(epoch, self.BATCHES, module.device)
            seed_torch(module.device, self.seed, epoch, "batch_norm")  # for dropout
            with trainer.precision_plugin.forward_context():
                update_bn(batches, module.net)
