"""Layers that several networks are made of."""

from torch import nn


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Build a convolution without bias, padded so that at stride 1 it keeps the side, and its batch norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def scaled(channels: int, width: float) -> int:
    """Return a layer's channels at a width: a multiple of 8, at least 8, and exactly `channels` at width 1."""
    return channels if width == 1 else max(8, round(channels * width / 8) * 8)
