"""From the settings of a model to its network."""

from torch import nn

from deepfake_lit.core.errors import UserError


def build_model(config, in_channels: int, num_classes: int) -> nn.Module:
    """The network of one of the configuration's model dataclasses, randomly initialised from torch's generator.

    Raises:
        UserError: timm has no model of that name.
    """
    if config.kind == "deepfake_net":
        from deepfake_lit.models.deepfake_net import DeepFakeNet

        return DeepFakeNet(in_channels, num_classes, config.width, config.dropout)
    if config.kind == "residual_cnn":
        from deepfake_lit.models.residual_cnn import ResidualCNN

        return ResidualCNN(in_channels, num_classes, config.width, config.dropout)
    if config.kind == "vgg16":
        from deepfake_lit.models.vgg import VGG16

        return VGG16(in_channels, num_classes, config.width, config.dropout)
    if config.kind == "whitening_cnn":
        from deepfake_lit.models.whitening_cnn import WhiteningCNN

        c = config
        settings = (
            c.width,
            c.dropout,
            c.patch,
            c.stride,
            c.learned,
            c.pooling,
            c.texture,
            c.padding,
            c.clip,
        )
        return WhiteningCNN(in_channels, num_classes, *settings)
    if config.kind == "timm":
        import timm

        if not timm.is_model(config.name):
            near = ", ".join(timm.list_models(f"*{config.name}*")[:5]) or "see timm.list_models()"
            raise UserError(f"timm has no model named {config.name!r}; similar: {near}")
        return timm.create_model(
            config.name,
            pretrained=config.pretrained,
            in_chans=in_channels,
            num_classes=num_classes,
            drop_rate=config.dropout,
        )
    raise UserError(f"unknown model kind {config.kind!r}")
