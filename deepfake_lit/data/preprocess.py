"""Conversion of decoded pixels into the network's input."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deepfake_lit.data.channels import planes_of
from deepfake_lit.settings.choices import CHANNELS
from deepfake_lit.settings.schema import DataConfig

# Of one pixel in preprocessing: bytes, float32 planes, and those of a view. 250 images of 128x128 are a batch.
PIXEL_BYTES = 64


def tensors(pixels: np.ndarray, transparency: np.ndarray | None) -> tuple[Tensor, Tensor | None]:
    """Return decoded pixels and transparency, as `SplitImages.gather` returns them, as tensors on the same memory."""
    return torch.from_numpy(pixels), None if transparency is None else torch.from_numpy(transparency)


@dataclass(frozen=True)
class Preprocess:
    """The conversion of decoded pixels into the network's input. Checkpoints store it, so prediction repeats it."""

    channels: str
    image_size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_config(cls, cfg: DataConfig) -> "Preprocess":
        return cls(cfg.channels, cfg.image_size, tuple(cfg.mean), tuple(cfg.std))

    @property
    def in_channels(self) -> int:
        return CHANNELS[self.channels]

    def planes(self, pixels: Tensor, transparency: Tensor | None) -> Tensor:
        """Return float32 (B, C, H, W) in [0, 1], resized to `image_size` (bilinear, antialiased when it shrinks)."""
        images = planes_of(self.channels, pixels, transparency)
        if self.image_size and images.shape[-2:] != (self.image_size, self.image_size):
            shrinks = max(images.shape[-2:]) > self.image_size
            size = (self.image_size, self.image_size)
            images = F.interpolate(images, size, mode="bilinear", antialias=shrinks, align_corners=False)
        return images

    def normalise(self, images: Tensor) -> Tensor:
        if len(set(self.mean)) == 1 and len(set(self.std)) == 1:
            return (images - self.mean[0]) / self.std[0]
        means, stds = (v * images.shape[1] if len(v) == 1 else v for v in (self.mean, self.std))
        planes = [(images[:, i] - m) / s for i, (m, s) in enumerate(zip(means, stds, strict=True))]
        return torch.stack(planes, 1)

    def __call__(self, pixels: Tensor, transparency: Tensor | None) -> Tensor:
        return self.normalise(self.planes(pixels, transparency))
