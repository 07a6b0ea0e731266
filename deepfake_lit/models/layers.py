"""Layers that several networks share."""

from torch import nn


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Build a convolution without bias, then batch norm. The padding keeps the side at stride 1 for odd kernels."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def conv_bn_relu(inputs: int, outputs: int) -> list[nn.Module]:
    """Build a 3x3 convolution with bias that keeps the side, batch norm and ReLU, as layers of an `nn.Sequential`."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def scaled(channels: int, width: float) -> int:
    """Scale a number of channels: to a multiple of 8, at least 8, and to exactly `channels` at width 1."""
    return channels if width == 1 else max(8, round(channels * width / 8) * 8)
