"""Training as this project does it, against Lightning, torchvision and a DataLoader used as they document it."""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassAccuracy
from torchvision.transforms import v2

from deepfake_lit.bench.timing import BenchConfig, Comparison, images, in_a_process
from deepfake_lit.bench.training import StepTimes
from deepfake_lit.core import hardware, system
from deepfake_lit.core.system import cores
from deepfake_lit.data.datamodule import ImageDataModule
from deepfake_lit.data.images import SplitImages
from deepfake_lit.data.sources import Source, open_source
from deepfake_lit.prediction.checkpoint import describe
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.build import build_classifier
from deepfake_lit.training.callbacks import History
from deepfake_lit.training.checkpointing import CheckpointWriter
from deepfake_lit.training.optimizers import build_optimizer
from deepfake_lit.training.trainer import build_trainer, quiet_lightning

STEPS = 12


def end_to_end(cfg: BenchConfig) -> Iterator[Comparison]:
    """Compare training steps of DeepFakeNet as `_end_to_end` does, in a process of its own."""
    yield in_a_process(cfg, _end_to_end, cfg)


class _Files(Dataset):
    def __init__(self, source: Source, split: SplitImages, transform):
        self.source, self.split, self.transform = source, split, transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(io.BytesIO(self.source.read(self.split.files[index]))) as image:
            return self.transform(image.convert("RGB")), int(self.split.labels[index])


class _Plain(pl.LightningModule):
    def __init__(self, net: nn.Module, optimizer_cfg, classes: int):
        super().__init__()
        self.net, self.optimizer_cfg = net, optimizer_cfg
        self.accuracy = MulticlassAccuracy(classes)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self.net(images)
        loss = F.cross_entropy(logits, labels)
        self.accuracy(logits, labels)
        self.log("loss", loss, prog_bar=True)
        self.log("accuracy", self.accuracy, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return build_optimizer(self.optimizer_cfg, self.net)


def _end_to_end(cfg: BenchConfig) -> Comparison:
    """Compare a training step of DeepFakeNet, with all that comes with it, with a plain one that reads the files."""
    system.keep_freed_memory()
    overrides = ["experiment=deepfake_net", f"data.root={cfg.data.root}", "trainer.max_epochs=1"]
    run = compose([*overrides, f"trainer.limit_train_batches={STEPS}", "trainer.limit_val_batches=1"])
    data = images(cfg)
    machine, classes = (
        hardware.resolve(run.trainer.accelerator, run.trainer.precision, run.trainer.channels_last),
        len(data.class_names),
    )
    side = run.data.image_size
    head = [v2.ToImage(), v2.Resize((side, side))]
    tail = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
    jitter = v2.ColorJitter(run.augment.brightness, run.augment.contrast, run.augment.saturation)
    augmented = v2.Compose([*head, v2.RandomHorizontalFlip(), v2.RandomRotation(run.augment.rotation), jitter, *tail])
    source, split = open_source(cfg.data.root), data.splits["train"]

    module = ImageDataModule(data, run.data, run.augment, run.seed, machine.channels_last)
    raw = next(iter(module.val_dataloader()))
    plain = _Files(source, data.splits["validation"], v2.Compose([*head, *tail]))
    expected = torch.stack([plain[i][0] for i in range(8)])
    same = torch.allclose(module.evaluation_batch(raw).images[:8], expected, atol=2.1 / 127.5)  # theirs rounds to bytes

    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as silent:
        ours, usual = StepTimes(), StepTimes()
        path = Path(folder)
        writer = CheckpointWriter(path, run.monitor, run.trainer.checkpoint_minutes)
        with contextlib.redirect_stderr(silent), contextlib.redirect_stdout(silent), quiet_lightning():
            callbacks = [ours, History(path / "history.csv"), writer]
            trainer = build_trainer(run, machine, path, callbacks, describe(run, data), 0)
            trainer.fit(build_classifier(run, data, machine), module)
            # A fork after CUDA and threads have been used can wait for ever.
            workers = {"num_workers": cores(), "multiprocessing_context": "forkserver"}
            loader = DataLoader(_Files(source, split, augmented), run.data.batch_size, True, **workers)
            contiguous = build_classifier(run, data, hardware.Hardware(machine.device, "", 0, "fp32", False)).net
            options = {"max_steps": STEPS, "accelerator": run.trainer.accelerator, "devices": 1, "callbacks": [usual]}
            quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
            pl.Trainer(**options, **quiet).fit(_Plain(contiguous, run.optimizer, classes), loader)
    a, b = ours.seconds, usual.seconds
    note = f"{run.data.batch_size / a:.0f} images/s against {run.data.batch_size / b:.0f}"
    return Comparison("end_to_end", f"DeepFakeNet, {STEPS} steps", a, b, b / a, same, 1, note)
