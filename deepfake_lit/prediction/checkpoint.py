"""Checkpoint files: read as data, and enough on their own to predict with.

A checkpoint is Lightning's own (so that Lightning resumes from it) with one more entry, `deepfake_lit`: the
configuration, the class names, the preprocessing, the hash and image size of the data, and the code's commit.
"""

import dataclasses
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepfake_lit.core.errors import UserError
from deepfake_lit.data.images import ImageData
from deepfake_lit.data.preprocess import Preprocess
from deepfake_lit.prediction import published
from deepfake_lit.prediction.folder import WEIGHTS, read_folder
from deepfake_lit.results.provenance import code_version
from deepfake_lit.settings.identity import to_dict
from deepfake_lit.settings.schema import Config

ENTRY = "deepfake_lit"
BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"


def describe(cfg: Config, data: ImageData) -> dict[str, Any]:
    """Return the `deepfake_lit` entry as plain dicts, lists and scalars; `init_from` and `members` are added to it."""
    return {
        "config": to_dict(cfg),
        "class_names": list(data.class_names),
        "preprocess": dataclasses.asdict(Preprocess.from_config(cfg.data)),
        "data_hash": data.hash,
        "image_size": list(data.size),
        "fit": data.fit,  # absent before 2026-11-27, when it was resize
        "left_out": list(data.left_out),  # absent before 2026-11-28, when no class could be left out
        "code": code_version(),
    }


def checkpoint_file(path: Path) -> Path:
    """Return the file that is meant by a path or a name: of a folder its best epoch, its baseline or its weights, of
    published weights their file.

    Raises:
        UserError: the folder holds none.
    """
    if path.is_file():
        return path
    for name in (BEST, "model.skops", WEIGHTS):
        if (path / name).exists():
            return path / name
    if found := published.file_of(str(path)):
        return found
    if not path.is_dir():
        return path
    raise UserError(f"{path} is a folder without {BEST} or model.skops; give a finished run's folder, or a file")


def _check_format(path: Path) -> None:
    """Raise `UserError` for a file that torch cannot have written, which would be advised to trust it."""
    with open(path, "rb") as file:
        start = file.read(2)
    if start[:1] != b"\x80" and start != b"PK":  # a pickle, or a .zip of one
        raise UserError(f"{path} is not a readable checkpoint; a run's checkpoints are {BEST} and {LAST}")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's tensors and plain values on the CPU; a file that would run code is refused.

    Raises:
        UserError: the file does not exist, is truncated, foreign or malicious; the message says which.
    """
    path = checkpoint_file(path)
    if not path.is_file():
        raise published.missing(str(path))
    if path.suffix == ".skops":
        raise UserError(f"{path} is a baseline; a network's checkpoint is wanted here")
    if path.name == WEIGHTS:
        return _checked(path, read_folder(path, ENTRY))
    try:
        _check_format(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        names = re.search(r"GLOBAL (\S+)", str(error))  # not the whole text: it advises to trust the file
        reason = f", as {names[1]}" if names else ""
        raise UserError(f"{path} holds more than data{reason}, and was not opened as a checkpoint") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).split("\n")[0] or "it ends at once"
        raise UserError(f"{path} is not a readable checkpoint: {reason}") from None
    return _checked(path, checkpoint)


def _checked(path: Path, checkpoint: Any) -> dict[str, Any]:
    if not isinstance(checkpoint, dict) or ENTRY not in checkpoint or "state_dict" not in checkpoint:
        raise UserError(f"{path} is not a checkpoint of deepfake_lit")
    entry, state = checkpoint[ENTRY], checkpoint["state_dict"]
    lacking = [key for key in ("config", "data_hash", "class_names") if not isinstance(entry, dict) or key not in entry]
    if lacking:
        raise UserError(f"{path} is damaged: it lacks {', '.join(lacking)}")
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} is damaged: its state_dict holds other things than weights")
    return checkpoint


def network_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Return the network's own part of a checkpoint's `state_dict`, by the network's names."""
    return tensors_below("net.", checkpoint["state_dict"])


def tensors_below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin with the prefix, by what comes after it."""
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
