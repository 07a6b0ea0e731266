"""A small residual network behind a fixed whitening convolution.

The front end is airbench's (Jordan 2024, arXiv 2404.00498): filters that whiten the training images' patches, and their
negatives. Images have most of their power at low frequencies and generators leave their traces at high ones; whitened,
both count alike. On the competition's images the eigenvalues of 4x4 patches differ by a factor of 40,000.
"""

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepfake_lit.models.layers import conv_bn, scaled
from deepfake_lit.models.texture import TextureNorm, build_texture
from deepfake_lit.settings.kinds import WhiteningCNNConfig

SMALLEST = 5e-4  # added to the eigenvalues, so that patches' noise is not lifted without a limit
PATCHES = 2**28  # bytes of them at a time


class Stage(nn.Module):
    """A 3x3 convolution, and one that is added to it."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first, self.second = conv_bn(inputs, outputs, 3), conv_bn(outputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x), inplace=True)
        return F.relu(x + self.second(x), inplace=True)


class WhiteningCNN(nn.Module):
    """
    Args:
        patch, stride: of the whitening convolution. At stride 1 a maximum over 2x2 places follows.
        padding: zeros around the image, so that the feature map has its side over the stride (even patches at stride 1:
            one place more).
        clip: whitened responses' largest value; most filters' have deviation 1 over the training patches.
        learned: the same front end without whitening: its filters start at random and are trained.
        pooling: of the last feature map: avg, or avg_max for both side by side.
        texture: what stands beside the pooled features, behind a batch norm: gram, residuals, spectrum of texture.py.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: float = 1.0,
        dropout: float = 0.0,
        patch: int = 4,
        stride: int = 2,
        learned: bool = False,
        pooling: str = "avg",
        texture: str | None = None,
        padding: bool = True,
        clip: float | None = None,
    ):
        super().__init__()
        channels = [scaled(c, width) for c in (64, 64, 128, 256)]
        filters = 2 * in_channels * patch * patch
        zeros = (patch - stride + 1) // 2 if padding else 0
        self.whiten = nn.Conv2d(in_channels, filters, patch, stride, padding=zeros, bias=False)
        self.whiten.requires_grad_(learned)
        self.learned, self.pooling, self.clip = learned, pooling, clip
        conv, norm = conv_bn(filters, channels[0], 1)
        smaller = [nn.MaxPool2d(2)] if stride == 1 else []  # before the norm, which then has a quarter of the work
        self.mix = nn.Sequential(conv, *smaller, norm, nn.ReLU(inplace=True))
        self.stages = nn.ModuleList(Stage(*pair) for pair in pairwise(channels))
        features = channels[-1] * (2 if pooling == "avg_max" else 1)
        if texture:
            self.texture = build_texture(texture, in_channels, channels[0])
            self.texture_norm = TextureNorm(self.texture.features)
            features += self.texture.features
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        whitened = F.relu(self.whiten(images), inplace=True)
        x = first = self.mix(whitened if self.clip is None else whitened.clamp(max=self.clip))
        for i, stage in enumerate(self.stages):
            x = stage(F.max_pool2d(x, 2) if i else x)
        # In float32: in bf16 the logits of the surest two classes of some images come out alike.
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
        """Set the front end by the patches of training images, batches of float (N, C, H, W), normalised as in
        training."""
        if self.learned:
            return
        filters = whitening_filters(images, self.whiten.kernel_size[0])
        self.whiten.weight.copy_(torch.cat([filters, -filters]))


def whitening_filters(images: Iterable[Tensor], patch: int) -> Tensor:
    """float32 (D, C, P, P), D = C * P * P: the eigenvectors of the covariance of all patches, each over the root of its
    eigenvalue plus `SMALLEST`.

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


def build(cfg: WhiteningCNNConfig, in_channels: int, num_classes: int) -> WhiteningCNN:
    return WhiteningCNN(in_channels, num_classes, **{k: v for k, v in vars(cfg).items() if k != "kind"})
