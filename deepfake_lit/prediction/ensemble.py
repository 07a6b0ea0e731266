"""How an ensemble predicts: its members, and what combines them, out of one checkpoint."""

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepfake_lit.core.errors import UserError, check_finite
from deepfake_lit.core.hardware import Hardware
from deepfake_lit.models.ensemble import build_combiner
from deepfake_lit.prediction.checkpoint import ENTRY, tensors_below
from deepfake_lit.prediction.member import Member
from deepfake_lit.prediction.trained import trained_from
from deepfake_lit.settings.compose import from_dict
from deepfake_lit.settings.schema import Config


@dataclass
class TrainedEnsemble:
    """An ensemble out of its checkpoint, in eval mode on the CPU: a `Member`."""

    members: list[Member]
    combiner: nn.Module
    class_names: list[str]
    image_size: tuple[int, int]  # (height, width) of the files that it was fitted on
    config: Config
    meta: dict[str, Any]
    path: str  # of the checkpoint, for messages
    net = None  # it is several

    @property
    def pixels(self) -> int:
        return max(member.pixels for member in self.members)

    def expect(self, image_size: tuple[int, int], name: str) -> None:
        for member in self.members:
            member.expect(image_size, name)

    def to(self, machine: Hardware) -> None:
        for member in self.members:
            member.to(machine)

    @torch.inference_mode()
    def logits(self, pixels: Tensor, transparency: Tensor | None, views: list[str], machine: Hardware) -> Tensor:
        logits = torch.stack([m.logits(pixels, transparency, views, machine) for m in self.members], 2)
        found = torch.stack([self.combiner(view) for view in logits])
        check_finite(found, self.path)
        return found

    def probabilities(self, pixels: Tensor, transparency: Tensor | None, views: list[str], machine: Hardware) -> Tensor:
        return torch.softmax(self.logits(pixels, transparency, views, machine), 2)

    def kept(self, path: Path) -> dict[str, Any]:
        raise UserError(f"{path} is an ensemble; a single network is wanted here")


def ensemble_from(path: Path, checkpoint: dict[str, Any]) -> TrainedEnsemble:
    """Build an ensemble from its checkpoint, which holds all members.

    Raises:
        UserError: the weights do not fit the configuration beside them, or a member cannot be read.
    """
    meta = checkpoint[ENTRY]
    try:
        config, class_names = from_dict(meta["config"]), list(meta["class_names"])
        weights, members, networks = checkpoint["state_dict"], [], 0
        for kept in meta["members"]:
            if "skops" in kept:
                members.append(_baseline_from(path, kept["skops"]))
                continue
            own = {f"net.{k}": v for k, v in tensors_below(f"net.members.{networks}.", weights).items()}
            members.append(trained_from(path, {ENTRY: kept[ENTRY], "state_dict": own}))
            networks += 1
        combiner = build_combiner(config.model, len(members), len(class_names))
        combiner.load_state_dict(tensors_below("net.combiner.", weights))
        height, width = meta["image_size"]
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    return TrainedEnsemble(members, combiner.eval(), class_names, (int(height), int(width)), config, meta, str(path))


def _baseline_from(path: Path, content: Tensor) -> Member:
    from deepfake_lit.baselines.saved import load_baseline  # scikit-learn takes a second to import

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "member.skops"
        file.write_bytes(content.numpy().tobytes())
        return dataclasses.replace(load_baseline(file), path=str(path))
