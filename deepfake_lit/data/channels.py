"""Channel modes: the colour and alpha planes of an image that the network receives."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the configuration checks names against CHANNELS without paying for torch
    from torch import Tensor


LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow's and torchvision's greyscale


def planes_of(mode: str, pixels: "Tensor", transparency: "Tensor | None") -> "Tensor":
    """Return the planes of a channel mode as floats in [0, 1].

    Args:
        pixels: uint8 (B, H, W, 3), RGB as decoded.
        transparency: uint8 (B, H, W), 255 - alpha; None if every image of the split is opaque.

    Returns:
        float32 (B, C, H, W), C = CHANNELS[mode].
    """
    import torch

    rgb = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    if mode == "rgb":
        return rgb
    if mode == "gray":
        return sum(weight * rgb[:, i : i + 1] for i, weight in enumerate(LUMA))
    alpha = torch.ones_like(rgb[:, :1])
    if transparency is not None:
        alpha -= transparency[:, None].to(torch.float32) / 255
    return torch.cat([rgb, alpha], 1)


def colour_planes(mode_channels: int) -> int:
    """Return how many of the first planes are colour, which colour operations change; the rest is alpha."""
    return min(mode_channels, 3)
