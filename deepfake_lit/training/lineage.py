"""The origin of a run's weights: the checkpoint that it starts from, or the members of an ensemble."""

import copy
import glob
import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepfake_lit.baselines.saved import baseline_digest
from deepfake_lit.core.console import note, warn
from deepfake_lit.core.errors import UserError
from deepfake_lit.data.images import ImageData
from deepfake_lit.prediction.checkpoint import ENTRY, checkpoint_file, network_weights, read_checkpoint
from deepfake_lit.prediction.classes import same_classes
from deepfake_lit.settings.choices import UNTRAINED
from deepfake_lit.settings.compose import from_dict
from deepfake_lit.settings.identity import digest, fingerprint
from deepfake_lit.settings.schema import Config


def pinned(cfg: Config) -> Config:
    """Return a copy of the configuration that holds the digests of all weights that it reads from files.

    Its fingerprint then identifies the weights wherever the files are. Unused settings of an ensemble are reset.

    Raises:
        UserError: a file cannot be read, its weights are not those that the configuration was run with, or an ensemble
            has fewer than 2 members.
    """
    cfg = copy.deepcopy(cfg)
    if cfg.init_from is not None:
        found = weights_digest(network_weights(read_checkpoint(Path(cfg.init_from))))
        cfg.init_weights = _same("init_weights", cfg.init_weights, found, cfg.init_from)
    if file := getattr(cfg.model, "pretrained_file", None):
        found = file_digest(Path(file))
        cfg.model.pretrained_digest = _same("model.pretrained_digest", cfg.model.pretrained_digest, found, file)
    m = cfg.model
    if m.kind != "ensemble":
        return cfg
    m.members = [str(checkpoint_file(Path(path))) for pattern in m.members for path in _files(pattern)]
    if len(m.members) < 2:
        raise UserError(f"model.members names {len(m.members)} checkpoints; an ensemble has 2 or more")
    m.weights = _same("model.weights", m.weights, [member_digest(Path(p)) for p in m.members], m.members)
    if m.combine in UNTRAINED:  # what counts for nothing is reset, so that it makes no other run
        m.fit_on, cfg.trainer.max_epochs = None, 1
        cfg.trainer.devices, cfg.trainer.num_nodes, cfg.trainer.strategy = 1, 1, "auto"  # nothing to distribute
    if m.fit_on != "out_of_fold":
        m.folds = None
    return cfg


def _same(name: str, expected: Any, found: Any, files: Any) -> Any:
    if expected not in (None, found):
        raise UserError(f"{name} is {expected}, but {files} holds {found}: other weights than this was run with")
    return found


def _files(pattern: str) -> list[str]:
    found = sorted(glob.glob(pattern)) if glob.has_magic(pattern) and not Path(pattern).exists() else [pattern]
    if not found:
        raise UserError(f"model.members: there is no file {pattern}")
    return found


def member_digest(path: Path) -> str:
    """Return 16 hexadecimal digits that identify a member: a digest of its weights, or of the fitted baseline."""
    if path.suffix == ".skops":
        return baseline_digest(path)
    return weights_digest(network_weights(read_checkpoint(path)))


def file_digest(path: Path) -> str:
    """Return 16 hexadecimal digits of SHA-256 over a file of weights.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; model.pretrained_file is a file of weights") from None


def weights_digest(weights: dict[str, Tensor]) -> str:
    """Return 16 hexadecimal digits over names, shapes, dtypes and values, which do not depend on the file."""
    found = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        found.update(digest(name, str(tensor.dtype), list(tensor.shape)).encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()[:16]


def check_unseen(path: str, meta: dict[str, Any], cfg: Config, data: ImageData) -> None:
    """Check that a network, and those that it started from, never saw the fold that this run holds out.

    Raises:
        UserError: one of them was trained on images of this fold.
    """
    own = cfg.data.folds, cfg.data.fold
    stage: dict[str, Any] | None = meta
    while stage is not None:
        if stage["data_hash"] != data.hash:
            warn(f"{path} was trained on other images: it may know those that it is to be validated on")
            return
        data_cfg = stage["config"]["data"] if "config" in stage else stage  # a baseline's entry has no configuration
        if cfg.data.folds is not None and (data_cfg.get("folds"), data_cfg.get("fold")) != own:
            raise UserError(f"{path} knows images of data.fold={cfg.data.fold}, which this run holds out")
        stage = stage.get("init_from")


def start_from(net: nn.Module, cfg: Config, data: ImageData) -> None:
    """Load the weights and batch-norm statistics of `cfg.init_from` into a network, and no other state.

    Raises:
        UserError: the weights do not fit the network, or were trained on the fold that this run holds out.
    """
    checkpoint = read_checkpoint(Path(cfg.init_from))
    if cfg.data.folds is not None:
        check_unseen(cfg.init_from, checkpoint[ENTRY], cfg, data)
    same_classes(checkpoint[ENTRY]["class_names"], data.class_names, f"init_from={cfg.init_from}")
    weights = network_weights(checkpoint)
    if wrong := misfits(net, weights):
        raise UserError(
            f"init_from={cfg.init_from} does not fit the network: {len(wrong)} weights, as {wrong[0]}; "
            "model, data.channels and the number of classes must be the same"
        )
    net.load_state_dict(weights)
    note(f"starts with the weights of {cfg.init_from}, all else anew")


def misfits(module: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    """Return the sorted names of weights that only one of the two has, or that differ in shape."""
    own = {name: tensor.shape for name, tensor in module.state_dict().items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    return sorted(name for name in own.keys() | found.keys() if own.get(name) != found.get(name))


def member_of(path: str) -> dict[str, Any]:
    """Return `lineage_of` a network, or the path, name and digest of a baseline."""
    if not path.endswith(".skops"):
        return lineage_of(Path(path))
    return {"path": path, "name": Path(path).parent.parent.name, "weights": member_digest(Path(path))}


def lineage_of(path: Path) -> dict[str, Any]:
    """Return where a checkpoint's weights come from: run, epochs, configuration, code, digest, and its own lineage."""
    checkpoint = read_checkpoint(path)
    meta = checkpoint[ENTRY]
    config = from_dict(meta["config"])
    return {
        "path": str(path),
        "name": config.name,
        "fingerprint": fingerprint(config, meta["data_hash"]),
        "seed": config.seed,
        "epochs": checkpoint.get("epoch"),  # completed when it was written
        "weights": weights_digest(network_weights(checkpoint)),
        "data_hash": meta["data_hash"],
        "code": meta.get("code"),
        "config": meta["config"],
        "init_from": meta.get("init_from"),
    }
