"""Colour operations on whole batches, each with a parameter per sample, as in torchvision's functional API.

Images are float (B, C, H, W) in [0, 1] with three colour planes, or one grey plane, on which saturation and hue have no
effect. Parameters are (B,). Results lie in [0, 1].
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from deepfake_lit.data.channels import LUMA


def grey(images: Tensor) -> Tensor:
    """Return the luma of RGB images, (B, 1, H, W); grey images are returned unchanged."""
    if images.shape[1] == 1:
        return images
    return sum(weight * images[:, i : i + 1] for i, weight in enumerate(LUMA))


def blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Return factor * images + (1 - factor) * other: factor 1 keeps the image, factors above 1 extrapolate."""
    return torch.lerp(other.expand_as(images), images, factor.view(-1, 1, 1, 1)).clamp_(0, 1)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    return (images * factor.view(-1, 1, 1, 1)).clamp_(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    return blend(images, grey(images).mean((-3, -2, -1), keepdim=True), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    return blend(images, grey(images), factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend each image with a 3x3 smoothed copy that keeps the image's border pixels, as in Pillow."""
    rows = images[..., :-2, :] + images[..., 1:-1, :] + images[..., 2:, :]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    softened = images.clone()
    softened[..., 1:-1, 1:-1] = (box + 4 * images[..., 1:-1, 1:-1]) / 13  # the kernel: 5 in the centre, 1 around it
    return blend(images, softened, factor)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Rotate the hue by a fraction of the colour circle, in [-0.5, 0.5]."""
    if images.shape[1] == 1:
        return images
    r, g, b = images.unbind(1)
    value, low = images.amax(1), images.amin(1)
    chroma = value - low
    safe = torch.where(chroma == 0, 1, chroma)
    turn = torch.where(value == r, (g - b) / safe, torch.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    turn = (turn + 6 * shift.view(-1, 1, 1)) % 6
    # Each plane is the value minus the chroma times the distance to that plane's hue (Smith 1978, the hexcone model).
    planes = []
    for offset in (5, 3, 1):
        k = (offset + turn) % 6
        planes.append(value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1))
    return torch.stack(planes, 1).clamp_(0, 1)


def gaussian_blur(images: Tensor, sigma: Tensor, kernel: int) -> Tensor:
    """Blur with a separable Gaussian and reflected borders; sigma in pixels, kernel the odd side of the window."""
    r = kernel // 2
    x = torch.arange(-r, r + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-0.5 * (x / sigma.view(-1, 1)) ** 2)
    taps = (weights / weights.sum(1, keepdim=True)).view(-1, kernel, 1, 1, 1).unbind(1)
    # A sum of shifted images, because a convolution's rounding depends on the batch and on the device's algorithm.
    height, width = images.shape[-2:]
    padded = F.pad(images, (r, r, r, r), mode="reflect")
    rows = sum(tap * padded[..., i : i + width] for i, tap in enumerate(taps))
    return sum(tap * rows[..., i : i + height, :] for i, tap in enumerate(taps))


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the upper bits of each 8-bit value; `bits` is float (B,) with whole numbers in 0..8."""
    step = torch.exp2(8 - bits).view(-1, 1, 1, 1)
    return torch.floor(_bytes(images) / step) * step / 255


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert all values at or above the threshold, which is in [0, 1]."""
    return torch.where(images >= threshold.view(-1, 1, 1, 1), 1 - images, images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each plane to [0, 1]; a constant plane is not changed."""
    low, high = images.amin((-2, -1), keepdim=True), images.amax((-2, -1), keepdim=True)
    span = high - low
    return torch.where(span == 0, images, (images - low) / torch.where(span == 0, 1, span))


def equalize(images: Tensor) -> Tensor:
    """Equalise the histogram of each plane of 8-bit values, with Pillow's rounding."""
    values = _bytes(images).long().flatten(-2)
    histogram = torch.zeros(*values.shape[:2], 256, dtype=torch.long, device=images.device)
    histogram.scatter_add_(-1, values, torch.ones_like(values))
    total = values.shape[-1]
    level = torch.arange(256, device=images.device)
    brightest = torch.where(histogram > 0, level, 0).amax(-1, keepdim=True)
    step = (total - histogram.gather(-1, brightest)) // 255  # pixels per level, without the brightest level
    before = histogram.cumsum(-1) - histogram
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    table = torch.where(step == 0, level, table)
    return table.gather(-1, values).view(images.shape).to(images.dtype) / 255


def _bytes(images: Tensor) -> Tensor:
    return torch.round(images * 255)
