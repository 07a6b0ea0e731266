"""RandAugment (Cubuk et al. 2020, arXiv 1909.13719) on whole batches, with independent operations per sample.

The operations and their strengths are those of torchvision's `RandAugment` (14 operations, 31 magnitude bins). The
geometric ones become one matrix per sample and one warp. The colour ones are computed for the whole batch and selected
per sample: no shape depends on the data, so a GPU never waits.
"""

import math

import torch
from torch import Tensor

from deepfake_lit.core.randomness import chance, uniform
from deepfake_lit.data import colour
from deepfake_lit.data.channels import colour_planes
from deepfake_lit.data.warp import affine, warp

BINS = 31
OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "saturation",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
GEOMETRIC = OPERATIONS[1:6]


def strengths(magnitude: int, width: int, height: int) -> dict[str, float]:
    """Return torchvision's strength of each operation at a magnitude in 0..30."""
    share = magnitude / (BINS - 1)
    return {
        "shear_x": math.degrees(math.atan(0.3 * share)),
        "shear_y": math.degrees(math.atan(0.3 * share)),
        "translate_x": float(int(150 / 331 * width * share)),
        "translate_y": float(int(150 / 331 * height * share)),
        "rotate": 30 * share,
        "factor": 0.9 * share,  # brightness, saturation, contrast and sharpness use 1 +- this
        "bits": 8.0 - round(magnitude / ((BINS - 1) / 4)),
        "threshold": 1 - share,
    }


def apply(images: Tensor, operation: Tensor, sign: Tensor, magnitude: int, interpolation: str, fill: float) -> Tensor:
    """Apply one operation to each sample.

    Args:
        images: float (B, C, H, W) in [0, 1]; geometric operations move every plane, colour ones do not change alpha.
        operation: int64 (B,), positions in OPERATIONS.
        sign: (B,), -1 or 1, for the operations that have two directions.
    """
    strength = strengths(magnitude, images.shape[-1], images.shape[-2])
    # Resampling by the identity is not exact, so an image that must not move is kept bit for bit.
    moved = ((operation > 0) & (operation <= len(GEOMETRIC))).view(-1, 1, 1, 1)
    matrices = _matrices(operation, sign, strength, images)
    images = torch.where(moved, warp(images, matrices, interpolation, fill), images)
    planes = colour_planes(images.shape[1])
    rgb = images[:, :planes]
    factor = 1 + sign * strength["factor"]
    results = {
        "brightness": lambda: colour.brightness(rgb, factor),
        "saturation": lambda: colour.saturation(rgb, factor),
        "contrast": lambda: colour.contrast(rgb, factor),
        "sharpness": lambda: colour.sharpness(rgb, factor),
        "posterize": lambda: colour.posterize(rgb, torch.full_like(factor, strength["bits"])),
        "solarize": lambda: colour.solarize(rgb, torch.full_like(factor, strength["threshold"])),
        "autocontrast": lambda: colour.autocontrast(rgb),
        "equalize": lambda: colour.equalize(rgb),
    }
    changed = rgb
    for name, result in results.items():
        chosen = (operation == OPERATIONS.index(name)).view(-1, 1, 1, 1)
        changed = torch.where(chosen, result(), changed)
    return torch.cat([changed, images[:, planes:]], 1)


def _matrices(operation: Tensor, sign: Tensor, strength: dict[str, float], images: Tensor) -> Tensor:
    def amount(name: str) -> Tensor:
        return torch.where(operation == OPERATIONS.index(name), sign * strength[name], 0.0)

    one = torch.ones_like(sign)
    shear_x, shear_y = amount("shear_x"), amount("shear_y")
    # RandAugment shears about the top left corner, which equals the same shear about the centre and a shift.
    shift_x = torch.tan(torch.deg2rad(shear_x)) * (images.shape[-2] / 2)
    shift_y = torch.tan(torch.deg2rad(shear_y)) * (images.shape[-1] / 2)
    return affine(
        -amount("rotate"),  # affine turns clockwise, RandAugment counter-clockwise
        amount("translate_x") - shift_x,
        amount("translate_y") - shift_y,
        one,
        shear_x,
        shear_y,
    )


def randaugment(images: Tensor, keys: Tensor, ops: int, magnitude: int, interpolation: str, fill: float) -> Tensor:
    """Apply `ops` random operations of one magnitude to each sample, one after the other."""
    for i in range(ops):
        operation = uniform(keys, f"randaugment/{i}", 0, len(OPERATIONS)).long()
        sign = torch.where(chance(keys, f"randaugment/{i}/sign", 0.5), -1.0, 1.0)
        images = apply(images, operation, sign, magnitude, interpolation, fill)
    return images
