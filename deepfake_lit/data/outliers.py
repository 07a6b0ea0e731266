"""Training images that are turned into images of no class: as a generator might leave them that nobody knows.

Outlier exposure (Hendrycks, Mazeika and Dietterich 2019, arXiv 1812.04606) teaches a network to be unsure of images of
no class. Here they are made from the training images: a random filter close to the identity leaves the subject as it is
and changes the traces, as the augmentation models of POSE do (Yang et al. 2023, arXiv 2303.06877).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from deepfake_lit.core.randomness import mix_tensor, uniform

SIDE = 5  # of the filters, in pixels
WEAKEST, STRONGEST = 0.03, 0.5  # lengths of what is added to the identity, drawn with equal chances by factors


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
