"""Training steps of a compiled network: CUDA graphs in place of one start per operation."""

import time
import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from deepfake_lit.core.console import note, warn
from deepfake_lit.settings.schema import Config

# On an H100 compiling took 13 to 17 s, and saved 2.6 to 3.0 ms a step: 6,500 steps at most. Half as many more, so that
# it is a gain and not a draw.
PAYS_FROM = 10_000
# What mode="reduce-overhead" stands for, with torch's own random numbers, so that dropout is that of the plain network.
HOW = {"options": {"triton.cudagraphs": True, "fallback_random": True}}
TRIALS = 3  # the first compiles, the second records the graphs, the third runs them


class Compiled(Callback):
    """A callback that compiles the network for training steps on whole batches, where `trainer.compile` says so.

    `auto` does so on one CUDA GPU if enough steps are left, and not if the run is deterministic: then the same command
    must give the same bits from whatever step it goes on.

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
            self._compile(trainer, module, batch.images)
        if module.compiled:
            module.zero_grad()  # the last step's gradients lie in memory that the next graph writes to
            torch.compiler.cudagraph_mark_step_begin()

    def _compile(self, trainer: pl.Trainer, module: pl.LightningModule, images: Tensor) -> None:
        start = time.monotonic()
        compiled = torch.compile(module.net.forward, dynamic=False, **HOW)
        statistics = [(buffer, buffer.clone()) for buffer in module.net.buffers()]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for _ in range(TRIALS):
                    torch.compiler.cudagraph_mark_step_begin()
                    with trainer.precision_plugin.train_step_context():
                        logits = compiled(images)
                    logits.float().sum().backward()
                    module.zero_grad()
            module.compiled = compiled
            note(f"the network is compiled ({time.monotonic() - start:.0f} s)")
        except Exception as error:  # of the compiler, of the compilers that it calls, or of the device
            reason = " ".join((str(error).strip() or type(error).__name__).splitlines()[0].split())[:150]
            warn(f"trainer.compile: the network cannot be compiled here ({reason}); training goes on without")
        finally:
            module.zero_grad()
            for buffer, before in statistics:
                buffer.copy_(before)
