"""Any model of timm, by its name in timm."""

import timm
from torch import nn

from deepfake_lit.core.errors import UserError
from deepfake_lit.settings.kinds import TimmConfig


def build(cfg: TimmConfig, in_channels: int, num_classes: int) -> nn.Module:
    """Build a model of timm, or raise `UserError` if timm has no model of that name."""
    if not timm.is_model(cfg.name):
        near = ", ".join(timm.list_models(f"*{cfg.name}*")[:5]) or "see timm.list_models()"
        raise UserError(f"timm has no model named {cfg.name!r}; similar: {near}")
    channels = {"in_chans": in_channels, "num_classes": num_classes}
    return timm.create_model(cfg.name, pretrained=cfg.pretrained, drop_rate=cfg.dropout, **channels)
