"""Checkpoint files: written whole or not at all, read as data, and enough on their own to predict with.

A checkpoint is Lightning's own (so that Lightning resumes from it) with one more entry, `deepfake_lit`: the
configuration, the class names, the preprocessing, the hash and image size of the data, and the code's commit.
"""

import dataclasses
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import PARTIAL, atomic
from deepfake_lit.core.hardware import Hardware
from deepfake_lit.data.dataset import ImageData
from deepfake_lit.data.preprocess import Preprocess
from deepfake_lit.inference import logits
from deepfake_lit.models.build import build_model
from deepfake_lit.results import code_version
from deepfake_lit.settings.compose import from_dict
from deepfake_lit.settings.identity import to_dict
from deepfake_lit.settings.schema import Config

ENTRY = "deepfake_lit"
BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Adds the `deepfake_lit` entry. A crash while writing leaves the checkpoint before it as it was; of `LAST` the one
    before is kept."""

    def __init__(self, description: dict[str, Any]):
        super().__init__()
        self.description = description

    def save_checkpoint(self, checkpoint: dict[str, Any], path, storage_options: Any | None = None) -> None:
        path = Path(path)
        fresh = path.with_name(f".{path.name}{PARTIAL}")
        with atomic(fresh, "wb") as file:
            torch.save(checkpoint | {ENTRY: self.description}, file)
        if path.name == LAST and path.exists():
            path.replace(path.with_name(PREVIOUS))
        fresh.replace(path)


def describe(cfg: Config, data: ImageData) -> dict[str, Any]:
    """The `deepfake_lit` entry, of plain dicts, lists and scalars; with `init_from` or `members` where there are."""
    return {
        "config": to_dict(cfg),
        "class_names": list(data.class_names),
        "preprocess": dataclasses.asdict(Preprocess.from_config(cfg.data)),
        "data_hash": data.hash,
        "image_size": list(data.size),
        "code": code_version(),
    }


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's tensors and plain values, on the CPU; a file that would run code is refused.

    Raises:
        UserError: the file does not exist, is truncated, foreign or malicious; the message says which.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such checkpoint")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{path} holds more than data and was not opened as a checkpoint: {reason}") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).split("\n")[0] or "it ends at once"
        raise UserError(f"{path} is not a readable checkpoint: {reason}") from None
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
    """The network's own part of a checkpoint's `state_dict`, by the network's names."""
    return tensors_below("net.", checkpoint["state_dict"])


def tensors_below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin with the prefix, by what comes after it."""
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


@dataclass
class Trained:
    """A network out of a checkpoint, in eval mode on the CPU, with all that prediction needs."""

    net: nn.Module
    preprocess: Preprocess
    class_names: list[str]
    image_size: tuple[int, int]  # (height, width) of the files it was trained on
    config: Config
    meta: dict[str, Any]

    def expect(self, image_size: tuple[int, int], name: str) -> None:
        """Resize images of another size to that of this network's files, where it does not resize them anyway.

        Raises:
            UserError: its files were not square.
        """
        if self.preprocess.image_size or self.image_size == image_size:
            return
        if len(set(self.image_size)) > 1:
            raise UserError(f"{name} was trained on files of {self.image_size}, which are not square")
        self.preprocess = dataclasses.replace(self.preprocess, image_size=self.image_size[0])

    def to(self, hardware: Hardware) -> None:
        self.net.to(hardware.device)
        if hardware.channels_last:
            self.net.to(memory_format=torch.channels_last)

    def logits(self, pixels: Tensor, transparency: Tensor | None, views: list[str], hardware: Hardware) -> Tensor:
        """float32 (V, B, K), on the CPU."""
        return logits(self.net, self.preprocess, pixels, transparency, views, hardware)

    def probabilities(
        self, pixels: Tensor, transparency: Tensor | None, views: list[str], hardware: Hardware
    ) -> Tensor:
        return torch.softmax(self.logits(pixels, transparency, views, hardware), 2)


def load_trained(path: Path) -> Trained:
    """
    Raises:
        UserError: as `read_checkpoint` and `trained_from`.
    """
    return trained_from(path, read_checkpoint(path))


def trained_from(path: Path, checkpoint: dict[str, Any]) -> Trained:
    """
    Args:
        path: of the file, for messages.

    Raises:
        UserError: the weights do not fit the configuration beside them, or they are an ensemble's.
    """
    meta = checkpoint[ENTRY]
    if "members" in meta:
        raise UserError(f"{path} is an ensemble; a single network is wanted here")
    try:
        config = from_dict(meta["config"])
        fields = meta["preprocess"] | {key: tuple(meta["preprocess"][key]) for key in ("mean", "std")}
        preprocess = Preprocess(**fields)
        class_names = list(meta["class_names"])
        if hasattr(config.model, "pretrained"):
            config.model.pretrained = False  # the checkpoint's own weights follow
        net = build_model(config.model, preprocess.in_channels, len(class_names))
        net.load_state_dict(network_weights(checkpoint))
        height, width = meta["image_size"]
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    return Trained(net.eval(), preprocess, class_names, (int(height), int(width)), config, meta)
