"""Build a network from the settings of a model. `build` in the module of the model's kind does the work."""

import importlib
from typing import Any

from torch import nn


def build_model(config: Any, in_channels: int, num_classes: int) -> nn.Module:
    """Build the network that the settings describe. Its weights are initialised from torch's generator.

    Args:
        config: one of the dataclasses of `settings.kinds`.

    Raises:
        UserError: timm has no model of that name.
    """
    return importlib.import_module(f"deepfake_lit.models.{config.kind}").build(config, in_channels, num_classes)
