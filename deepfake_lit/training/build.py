"""Construction of the module that a run trains, its initial weights and its data module."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from deepfake_lit.core import hardware
from deepfake_lit.core.randomness import derive
from deepfake_lit.data.datamodule import ImageDataModule
from deepfake_lit.data.images import ImageData
from deepfake_lit.models.build import build_model
from deepfake_lit.settings.choices import CHANNELS
from deepfake_lit.settings.schema import Config
from deepfake_lit.training.classifier import Classifier
from deepfake_lit.training.ensemble import LogitsDataModule, entry_of, load_members, make_tables, network_of
from deepfake_lit.training.lineage import lineage_of, start_from
from deepfake_lit.training.losses import resolve_class_weights

CALIBRATION = 1000  # number of training images that calibrate a front end which depends on image statistics


def build_parts(
    cfg: Config, data: ImageData, machine: hardware.Hardware, train: Callable[[Config, ImageData], Path]
) -> tuple[Classifier, ImageDataModule, dict]:
    """Return the module, its data module, and the checkpoint entries that describe the checkpoints it is made of.

    Args:
        train: trains a configuration to its end and returns the run's folder; an ensemble trains networks on folds.
    """
    if cfg.model.kind != "ensemble":
        module = build_classifier(cfg, data, machine)
        origins = {"init_from": lineage_of(Path(cfg.init_from))} if cfg.init_from else {}
        return module, ImageDataModule(data, cfg.data, cfg.augment, cfg.seed, machine.channels_last), origins
    members = load_members(cfg, data, machine)
    tables = make_tables(cfg, data, members, machine, train)
    torch.manual_seed(derive(cfg.seed, "init") >> 1)
    weights = class_weights(cfg, data, tables.labels)
    module = Classifier(network_of(cfg, members), cfg, data.class_names, weights)
    return module, LogitsDataModule(tables, data, cfg), {"members": entry_of(cfg, members)}


def build_classifier(cfg: Config, data: ImageData, machine: hardware.Hardware) -> Classifier:
    """Build the classifier with the weights of `cfg.init_from`, or initialise it from (seed, "init") alone."""
    torch.manual_seed(derive(cfg.seed, "init") >> 1)
    net = build_model(cfg.model, CHANNELS[cfg.data.channels], len(data.class_names))
    if cfg.init_from:
        start_from(net, cfg, data)
    elif hasattr(net, "calibrate"):
        net.calibrate(ImageDataModule(data, cfg.data, cfg.augment, cfg.seed).some_images(CALIBRATION))
    weights = class_weights(cfg, data, data.splits["train"].labels)
    return Classifier(net, cfg, data.class_names, weights, machine.channels_last)


def class_weights(cfg: Config, data: ImageData, labels: np.ndarray) -> list[float] | None:
    """Return the class weights of the loss for the given training labels, or None."""
    counts = np.bincount(labels, minlength=len(data.class_names)).tolist()
    return resolve_class_weights(cfg.loss.class_weights, counts)
