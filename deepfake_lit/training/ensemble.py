"""Ensembles of trained members: the logits that they are fitted on, and their gain over each member.

Members are frozen, so their logits for an image never change. They are computed once, and the combination is fitted on
the table of these logits.
"""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from deepfake_lit.baselines.saved import load_baseline
from deepfake_lit.core import console
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.hardware import Hardware
from deepfake_lit.core.processes import one_device
from deepfake_lit.data.datamodule import Batch, Batches, ImageDataModule
from deepfake_lit.data.images import ImageData, SplitImages, with_fold
from deepfake_lit.prediction.checkpoint import LAST
from deepfake_lit.prediction.classes import same_classes
from deepfake_lit.prediction.inference import split_batches
from deepfake_lit.prediction.member import Member, check_fit, together
from deepfake_lit.prediction.trained import load_trained
from deepfake_lit.results.statistics import paired
from deepfake_lit.settings.compose import from_dict
from deepfake_lit.settings.identity import digest, of_role
from deepfake_lit.settings.schema import Config
from deepfake_lit.training.lineage import check_unseen

Train = Callable[[Config, ImageData], Path]  # trains a configuration on the data and returns the run's folder


def load_members(cfg: Config, data: ImageData, machine: Hardware) -> list[Member]:
    """Return the members that `cfg` names, on the machine's device.

    Raises:
        UserError: a member cannot be read, is an ensemble itself, was trained on other classes or on the fold that this
            run holds out, or cannot take images of this size.
    """
    members: list[Member] = []
    for path in cfg.model.members:
        member = load_baseline(Path(path)) if path.endswith(".skops") else load_trained(Path(path))
        same_classes(member.class_names, data.class_names, path)
        check_unseen(path, member.meta, cfg, data)
        check_fit(member, path, data.size, data.fit, "this run is")
        member.expect(data.size, path)
        member.to(machine)
        members.append(member)
    return members


