"""Any model of timm, by its name in timm."""

import logging

import timm
from torch import nn

from deepfake_lit.core.errors import UserError
from deepfake_lit.settings.kinds import TimmConfig


def build(cfg: TimmConfig, in_channels: int, num_classes: int) -> nn.Module:
    """Build a model of timm.

    Raises:
        UserError: timm has no model of that name, or its trained weights cannot be read or downloaded.
    """
    if not timm.is_model(cfg.name):
        near = ", ".join(timm.list_models(f"*{cfg.name}*")[:5]) or "see timm.list_models()"
        raise UserError(f"timm has no model named {cfg.name!r}; similar: {near}")
    options = {"in_chans": in_channels, "num_classes": num_classes, "drop_rate": cfg.dropout}
    if not cfg.pretrained:
        return timm.create_model(cfg.name, **options)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # else it tells of every retry
    overlay = {"file": cfg.pretrained_file} if cfg.pretrained_file else None
    try:
        return timm.create_model(cfg.name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except Exception as error:  # of the network, the hub's library, torch, or the file's format
        where = cfg.pretrained_file or "they are downloaded"
        reason = f"{type(error).__name__} {error}".strip().splitlines()[0].partition(". ")[0]
        raise UserError(
            f"the trained weights of {cfg.name} cannot be had ({where}: {reason})\n"
            "without network: model.pretrained_file=FILE of weights that timm can read; else model.pretrained=false"
        ) from None
