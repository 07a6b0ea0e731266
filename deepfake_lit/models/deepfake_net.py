"""DeepFakeNet of report A: three blocks of two 3x3 convolutions, 288,549 parameters at 3 channels and 5 classes."""

from torch import Tensor, nn

from deepfake_lit.models.layers import scaled
from deepfake_lit.settings.kinds import DeepFakeNetConfig


def _block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Dropout(dropout),
    )


class DeepFakeNet(nn.Module):
    """DeepFakeNet, for images of at least 8 pixels a side. The report resizes to 128x128.

    Args:
        dropout: after each block; (0.25, 0.3, 0.4) in the report's DeepFakeNet, (0.25, 0.2, 0.2) in its improved one.
    """

    def __init__(self, in_channels: int, num_classes: int, width: float = 1.0, dropout=(0.25, 0.3, 0.4)):
        super().__init__()
        channels = [in_channels, *(scaled(c, width) for c in (32, 64, 128))]
        blocks = [_block(channels[i], channels[i + 1], p) for i, p in enumerate(dropout)]
        self.features = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images))


def build(cfg: DeepFakeNetConfig, in_channels: int, num_classes: int) -> DeepFakeNet:
    """Build a DeepFakeNet from its settings."""
    return DeepFakeNet(in_channels, num_classes, cfg.width, cfg.dropout)
