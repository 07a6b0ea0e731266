"""Members of any kind that predict together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepfake_lit.core import console, hardware, system
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.groups import grouped_classes
from deepfake_lit.data.images import SplitImages
from deepfake_lit.data.views import by_place, check_places
from deepfake_lit.prediction import calibration
from deepfake_lit.prediction.answers import Answers, joined
from deepfake_lit.prediction.calibration import Calibration
from deepfake_lit.prediction.checkpoint import ENTRY, checkpoint_file, read_checkpoint
from deepfake_lit.prediction.classes import align
from deepfake_lit.prediction.ensemble import ensemble_from
from deepfake_lit.prediction.inference import look, split_windows
from deepfake_lit.prediction.member import Member, check_fit, fit_of, together
from deepfake_lit.prediction.trained import trained_from
from deepfake_lit.prediction.unfamiliarity import Seen, mean_probabilities


def load_member(path: Path) -> Member:
    """Load a network's or an ensemble's checkpoint, or a baseline's `model.skops`; a run's folder stands for its own.

    Raises:
        UserError: it cannot be read, or is none of these.
    """
    path = checkpoint_file(path)
    if path.suffix == ".skops":
        from deepfake_lit.baselines.saved import load_baseline  # scikit-learn takes a second to import

        return load_baseline(path)
    checkpoint = read_checkpoint(path)
    return (ensemble_from if "members" in checkpoint[ENTRY] else trained_from)(path, checkpoint)


@dataclass
class Predictor:
    """Checkpoints that predict together: the mean of their probabilities over members and views.

    Members may differ in kind (network or baseline), channel mode and input size; each does its own preprocessing.
    """

    members: list[Member]
    machine: hardware.Hardware
    orders: list[list[int]]  # of each member, where it has the classes of the first one
    calibration: Calibration | None = None  # of a checkpoint that answers alone

    @classmethod
    def load(cls, checkpoints: list[str], machine: hardware.Hardware, apart: bool = False) -> "Predictor":
        """Load the members and put them on the machine's device.

        Args:
            apart: whether they are to answer each for itself, by `alone`.

        Raises:
            UserError: no checkpoint, an unreadable one, or members with different classes.
        """
        if not checkpoints:
            raise UserError("name at least one checkpoint, such as outputs/runs/NAME/FINGERPRINT/best.ckpt")
        members = [load_member(Path(path)) for path in checkpoints]
        first, orders = members[0], []
        system.keep_freed_memory()
        for path, member in zip(checkpoints, members, strict=True):
            orders.append(align(first.class_names, member.class_names, checkpoints[0], path))
            check_fit(member, path, first.image_size, fit_of(first), checkpoints[0])
            member.expect(first.image_size, path)
            member.to(machine)
        found = cls(members, machine, orders)
        if len(members) == 1:
            return found.alone(0)
        calibrated = [path for path, m in zip(checkpoints, members, strict=True) if calibration.ENTRY in m.meta]
        if calibrated and not apart:
            console.warn(f"{calibrated[0]} is calibrated to answer alone; beside others its calibration is not used")
        return found

    def alone(self, number: int) -> "Predictor":
        """Return one of the members for itself, with its calibration, and the classes in the first member's order."""
        member, order = self.members[number], self.orders[number]
        entry = member.meta.get(calibration.ENTRY)
        if entry is None or order != list(range(len(order))):
            return Predictor([member], self.machine, [order])
        name = getattr(member, "path", "the checkpoint")
        return Predictor([member], self.machine, [order], Calibration.from_entry(entry, name, len(order)))

    @property
    def class_names(self) -> list[str]:
        return self.members[0].class_names

    def groups(self, given: dict[str, Any] | None) -> dict[str, list[int]] | None:
        """Return the classes of the groups that are given, else of those of the first member's data.groups, or None.

        Raises:
            UserError: they do not fit the classes.
        """
        own = self.members[0].meta.get("config", {}).get("data", {}).get("groups")
        return grouped_classes(given or own, self.class_names) if given or own else None

    @property
    def left_out(self) -> list[str]:
        """Return the names of classes that were left out of the training of every member."""
        several = [set(member.meta.get("left_out", ())) for member in self.members]
        return sorted(set.intersection(*several))

    @property
    def fit(self) -> str:
        """Return how images of another size are brought to that of the first member, as its own were."""
        return fit_of(self.members[0])

    def by_view(self, pixels: Tensor, transparency: Tensor | None, views: list[str]) -> Tensor:
        """Return the mean over members, float32 (V, B, K), for uint8 pixels (B, H, W, 3) and (B, H, W) or None."""
        total = None
        for member, order in zip(self.members, self.orders, strict=True):
            p = member.probabilities(pixels, transparency, views, self.machine)[..., order]
            total = p if total is None else total + p
        return total / len(self.members)

    def at_places(self, windows: list[tuple[Tensor, Tensor | None]], views: list[str]) -> Tensor:
        """Return `by_view` of images of any size, of which each view is given the window at its place.

        Args:
            windows: for each place of `by_place(views)`, pixels and transparency.
        """
        found: dict[str, Tensor] = {}
        for batch, names in zip(windows, by_place(views).values(), strict=True):
            found |= dict(zip(names, self.by_view(*batch, names), strict=True))
        return torch.stack([found[view] for view in views])

    def look_at_places(self, windows: list[tuple[Tensor, Tensor | None]], views: list[str]) -> list[Seen]:
        """Return what the only member makes of images, for each view; `windows` as in `at_places`."""
        (member,) = self.members
        found: dict[str, Seen] = {}
        for batch, names in zip(windows, by_place(views).values(), strict=True):
            logits, features = look(member, *batch, names, self.machine)
            for i, name in enumerate(names):
                found[name] = Seen(logits[i].numpy(), None if features is None else features[i].numpy())
        return [found[view] for view in views]

    def answers(self, windows: list[tuple[Tensor, Tensor | None]], views: list[str]) -> Answers:
        """Return what is said of images, the mean over views; `windows` as in `at_places`."""
        if self.calibration is None:
            return Answers(self.at_places(windows, views).mean(0).numpy())
        return self.calibrated(self.look_at_places(windows, views))

    def calibrated(self, seen: list[Seen]) -> Answers:
        """Return the calibrated answers for what the only member makes of images in each view."""
        scores = np.mean([self.calibration.unfamiliarity(each) for each in seen], 0)
        return self.calibration.answers(mean_probabilities(seen), scores)

    def look_at_split(self, split: SplitImages, views: list[str], batch_size: int, label: str) -> list[Seen]:
        """Return what the only member makes of a split's images, for each view, under a progress bar."""
        step = self.together(split.pixels.shape[1:3], batch_size)
        check_places(views, split.whole)
        windows = split_windows(split, step, tuple(by_place(views)))
        batches = console.progress(windows, label, -(-len(split) // step))
        parts = [self.look_at_places(batch, views) for batch in batches]
        return [joined([part[i] for part in parts]) for i in range(len(views))]

    def answers_on(self, split: SplitImages, views: list[str], batch_size: int) -> tuple[Answers, Answers]:
        """Return the answers without and with test-time augmentation for a split's images, under a progress bar."""
        if self.calibration is None:
            return tuple(Answers(p.numpy()) for p in self.on_split(split, views, batch_size))
        every = list(dict.fromkeys(["identity", *views]))
        seen = self.look_at_split(split, every, batch_size, "evaluating")
        return self.calibrated(seen[:1]), self.calibrated([seen[every.index(view)] for view in views])

    def together(self, size: tuple[int, int], most: int) -> int:
        """Return how many images of (height, width) to ask for at once, at most `most`: memory is bounded by bytes."""
        return together(self.members, size, most)

    def on_split(self, split: SplitImages, views: list[str], batch_size: int) -> tuple[Tensor, Tensor]:
        """Return probabilities without and with test-time augmentation, each float32 (N, K), under a progress bar."""
        every = list(dict.fromkeys(["identity", *views]))
        chosen = [every.index(view) for view in views]
        step = self.together(split.pixels.shape[1:3], batch_size)
        check_places(views, split.whole)
        windows = split_windows(split, step, tuple(by_place(every)))
        batches = console.progress(windows, "evaluating", -(-len(split) // step))
        plain, augmented = torch.empty(2, len(split), len(self.class_names))
        for number, batch in enumerate(batches):
            by_view = self.at_places(batch, every)
            rows = slice(number * step, number * step + by_view.shape[1])
            plain[rows], augmented[rows] = by_view[0], by_view[chosen].mean(0)
        return plain, augmented
