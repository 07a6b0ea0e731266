"""Training steps of a compiled network, on a GPU as one CUDA graph from the images to the gradients."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from deepfake_lit.core.console import note, warn
from deepfake_lit.data.datamodule import Batch
from deepfake_lit.settings.schema import Config
from deepfake_lit.training.graphs import WARM_UP, recorded

# On an H100 compiling took 5 to 8 s, or 25 to 33 s where nothing had been compiled before, and it saves 5 to 8 ms a
# step: it pays from 1,000 to 6,000 steps on.
PAYS_FROM = 4_000
HOW = {"options": {"fallback_random": True}}  # torch's own random numbers, so that dropout is the plain network's


class Compiled(Callback):
    """A callback that compiles the network for training steps on whole batches, where `trainer.compile` says so.

    `auto` does so on one CUDA GPU if enough steps are left, and not if the run is deterministic: then the same command
    must give the same bits from whatever step it goes on. On a GPU, forward and backward pass are then recorded as one
    CUDA graph; with float16, whose losses are scaled, each operation is started by itself.

    The compiled network is tried on the first whole batch. An error becomes a warning, and training goes on without.
    The trial leaves weights and statistics as they were, and comes before the step's random numbers are seeded. The
    plain network keeps the weights: it evaluates, is averaged and saved, and trains on an epoch's smaller last batch.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        self._waits = False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        t, left = self.cfg.trainer, int(trainer.estimated_stepping_batches) - trainer.global_step
        possible = trainer.world_size == 1 and t.accumulate_grad_batches == 1 and self.cfg.model.kind != "ensemble"
        pays = module.device.type == "cuda" and left >= PAYS_FROM and not t.deterministic
        self._waits = possible and (t.compile == "on" or (t.compile == "auto" and pays))
        if t.compile == "on" and not possible:
            warn("trainer.compile=on is for one device; training goes on without")

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if self._waits and len(batch.labels) == self.cfg.data.batch_size:
            self._waits = False
            self._compile(trainer, module, batch)

    def _compile(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch) -> None:
        start = time.monotonic()
        net = torch.compile(module.net.forward, dynamic=False, **HOW)
        statistics = [(buffer, buffer.clone()) for buffer in module.net.buffers()]

        def passes(*tensors: Tensor) -> tuple[Tensor, Tensor]:
            module.zero_grad()  # so that the graph writes gradients, and adds nothing to those of before
            with trainer.precision_plugin.train_step_context():
                loss, sums = module.loss_of(Batch(*tensors), net)
            loss.backward()
            return loss.detach(), sums

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if in_one_graph(trainer, module):
                    module.compiled_step = recorded_step(module, passes, batch)
                else:
                    for _ in range(WARM_UP):
                        passes(*batch)
                    module.compiled = net
            note(f"the network is compiled ({time.monotonic() - start:.0f} s)")
        except Exception as error:  # of the compiler, of the compilers that it calls, or of the device
            reason = " ".join((str(error).strip() or type(error).__name__).splitlines()[0].split())[:150]
            warn(f"trainer.compile: the network cannot be compiled here ({reason}); training goes on without")
        finally:
            module.zero_grad()
            for buffer, before in statistics:
                buffer.copy_(before)


def in_one_graph(trainer: pl.Trainer, module: pl.LightningModule) -> bool:
    """Return whether both passes are recorded as one CUDA graph: the loss of float16 is scaled between them."""
    return module.device.type == "cuda" and getattr(trainer.precision_plugin, "scaler", None) is None


def recorded_step(module: pl.LightningModule, passes: Callable, batch: Batch) -> Callable:
    """Record `passes`, and return a function of a batch that does them and leaves the gradients at the weights."""
    replay = recorded(passes, *batch)
    gradients = [(p, p.grad) for p in module.net.parameters() if p.grad is not None]

    def step(batch: Batch) -> tuple[Tensor, Tensor]:
        for p, gradient in gradients:  # a step without the graph had gradients of its own
            p.grad = gradient
        return replay(*batch)

    return step
