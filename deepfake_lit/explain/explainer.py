"""What a network says of one image, with all that helps to judge it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepfake_lit.core import hardware
from deepfake_lit.core.errors import UserError
from deepfake_lit.data.decode import MAX_PIXELS, Facts, decode
from deepfake_lit.data.fit import corner, window
from deepfake_lit.data.history import History, traces
from deepfake_lit.data.preprocess import tensors
from deepfake_lit.data.residuals import Pattern
from deepfake_lit.data.views import by_place
from deepfake_lit.explain.accuracy import Measured, been_through, measured
from deepfake_lit.explain.pictures import Picture, looks, patterns, png
from deepfake_lit.prediction.answers import Answers, joined
from deepfake_lit.prediction.card import accuracy_in_words, card_of, limits, with_robustness
from deepfake_lit.prediction.checkpoint import ENTRY, checkpoint_file, read_checkpoint
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.prediction.trained import Trained
from deepfake_lit.settings.checks import check_views
from deepfake_lit.settings.commands import ExplainerConfig


@dataclass
class Seen:
    """An image as it came, and as the network takes it.

    Attributes:
        pixels, transparency: of the window at each place of the views, uint8 (P, H, W, 3), and (P, H, W) or None.
    """

    name: str
    facts: Facts
    history: History
    pixels: np.ndarray
    transparency: np.ndarray | None


@dataclass
class Explanation:
    """What is told of one image.

    Attributes:
        answer: the name of the most probable class; `sure` is its probability.
        bars: the classes with their probabilities, the most probable first.
        rejected: whether it is none of the classes; `among`: the names of the prediction set. None: not calibrated.
        resized: whether the image has another size than the network takes.
        through: what the file shows of its past, a sentence each; `accuracy`: of the network after such a past.
        pictures: where the network looks; `rows`: residuals and spectra, each row with its title.
    """

    name: str
    answer: str
    sure: float
    bars: list[tuple[str, float]]
    size: str
    resized: bool
    through: list[str]
    accuracy: list[Measured]
    rejected: bool | None = None
    among: list[str] | None = None
    pictures: list[Picture] = field(default_factory=list)
    rows: list[tuple[str, list[Picture]]] = field(default_factory=list)


def read_image(path: str) -> bytes:
    """Read an image file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


class Explainer:
    """A checkpoint, its card and the mean patterns of its classes.

    Args:
        checkpoint: a path, or the name of published weights.

    Raises:
        UserError: something that the settings name cannot be read.
    """

    def __init__(self, checkpoint: str, cfg: ExplainerConfig):
        check_views(cfg.views)
        self.predictor = Predictor.load([checkpoint], hardware.resolve(cfg.accelerator, cfg.precision))
        self.checkpoint, self.views = "/".join(Path(checkpoint).parts[-3:]), list(cfg.views)
        path = checkpoint_file(Path(checkpoint))
        member = self.predictor.members[0]
        content = _described(member) if path.suffix == ".skops" else read_checkpoint(path)
        self.card = card_of(path, content)
        if cfg.robustness is not None:
            self.card = with_robustness(self.card, Path(cfg.robustness), checkpoint)
        self.means = _stored(content)
        if cfg.data.root:
            from deepfake_lit.prediction.export import means_of  # what opens data sets takes a second to import

            self.means = means_of(checkpoint, cfg.data)
        self.names = [f"class {name}" if name.isdigit() else name for name in self.predictor.class_names]
        self.limits, self.accuracy = limits(self.card), accuracy_in_words(self.card)

    def see(self, name: str, data: bytes) -> Seen:
        """Decode an image.

        Raises:
            UserError: it is no image, or too large a one; the message says which.
        """
        facts, whole, transparency = decode(data, None)
        if facts.error:
            kind, reason = facts.error
            more = f", more than {MAX_PIXELS // 10**6} million" if kind == "decompression_bomb" else ""
            raise UserError(f"{name}: {reason}{more}")
        history = History(facts.format, facts.quality, facts.metadata, *traces(whole))
        size = self.predictor.members[0].image_size
        if self.predictor.fit == "resize":
            _, *arrays = decode(data, size)
            windows = [None if array is None else array[None].copy() for array in arrays]  # torch wants to write
        else:
            places = [corner(whole.shape[:2], size, place) for place in by_place(self.views)]
            windows = [
                None if array is None else np.stack([window(array, *place, size) for place in places])
                for array in (whole, transparency)
            ]
        return Seen(name, facts, history, *windows)

    def answers(self, images: list[Seen]) -> Answers:
        """Return what the network says of images."""
        found, step = [], self.predictor.together(images[0].pixels.shape[1:3], 64)
        for start in range(0, len(images), step):
            some = images[start : start + step]
            pixels, transparency = np.stack([each.pixels for each in some], 1), None
            if any(each.transparency is not None for each in some):
                planes = [np.zeros_like(s.pixels[..., 0]) if s.transparency is None else s.transparency for s in some]
                transparency = np.stack(planes, 1)
            places = range(len(by_place(self.views)))
            windows = [
                tensors(pixels[i % len(pixels)], None if transparency is None else transparency[i % len(pixels)])
                for i in places
            ]
            found.append(self.predictor.answers(windows, self.views))
        return joined(found)

    def explain(self, image: Seen, answers: Answers, row: int = 0) -> Explanation:
        """Return what is told of an image, of which a row of the answers is."""
        probabilities = answers.probabilities[row]
        order = np.argsort(-probabilities, kind="stable").tolist()
        top, (height, width) = order[0], image.pixels.shape[1:3]
        size = f"{image.facts.width} x {image.facts.height} pixels"
        resized = (image.facts.height, image.facts.width) != (height, width)
        if resized:
            how = "resized to" if self.predictor.fit == "resize" else "of which the network uses"
            size += f", {how} {width} x {height}"
        return Explanation(
            image.name,
            self.names[top],
            float(probabilities[top]),
            [(self.names[k], float(probabilities[k])) for k in order[:10]],
            size,
            resized,
            been_through(image.history) + _frames(image.facts.frames),
            measured(self.card, image.history),
            None if answers.rejected is None else bool(answers.rejected[row]),
            answers.set_of(row, self.names),
            self._looks(image, top),
            patterns(image.pixels[0], self.means, self.names, order),
        )

    def _looks(self, image: Seen, top: int) -> list[Picture]:
        pixels, transparency = image.pixels[0], None if image.transparency is None else image.transparency[0]
        found = [Picture(png(pixels), "the image at the network's input")]
        member = self.predictor.members[0]
        if isinstance(member, Trained):
            try:
                cam = looks(member, pixels, transparency, top)
            except UserError:  # a network without a feature map
                return found
            found.append(Picture(png(cam), f"Grad-CAM: bright parts speak for {self.names[top]}"))
        return found


def _frames(count: int) -> list[str]:
    return [f"It has {count} frames. Only the first one was used."] if count > 1 else []


def _described(member: Any) -> dict[str, Any]:
    entry = {"class_names": member.class_names, "image_size": member.image_size, "data_hash": member.meta["data_hash"]}
    return {ENTRY: entry | {"fit": member.meta.get("fit", "resize")}, "state_dict": {}}


def _stored(content: dict[str, Any]) -> Pattern | None:
    means: dict[str, torch.Tensor] = content.get("means", {})
    return Pattern(**{key: means[key].float().numpy() for key in Pattern._fields}) if means else None
