"""What answers for images, whatever it is made of."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.hardware import Hardware
from deepfake_lit.core.system import batch_of
from deepfake_lit.data.preprocess import PIXEL_BYTES


class Member(Protocol):
    """A network, an ensemble or a fitted baseline out of its file, on its own or beside others.

    Attributes:
        image_size: (height, width) of the files that it was trained on.
        meta: what its file says of where it comes from.
        net: None where it is not one network, which could be trained again on folds.
        pixels: number of pixels of an image as it works on it.
    """

    class_names: list[str]
    image_size: tuple[int, int]
    meta: dict[str, Any]
    net: nn.Module | None
    pixels: int

    def expect(self, image_size: tuple[int, int], name: str) -> None:
        """Prepare for images of this (height, width), as another member's are; `name` is for messages.

        Raises:
            UserError: it cannot answer for such images.
        """

    def to(self, machine: Hardware) -> None:
        """Move it to the machine's device and memory format."""

    def logits(self, pixels: Tensor, transparency: Tensor | None, views: list[str], machine: Hardware) -> Tensor:
        """Return float32 (V, B, K) on the CPU for uint8 pixels (B, H, W, 3) and transparency (B, H, W) or None."""

    def probabilities(self, pixels: Tensor, transparency: Tensor | None, views: list[str], machine: Hardware) -> Tensor:
        """Return the same as float32 probabilities."""

    def kept(self, path: Path) -> dict[str, Any]:
        """Return what an ensemble's checkpoint keeps of it, read from `path`, beside its network's weights."""


def fit_of(member: Member) -> str:
    """Return how images of another size were brought to that of its own; files of before 2026-11-27 do not say."""
    return member.meta.get("fit", "resize")


def check_fit(member: Member, name: str, image_size: tuple[int, int], fit: str, others: str) -> None:
    """Raise `UserError` if a member answers for windows of images and the others do not, or for other windows."""
    own, theirs = (
        "whole images" if how == "resize" else f"windows of {width} x {height} pixels"
        for how, (height, width) in ((fit_of(member), member.image_size), (fit, image_size))
    )
    if own != theirs:
        raise UserError(f"{name} was trained on {own}, but {others} on {theirs}: they cannot answer together")


def together(members: Iterable[Member], size: tuple[int, int], most: int) -> int:
    """Return how many images of (height, width) the members are asked for at once: fewer where they are large."""
    return batch_of(PIXEL_BYTES * max(math.prod(size), *(member.pixels for member in members)), most)
