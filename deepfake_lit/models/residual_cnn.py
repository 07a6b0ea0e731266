"""The residual CNN of report B: a stem and three stages of two blocks, 11,087,749 parameters at 4 channels.

The report's table gives stage 3 as 512 x 12 x 12, but a 3x3 convolution of stride 2 and padding 1 takes 25 to 13.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from deepfake_lit.models.layers import conv_bn, scaled
from deepfake_lit.settings.kinds import ResidualCNNConfig


class Block(nn.Module):
    """Residual block of two 3x3 convolutions. The skip is a 1x1 convolution if the shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first = conv_bn(inputs, outputs, 3, stride)
        self.second = conv_bn(outputs, outputs, 3)
        same = inputs == outputs and stride == 1
        # `forward` subsamples the pixels, which equals a stride in the 1x1 convolution. In bf16 with 8 channels, the
        # strided convolution of oneDNN writes beyond its memory (torch 2.14.1 on AVX512-bf16).
        self.stride = stride
        self.skip = nn.Identity() if same else conv_bn(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        skipped = self.skip(x[..., :: self.stride, :: self.stride])
        return F.relu(self.second(F.relu(self.first(x), inplace=True)) + skipped, inplace=True)


class ResidualCNN(nn.Module):
    """Stem, three stages that each halve the side, and a head with one hidden layer."""

    def __init__(self, cfg: ResidualCNNConfig, in_channels: int, num_classes: int):
        super().__init__()
        channels = [scaled(c, cfg.width) for c in (64, 128, 256, 512)]
        hidden = scaled(128, cfg.width)
        self.stem = nn.Sequential(conv_bn(in_channels, channels[0], 3), nn.ReLU(inplace=True))
        self.stages = nn.Sequential()
        for inputs, outputs in pairwise(channels):
            self.stages.append(nn.Sequential(Block(inputs, outputs, stride=2), Block(outputs, outputs, stride=1)))
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels[-1], hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(cfg.dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(images)))


build = ResidualCNN  # what `build_model` calls
