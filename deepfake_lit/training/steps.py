"""Bare training steps for timing."""

from itertools import islice

import torch
from torch.utils.flop_counter import FlopCounterMode

from deepfake_lit.core import hardware
from deepfake_lit.data.datamodule import Batch, ImageDataModule
from deepfake_lit.data.images import ImageData
from deepfake_lit.settings.checks import check_against_data
from deepfake_lit.settings.schema import Config
from deepfake_lit.training.build import build_classifier
from deepfake_lit.training.losses import soft_cross_entropy
from deepfake_lit.training.optimizers import build_optimizer

LEARNING = 6  # number of steps over which both sides must learn alike


class TrainingSteps:
    """A bare training loop of an experiment, on batches that are loaded already."""

    def __init__(self, run: Config, data: ImageData, machine: hardware.Hardware):
        check_against_data(run, len(data.class_names), data.size)
        self.device, self.dtype = torch.device(machine.device), machine.dtype
        module = ImageDataModule(data, run.data, run.augment, run.seed, machine.channels_last, machine.device)
        self.batches = list(islice(module.train_dataloader(), LEARNING))
        self.classifier = build_classifier(run, data, machine).to(self.device).train()
        self.optimizer = build_optimizer(run.optimizer, self.classifier.net)
        with FlopCounterMode(display=False) as counter:
            self.step(self.batches[0])
        self.flops = counter.get_total_flops()

    def step(self, batch: Batch) -> float:
        """Train on one batch and return the loss before the update."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = self.classifier.net(batch.images)
        loss = soft_cross_entropy(logits, batch.targets, None, self.classifier.cfg.loss.label_smoothing)
        loss.backward()
        self.optimizer.step()
        return loss.item()