def logits_on(member: Member, split: SplitImages, batch_size: int, machine: Hardware, label: str) -> Tensor:
    """Return float32 (N, K): the member's logits for the images of a split, without augmentation."""
    step = together([member], split.pixels.shape[1:3], batch_size)
    batches = console.progress(split_batches(split, step), label, -(-len(split) // step))
    return torch.cat([member.logits(*batch, ["identity"], machine)[0] for batch in batches])


@dataclass
class Tables:
    """The members' logits, float32 (N, M, K), for the fitted images and for the validation images.

    `fit` belongs to the images that the combination is fitted on; `labels`, int64 (N,), are the labels of these."""

    fit: Tensor
    labels: np.ndarray
    validation: Tensor


def make_tables(cfg: Config, data: ImageData, members: list[Member], machine: Hardware, train: Train) -> Tables:
    """Compute the tables that `model.fit_on` asks for: train, out_of_fold or validation.

    Raises:
        UserError: a member cannot be trained on folds, or two members come from the same run.
    """
    size = cfg.data.eval_batch_size
    named = list(zip(cfg.model.members, members, strict=True))

    def on(split: SplitImages) -> Tensor:
        return torch.stack([logits_on(m, split, size, machine, f"logits of {path}") for path, m in named], 1)

    validation = on(data.splits["validation"])
    if cfg.model.fit_on in (None, "validation"):  # None: nothing is fitted
        return Tables(validation, data.splits["validation"].labels, validation)
    if cfg.model.fit_on == "train":
        return Tables(on(data.splits["train"]), data.splits["train"].labels, validation)
    runs = [digest(m.meta["config"]) for m in members if m.net]
    if len(set(runs)) < len(runs):
        raise UserError("model.fit_on=out_of_fold: two members are of one run, which on a fold gives one network")
    columns = [out_of_fold(member, path, cfg, data, machine, train) for path, member in named]
    return Tables(torch.stack(columns, 1), data.splits["train"].labels, validation)


def out_of_fold(member: Member, path: str, cfg: Config, data: ImageData, machine: Hardware, train: Train) -> Tensor:
    """Return float32 (N, K): each training image's logits, from a network trained like the member on the other folds.

    These networks are ordinary runs, which are found again by their fingerprints. The logits come from their last
    epoch, and no run stops early. However, a plateau scheduler lowers the learning rate by the held-out fold.
    """
    if member.net is None:
        raise UserError(f"model.fit_on=out_of_fold trains networks on folds; {path} is a baseline")
    if cfg.data.folds or member.config.data.folds:
        raise UserError(f"model.fit_on=out_of_fold: {path} or this run are on a fold of the training images already")
    images = data.splits["train"]
    row_of = {image_id: row for row, image_id in enumerate(images.ids)}
    found = torch.full((len(images), len(data.class_names)), torch.nan)
    for fold in range(cfg.model.folds):
        console.note(f"fold {fold + 1} of {cfg.model.folds} for {path}")
        part = with_fold(data, cfg.model.folds, fold)
        trained = load_trained(_trained_on(part, member.meta, cfg, fold, train) / LAST)
        trained.to(machine)
        held_out = part.splits["validation"]
        logits = logits_on(trained, held_out, cfg.data.eval_batch_size, machine, "logits of the fold")
        found[[row_of[image_id] for image_id in held_out.ids]] = logits
    return found


def _trained_on(part: ImageData, meta: dict[str, Any], cfg: Config, fold: int, train: Train) -> Path:
    """Train a checkpoint's configuration on a fold, with all stages of staged training; return the run's folder."""
    one_device("model.fit_on=out_of_fold")
    one = from_dict(meta["config"])
    one.output_dir, one.extends, one.baselines = cfg.output_dir, None, {}
    for group, name in (dotted.split(".") for dotted in of_role("place", "reading", "work") if "." in dotted):
        setattr(getattr(one, group), name, copy.copy(getattr(getattr(cfg, group), name)))
    one.trainer.early_stopping = None
    one.data.folds, one.data.fold = cfg.model.folds, fold
    if one.init_from is not None and meta["init_from"]["data_hash"] == part.hash:
        one.init_from, one.init_weights = str(_trained_on(part, meta["init_from"], cfg, fold, train) / LAST), None
    return train(one, part)


class TableRows(Dataset):
    """A dataset of batches from a table of logits, indexed by the (epoch, step, indices) that `Batches` yields."""

    def __init__(self, table: Tensor, labels: np.ndarray):
        self.table, self.labels = table, torch.from_numpy(labels)

    def __getitem__(self, batch: tuple[int, int, np.ndarray]) -> Batch:
        indices = torch.from_numpy(batch[2])
        labels = self.labels[indices]
        return Batch(self.table[indices], F.one_hot(labels, self.table.shape[2]).float(), labels)


class LogitsDataModule(ImageDataModule):
    """A data module that loads the members' logits (B, M, K) instead of images."""

    def __init__(self, tables: Tables, data: ImageData, cfg: Config):
        super().__init__(data, cfg.data, cfg.augment, cfg.seed)
        self.tables = tables

    def train_labels(self) -> np.ndarray:
        return self.tables.labels

    def _loader(self, split: SplitImages, batches: Batches, *of_training: Callable | None) -> DataLoader:
        table = self.tables.fit if batches.shuffle else self.tables.validation
        labels = self.tables.labels if batches.shuffle else split.labels
        return DataLoader(TableRows(table, labels), sampler=batches, batch_size=None)

    def prepare(self, batches: list[Batch]) -> list[Batch]:
        return batches  # Lightning moves them


def gains(
    probabilities: np.ndarray, validation: Tensor, labels: np.ndarray, members: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return each member's accuracy on the validation images and the ensemble's gain over it.

    Args:
        probabilities: float (N, K), predictions of the ensemble.
        validation: float32 (N, M, K), the members' logits.
        members: one entry per member, to which the figures are added.
    """
    right = probabilities.argmax(1) == labels
    alone = validation.argmax(2).numpy() == labels[:, None]
    return [
        {**member, "accuracy": float(alone[:, i].mean()), "gain": asdict(paired(right, alone[:, i]))}
        for i, member in enumerate(members)
    ]
