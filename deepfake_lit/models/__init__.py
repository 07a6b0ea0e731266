"""The networks: plain modules that turn images (B, C, H, W) into logits (B, K)."""

from torch import nn

from deepfake_lit.core.errors import UserError
