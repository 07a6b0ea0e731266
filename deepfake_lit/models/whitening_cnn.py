"""A small residual network behind a fixed whitening convolution.

The front end is airbench's (Jordan 2024, arXiv 2404.00498): filters that whiten the training images' patches, and their
negatives. Images have most of their power at low frequencies, and generators leave their traces at high ones. Whitening
gives both the same weight. On the competition's images the eigenvalues of 4x4 patches differ by a factor of 40,000.
"""

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepfake_lit.models.layers import conv_bn, scaled
from deepfake_lit.models.texture import TextureNorm, build_texture
from deepfake_lit.settings.kinds import WhiteningCNNConfig

SMALLEST = 5e-4  # added to the eigenvalues, which limits how much the noise of patches is amplified
PATCHES = 2**28  # most bytes of patches in memory at a time


class Stage(nn.Module):
    """A 3x3 convolution, and a second one with a skip around it."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first, self.second = conv_bn(inputs, outputs, 3), conv_bn(outputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x), inplace=True)
        return F.relu(x + self.second(x), inplace=True)


class WhiteningCNN(nn.Module):
    """Whitening convolution, three stages of two convolutions, pooling and one linear layer.

    Settings:
        patch, stride: side and stride of the whitening filters. At stride 1, max pooling over 2x2 pixels follows.
        padding: pad the image with zeros, so that the side of the feature map is that of the image divided by the
            stride (for even patches at stride 1: one pixel more).
        clip: largest value of whitened responses. Most filters' have deviation 1 over the training patches.
        learned: train the filters from random ones and do not whiten. The front end is otherwise the same.
        pooling: avg, or avg_max for the average and the maximum of the last feature map, concatenated.
        texture: gram, residuals or spectrum of texture.py, concatenated with the pooled features after a batch norm.
    """

    def __init__(self, cfg: WhiteningCNNConfig, in_channels: int, num_classes: int):
        super().__init__()
        channels = [scaled(c, cfg.width) for c in (64, 64, 128, 256)]
        filters = 2 * in_channels * cfg.patch * cfg.patch
        zeros = (cfg.patch - cfg.stride + 1) // 2 if cfg.padding else 0
        self.whiten = nn.Conv2d(in_channels, filters, cfg.patch, cfg.stride, padding=zeros, bias=False)
        self.whiten.requires_grad_(cfg.learned)
        self.learned, self.pooling, self.clip = cfg.learned, cfg.pooling, cfg.clip
        conv, norm = conv_bn(filters, channels[0], 1)
        # Before the norm, so that it works on a quarter of the pixels.
        smaller = [nn.MaxPool2d(2)] if cfg.stride == 1 else []
        self.mix = nn.Sequential(conv, *smaller, norm, nn.ReLU(inplace=True))
        self.stages = nn.ModuleList(Stage(*pair) for pair in pairwise(channels))
        features = channels[-1] * (2 if cfg.pooling == "avg_max" else 1)
        if cfg.texture:
            self.texture = build_texture(cfg.texture, in_channels, channels[0])
            self.texture_norm = TextureNorm(self.texture.features)
            features += self.texture.features
        self.dropout = nn.Dropout(cfg.dropout)
        self.classifier = nn.Linear(features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        whitened = F.relu(self.whiten(images), inplace=True)
        x = first = self.mix(whitened if self.clip is None else whitened.clamp(max=self.clip))
        for i, stage in enumerate(self.stages):
            x = stage(F.max_pool2d(x, 2) if i else x)
        # In float32, because in bf16 the two largest logits of some images come out equal.
        with torch.autocast(images.device.type, enabled=False):
            x = x.float()
            pooled = [x.mean((2, 3))]
            if self.pooling == "avg_max":
                pooled.append(x.amax((2, 3)))
            if hasattr(self, "texture"):
                pooled.append(self.texture_norm(self.texture(images, first)))
            return self.classifier(self.dropout(torch.cat(pooled, 1)))

    @torch.no_grad()
    def calibrate(self, images: Iterable[Tensor]) -> None:
        """Set the whitening filters from batches of training images, float (N, C, H, W), normalised as in training."""
        if self.learned:
            return
        filters = whitening_filters(images, self.whiten.kernel_size[0])
        self.whiten.weight.copy_(torch.cat([filters, -filters]))


def whitening_filters(images: Iterable[Tensor], patch: int) -> Tensor:
    """Return whitening filters, float32 (D, C, P, P) with D = C * P * P.

    They are the eigenvectors of the covariance of all patches, divided by sqrt(eigenvalue + `SMALLEST`).

    Args:
        images: batches of float (N, C, H, W), on the CPU.
    """
    total, products, count = 0.0, 0.0, 0
    for batch in images:
        channels, height, width = batch.shape[1:]
        size = channels * patch * patch
        for chunk in batch.split(max(1, PATCHES // (4 * size * height * width))):
            patches = F.unfold(chunk.float(), patch)
            total = total + patches.sum((0, 2), dtype=torch.float64)
            products = products + torch.einsum("bip,bjp->ij", patches, patches).double()
            count += patches.shape[0] * patches.shape[2]
    mean = total / count
    values, vectors = torch.linalg.eigh(products / count - torch.outer(mean, mean))
    filters = vectors / torch.sqrt(values.clamp_min(0) + SMALLEST)
    return filters.T.float().reshape(size, channels, patch, patch)


build = WhiteningCNN  # what `build_model` calls
