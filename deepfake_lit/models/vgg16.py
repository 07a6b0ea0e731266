"""VGG16 with batch norm (Simonyan and Zisserman 2015, arXiv 1409.1556), from scratch, as in report A.

At width 1 and 3 channels it equals torchvision's `vgg16_bn` layer by layer, which a test checks. torchvision's has no
width multiplier and takes only 3 channels.
"""

from torch import Tensor, nn

from deepfake_lit.models.layers import conv_bn_relu, scaled
from deepfake_lit.settings.kinds import VGG16Config

GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(nn.Module):
    """VGG16 for images of at least 32 pixels a side. The report resizes to 128x128.

    Its width is a factor of the channels of the convolutions and of the 4096 units of the two hidden layers.
    """

    def __init__(self, cfg: VGG16Config, in_channels: int, num_classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = in_channels
        for group in GROUPS:
            for channels in group:
                outputs = scaled(channels, cfg.width)
                layers += conv_bn_relu(inputs, outputs)
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        hidden = scaled(4096, cfg.width)
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(inputs * 49, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(cfg.dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(cfg.dropout),
            nn.Linear(hidden, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(images)).flatten(1))


build = VGG16  # what `build_model` calls
