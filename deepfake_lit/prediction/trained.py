"""A network out of its checkpoint."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepfake_lit.core.errors import UserError, check_finite
from deepfake_lit.core.hardware import Hardware
from deepfake_lit.data.preprocess import Preprocess
from deepfake_lit.models.build import build_model
from deepfake_lit.prediction.checkpoint import ENTRY, network_weights, read_checkpoint
from deepfake_lit.prediction.inference import logits
from deepfake_lit.settings.compose import from_dict
from deepfake_lit.settings.schema import Config


@dataclass
class Trained:
    """A network out of a checkpoint, in eval mode on the CPU, with all that prediction needs: a `Member`."""

    net: nn.Module
    preprocess: Preprocess
    class_names: list[str]
    image_size: tuple[int, int]  # (height, width) of the files it was trained on
    config: Config
    meta: dict[str, Any]
    path: str  # of the checkpoint, for messages

    @property
    def pixels(self) -> int:
        return self.preprocess.image_size**2 if self.preprocess.image_size else math.prod(self.image_size)

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

    def to(self, machine: Hardware) -> None:
        self.net.to(machine.device)
        if machine.channels_last:
            self.net.to(memory_format=torch.channels_last)

    def logits(self, pixels: Tensor, transparency: Tensor | None, views: list[str], machine: Hardware) -> Tensor:
        found = logits(self.net, self.preprocess, pixels, transparency, views, machine)
        check_finite(found, self.path)
        return found

    def probabilities(self, pixels: Tensor, transparency: Tensor | None, views: list[str], machine: Hardware) -> Tensor:
        return torch.softmax(self.logits(pixels, transparency, views, machine), 2)

    def kept(self, path: Path) -> dict[str, Any]:
        return {ENTRY: self.meta}


def load_trained(path: Path) -> Trained:
    """Load a network from its checkpoint.

    Raises:
        UserError: as `read_checkpoint` and `trained_from`.
    """
    return trained_from(path, read_checkpoint(path))


def trained_from(path: Path, checkpoint: dict[str, Any]) -> Trained:
    """Build a network from the content of its checkpoint.

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
    return Trained(net.eval(), preprocess, class_names, (int(height), int(width)), config, meta, str(path))
