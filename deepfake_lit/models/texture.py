"""Texture features (B, D) of images or feature maps, which are concatenated with a network's pooled features.

They are computed in float32, because second moments and logarithms need its precision.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK = 8  # side of a block of the spectrum in pixels, as in JPEG
SMALLEST = 1e-3  # added to magnitudes before a logarithm, and to deviations; the network's input is of order 1
DEVIATIONS = 1.5  # an image's residuals are clipped at this many, so that edges do not outweigh texture


class BlockSpectrum(nn.Module):
    """Mean logarithm of the magnitudes of DCT coefficients over an image's 8x8 blocks, D = 64 C.

    Frank et al. 2020 (arXiv 2003.08685) recognise generators by the DCT.
    """

    def __init__(self, channels: int):
        super().__init__()
        place = torch.arange(BLOCK)
        basis = torch.cos(math.pi / BLOCK * (place + 0.5) * place[:, None]) * math.sqrt(2 / BLOCK)
        basis[0] /= math.sqrt(2)
        kernels = torch.einsum("ur,vc->uvrc", basis, basis).reshape(-1, 1, BLOCK, BLOCK)
        self.register_buffer("kernels", kernels.repeat(channels, 1, 1, 1), persistent=False)
        self.channels, self.features = channels, len(self.kernels)

    def forward(self, images: Tensor, first: Tensor) -> Tensor:
        coefficients = F.conv2d(images.float(), self.kernels, stride=BLOCK, groups=self.channels)
        return torch.log(coefficients.abs() + SMALLEST).mean((2, 3))


class ResidualMoments(nn.Module):
    """Second moments of the positive and negative parts of clipped noise residuals, D = 5 C (10 C + 1).

    The residuals are first and second differences along rows and columns and the 3x3 "SQUARE" of Fridrich and Kodovsky
    2012 ("Rich models for steganalysis of digital images"). Each is divided by its deviation in the image.
    """

    def __init__(self, channels: int):
        super().__init__()
        first = torch.tensor([[0.0, 0, 0], [0, -1, 1], [0, 0, 0]])
        second = torch.tensor([[0.0, 0, 0], [1, -2, 1], [0, 0, 0]])
        square = torch.tensor([[-1.0, 2, -1], [2, -4, 2], [-1, 2, -1]])
        kernels = torch.stack([first, first.T, second, second.T, square])[:, None]
        self.register_buffer("kernels", kernels.repeat(channels, 1, 1, 1), persistent=False)
        self.channels, halves = channels, 2 * len(self.kernels)
        self.features = halves * (halves + 1) // 2

    def forward(self, images: Tensor, first: Tensor) -> Tensor:
        residuals = F.conv2d(images.float(), self.kernels, groups=self.channels).flatten(2)
        deviation = torch.sqrt(residuals.square().mean(2, keepdim=True) + SMALLEST**2)
        relative = (residuals / deviation).clamp(-DEVIATIONS, DEVIATIONS)
        return second_moments(torch.cat([relative, -relative], 1).clamp_min(0))


class Gram(nn.Module):
    """Second moments of the network's first feature map of F channels, D = F (F + 1) / 2.

    Liu et al. 2020, "Global texture enhancement for fake face detection in the wild", arXiv 2002.00133.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.features = channels * (channels + 1) // 2

    def forward(self, images: Tensor, first: Tensor) -> Tensor:
        return second_moments(first.float().flatten(2))


class TextureNorm(nn.BatchNorm1d):
    """Batch norm that uses its running statistics for a batch of one image, which can be the last of an epoch."""

    def forward(self, features: Tensor) -> Tensor:
        if self.training and len(features) == 1:
            return F.batch_norm(features, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(features)


def second_moments(values: Tensor) -> Tensor:
    """Return the roots, float32 (B, F (F + 1) / 2), of the mean products of non-negative values (B, F, P)."""
    moments = values @ values.transpose(1, 2) / values.shape[2]
    rows, columns = torch.triu_indices(*moments.shape[1:], device=values.device)
    return torch.sqrt(moments[:, rows, columns] + SMALLEST**2)


def build_texture(kind: str, in_channels: int, map_channels: int) -> nn.Module:
    """Build the texture features of a kind: gram, residuals or spectrum."""
    if kind == "gram":
        return Gram(map_channels)
    return {"spectrum": BlockSpectrum, "residuals": ResidualMoments}[kind](in_channels)
