"""From the settings of a model to its network. `build` in the module of the model's kind makes it."""

import importlib
from typing import Any

from torch import nn


def build_model(config: Any, in_channels: int, num_classes: int) -> nn.Module:
    """Build the network of a model's settings, initialised from torch's generator.

    Args:
        config: one of the dataclasses of `settings.kinds`.

    Raises:
        UserError: timm has no model of that name.
    """
    return importlib.import_module(f"deepfake_lit.models.{config.kind}").build(config, in_channels, num_classes)
