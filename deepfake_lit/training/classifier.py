"""The LightningModule that trains a classifier."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.metrics import LOGGED, PER_CLASS
from deepfake_lit.data.datamodule import Batch
from deepfake_lit.settings.schema import Config
from deepfake_lit.training.losses import soft_cross_entropy
from deepfake_lit.training.optimizers import build_optimizer, build_scheduler


class Classifier(pl.LightningModule):
    """A network, or an ensemble's combination of logits, with the configured loss, optimizer and scheduler.

    It logs once per epoch: train/loss (of augmented, mixed batches), train/accuracy (against the first label of mixed
    images), val/loss (without class weights or smoothing, comparable between configurations), the metrics of `LOGGED`
    and val/recall_<class>. A loss or an answer that is not finite ends the run with a `UserError`.

    Args:
        net: maps images (B, C, H, W), or the logits (B, M, K) of an ensemble's members, to logits (B, K). Weights that
            require no gradient stay fixed; if no weight requires one, nothing is trained.
        class_weights: weights of the training loss, one per class, or None.
        channels_last: whether the network's weights use the channels-last memory format.
    """

    def __init__(
        self,
        net: nn.Module,
        cfg: Config,
        class_names: list[str],
        class_weights: list[float] | None = None,
        channels_last: bool = False,
    ):
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last) if channels_last else net
        self.cfg, self.class_names = cfg, class_names
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        # Sums over the epoch so far: losses, correct images, images. They are read once per epoch.
        self.train_sums = torch.zeros(3)
        self.val_loss = MeanMetric(nan_strategy="disable")  # else NaN would be left out
        # For training steps on whole batches: the network, or all from a batch to the gradients and `loss_of` it.
        self.compiled: Callable[[Tensor], Tensor] | None = None
        self.compiled_step: Callable[[Batch], tuple[Tensor, Tensor]] | None = None
        self._has_gradients = False  # after this training step already
        self._answers: list[tuple[Tensor, Tensor]] = []  # logits and labels of this validation

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def loss_of(self, batch: Batch, net: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Return the training loss of a batch and its `sums_of`."""
        logits = net(batch.images)
        loss = soft_cross_entropy(logits, batch.targets, self.class_weights, self.cfg.loss.label_smoothing)
        return loss, sums_of(logits.detach(), loss.detach(), batch.labels)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        whole = len(batch.labels) == self.cfg.data.batch_size
        self._has_gradients = self.compiled_step is not None and whole
        if self._has_gradients:
            loss, sums = self.compiled_step(batch)
        else:
            loss, sums = self.loss_of(batch, self.compiled if self.compiled and whole else self.net)
        self.train_sums = self.train_sums.to(sums.device)
        self.train_sums += sums
        return loss if loss.requires_grad or self._has_gradients else None

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        if not self._has_gradients:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        if not self._has_gradients:
            super().backward(loss, *args, **kwargs)

    def on_train_epoch_end(self) -> None:
        loss, right, images = self._all_sums()
        self._check("training loss", loss)
        self.log_dict({"train/loss": loss / images, "train/accuracy": right / images})
        self.train_sums = torch.zeros_like(self.train_sums)

    def _all_sums(self) -> Tensor:
        return self.trainer.strategy.reduce(self.train_sums.clone(), reduce_op="sum")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["train_sums"] = self._all_sums()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.global_rank == 0:  # the first process continues with the sums of all processes
            self.train_sums = checkpoint["train_sums"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.net(batch.images).float()
        self.val_loss.update(soft_cross_entropy(logits, batch.targets), len(batch.labels))
        self._answers.append((logits, batch.labels))

    def on_validation_epoch_end(self) -> None:
        logits, labels = (torch.cat(parts) for parts in zip(*self._answers, strict=True))
        loss = self.val_loss.compute()
        self._check("answers for the validation images", logits, loss)
        probabilities, labels = torch.softmax(logits, 1).cpu().numpy(), labels.cpu().numpy()
        values = {f"val/{name}": metric.compute(probabilities, labels) for name, metric in LOGGED.items()}
        recalls = PER_CLASS["recall_of"].compute(probabilities, labels)
        values |= {f"val/recall_{name}": recall for name, recall in zip(self.class_names, recalls, strict=True)}
        self.log_dict(values | {"val/loss": loss})
        self._answers.clear()
        self.val_loss.reset()

    def _check(self, what: str, *values: Tensor) -> None:
        """Raise `UserError` if the training has diverged. To ask this of every step would make each wait for a GPU."""
        if not all(bool(value.isfinite().all()) for value in values):
            raise UserError(
                f"the training diverged in epoch {self.current_epoch + 1}: the {what} became NaN or infinite; lower "
                "optimizer.lr, set trainer.gradient_clip=1, or trainer.precision=fp32"
            )

    def configure_optimizers(self):
        if not any(p.requires_grad for p in self.net.parameters()):
            return None
        # Lightning cannot clip the gradients of a fused optimizer under automatic mixed precision.
        optimizer = build_optimizer(self.cfg.optimizer, self.net, fused=self.cfg.trainer.gradient_clip is None)
        if self.cfg.scheduler.kind == "constant":
            return optimizer
        total = int(self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": build_scheduler(self.cfg.scheduler, optimizer, total)}


def sums_of(logits: Tensor, loss: Tensor, labels: Tensor) -> Tensor:
    """Return float32 (3,): the mean loss of a batch times its size, its number of correct images, and its size."""
    right = (logits.argmax(1) == labels).sum()
    return torch.stack([loss * len(labels), right.float(), torch.full_like(loss, len(labels))])
