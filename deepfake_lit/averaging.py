"""Averages of a run's weights."""

import contextlib
from collections.abc import Iterator

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    """An exponential moving average of weights and batch-norm statistics, updated after every optimizer step.

    It is what validation sees and what checkpoints hold as the network's weights; `last.ckpt` holds the trained weights
    beside it. After k updates the decay is at most (1 + k) / (10 + k), as in TensorFlow's ExponentialMovingAverage.

    Args:
        decay: the average's share that a step leaves, in (0, 1).
    """

    def __init__(self, decay: float):
        super().__init__(avg_fn=_MovingAverage(decay))

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Nothing: were the average copied over the trained weights, a run that goes on would not have them."""

    @contextlib.contextmanager
    def in_place(self, module: pl.LightningModule) -> Iterator[None]:
        """The average is the module's weights meanwhile."""
        self._swap_models(module)
        try:
            yield
        finally:
            self._swap_models(module)


class _MovingAverage:
    def __init__(self, decay: float):
        self.decay = decay

    def __call__(self, average: Tensor, current: Tensor, updates: Tensor) -> Tensor:
        decay = ((1 + updates) / (10 + updates)).clamp(max=self.decay)  # a tensor: nothing waits for the device
        return current + decay.to(average.device) * (average - current)
