"""Construction of the module that a run trains, its initial weights and its data module."""

import copy
from pathlib import Path

import numpy as np
import torch
from torch import nn

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.hardware import Hardware
from deepfake_lit.core.randomness import derive
from deepfake_lit.data.datamodule import ImageDataModule
from deepfake_lit.data.images import ImageData
from deepfake_lit.models.build import build_model
from deepfake_lit.models.ensemble import Ensemble, build_combiner
from deepfake_lit.settings.choices import CHANNELS
from deepfake_lit.settings.schema import Config
from deepfake_lit.training.classifier import Classifier
from deepfake_lit.training.ensemble import LogitsDataModule, Train, load_members, make_tables
from deepfake_lit.training.lineage import lineage_of, start_from
from deepfake_lit.training.losses import resolve_class_weights

CALIBRATION = 1000  # number of training images that calibrate a front end which depends on image statistics


def build_parts(
    cfg: Config, data: ImageData, machine: Hardware, train: Train
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
    torch.manual_seed(derive(cfg.seed, "init") >> 1)  # for a head, which torch's generator initialises
    nets = [copy.deepcopy(member.net) for member in members if member.net]
    net = Ensemble(nets, build_combiner(cfg.model, len(members), len(data.class_names)))
    origins = {"members": [m.kept(Path(path)) for path, m in zip(cfg.model.members, members, strict=True)]}
    module = _classifier(net, cfg, data, tables.labels, channels_last=False)
    return module, LogitsDataModule(tables, data, cfg), origins


def build_classifier(cfg: Config, data: ImageData, machine: Hardware) -> Classifier:
    """Build the classifier with the weights of `cfg.init_from`, or initialise it from (seed, "init") alone."""
    torch.manual_seed(derive(cfg.seed, "init") >> 1)
    net = build_model(cfg.model, CHANNELS[cfg.data.channels], len(data.class_names))
    check_fits(net, cfg, data)
    if cfg.init_from:
        start_from(net, cfg, data)
    elif hasattr(net, "calibrate"):
        net.calibrate(ImageDataModule(data, cfg.data, cfg.augment, cfg.seed).some_images(CALIBRATION))
    return _classifier(net, cfg, data, data.splits["train"].labels, machine.channels_last)


def check_fits(net: nn.Module, cfg: Config, data: ImageData) -> None:
    """Run a copy of the network once on blank images of the sizes that it will get.

    Raises:
        UserError: it cannot take images of one of these sizes.
    """
    trial = copy.deepcopy(net).eval()  # some networks keep tensors of a forward pass
    sizes = [(cfg.data.image_size,) * 2 if cfg.data.image_size else data.size]
    sizes += [(cfg.augment.window,) * 2] if cfg.augment.window else []
    for height, width in sizes:
        try:
            with torch.inference_mode(), torch.random.fork_rng(devices=[]):
                trial(torch.zeros(1, CHANNELS[cfg.data.channels], height, width))
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            own = (getattr(net, "pretrained_cfg", None) or {}).get("input_size")  # timm's networks say it
            remedy = f"data.image_size={own[-1]}" if own else "data.image_size to a larger side, such as 64"
            raise UserError(
                f"model={cfg.model.kind} does not take images of {width} x {height}: set {remedy} ({reason})"
            ) from None


def _classifier(net: nn.Module, cfg: Config, data: ImageData, labels: np.ndarray, channels_last: bool) -> Classifier:
    counts = np.bincount(labels, minlength=len(data.class_names)).tolist()
    weights = resolve_class_weights(cfg.loss.class_weights, counts)
    return Classifier(net, cfg, data.class_names, weights, channels_last)
