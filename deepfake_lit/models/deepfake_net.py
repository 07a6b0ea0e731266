"""DeepFakeNet of report A: three blocks of two 3x3 convolutions, 288,549 parameters at 3 channels and 5 classes."""

from itertools import pairwise

from torch import Tensor, nn

from deepfake_lit.models.layers import conv_bn_relu, scaled
from deepfake_lit.settings.kinds import DeepFakeNetConfig


class DeepFakeNet(nn.Module):
    """DeepFakeNet, for images of at least 8 pixels a side. The report resizes to 128x128.

    Its dropout after each block is (0.25, 0.3, 0.4) in the report's DeepFakeNet, (0.25, 0.2, 0.2) in its improved one.
    """

    def __init__(self, cfg: DeepFakeNetConfig, in_channels: int, num_classes: int):
        super().__init__()
        channels = [in_channels, *(scaled(c, cfg.width) for c in (32, 64, 128))]
        blocks = []
        for (inputs, outputs), dropout in zip(pairwise(channels), cfg.dropout, strict=True):
            convolutions = conv_bn_relu(inputs, outputs) + conv_bn_relu(outputs, outputs)
            blocks.append(nn.Sequential(*convolutions, nn.MaxPool2d(2), nn.Dropout(dropout)))
        self.features = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images))


build = DeepFakeNet  # what `build_model` calls
