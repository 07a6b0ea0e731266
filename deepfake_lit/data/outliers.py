"""Training images that are turned into images of no class: as a generator might leave them that nobody knows.

Outlier exposure (Hendrycks, Mazeika and Dietterich 2019, arXiv 1812.04606) teaches a network to be unsure of images of
no class. Here they are made from the training images, in one of two ways that leave the subject as it is and change the
traces. A random filter close to the identity does so, as the augmentation models of POSE do (Yang et al. 2023, arXiv
2303.06877). Or the high frequencies are a mixture with those of an image of another class, as unknown classes are taken
to lie between the known ones (Zhou, Ye and Zhan 2021, arXiv 2103.15086).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from deepfake_lit.core.randomness import mix_tensor, uniform

SIDE = 5  # of the filters, in pixels
SMOOTH = (1, 4, 6, 4, 1)  # binomial filter that leaves the low frequencies
OWN = (0.3, 0.7)  # share of its own high frequencies that an image keeps, uniform
WEAKEST, STRONGEST = 0.03, 0.5  # lengths of what is added to the identity, drawn with equal chances by factors


def outliers(
    images: Tensor, labels: Tensor, keys: Tensor, chosen: Tensor, kind: str, size: int
) -> tuple[Tensor, Tensor]:
    """Return the images, float (B, C, H, W) in [0, 1], with the chosen ones turned into images of no class, and which
    these are, bool (B,).

    Args:
        labels: int64 (B,).
        keys: int64 (B,), from which random numbers are drawn.
        chosen: bool (B,).
        kind: filter, or traces, which leaves out chosen images without a partner of another class.
        size: number of images in a batch; a partner is of the same batch.
    """
    if kind == "filter":
        return filtered(images, keys, chosen), chosen
    others = torch.cat([part.roll(1) for part in labels.split(size)])
    chosen = chosen & (labels != others)
    return torch.where(chosen.view(-1, 1, 1, 1), with_traces_of_two(images, keys, size), images), chosen


def with_traces_of_two(images: Tensor, keys: Tensor, size: int) -> Tensor:
    """Return float (B, C, H, W) in [0, 1]: each image with a mixture of its own high frequencies and those of the image
    before it in its batch.

    Args:
        keys: int64 (B,), from which the shares are drawn.
        size: number of images in a batch.
    """
    planes = images.shape[1]
    smooth = torch.tensor(SMOOTH, dtype=images.dtype, device=images.device) / sum(SMOOTH)
    kernel = (smooth[:, None] * smooth).expand(planes, 1, SIDE, SIDE)
    low = F.conv2d(F.pad(images, (SIDE // 2,) * 4, mode="reflect"), kernel, groups=planes)
    high = images - low
    others = torch.cat([part.roll(1, 0) for part in high.split(size)])
    own = uniform(keys, "outlier_share", *OWN).to(images.dtype).view(-1, 1, 1, 1)
    return (low + own * high + (1 - own) * others).clamp(0, 1)


def filtered(images: Tensor, keys: Tensor, chosen: Tensor) -> Tensor:
    """Return float (B, C, H, W) in [0, 1]: the chosen images through a filter of their own, the others as they are.

    Args:
        keys: int64 (B,), from which the filters are drawn.
        chosen: bool (B,).
    """
    count, planes = images.shape[:2]
    places = torch.arange(SIDE * SIDE, device=keys.device)
    weights = uniform(mix_tensor(keys[:, None] + places), "outlier_filter", -1.0, 1.0)
    weights = weights - weights.mean(1, keepdim=True)  # brightness stays
    strength = torch.exp(uniform(keys, "outlier_strength", math.log(WEAKEST), math.log(STRONGEST)))
    weights = weights / weights.norm(dim=1, keepdim=True) * strength[:, None]
    kernels = weights.view(count, 1, SIDE, SIDE).repeat_interleave(planes, 0).to(images.dtype)
    padded = F.pad(images, (SIDE // 2,) * 4, mode="reflect").flatten(0, 1)[None]
    added = F.conv2d(padded, kernels, groups=count * planes)[0].view_as(images)
    return torch.where(chosen.view(-1, 1, 1, 1), (images + added).clamp(0, 1), images)
