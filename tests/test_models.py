"""The networks: the reports' sizes, equality with torchvision, widths."""

import pytest
import torch
import torchvision

from deepfake_lit.errors import UserError
from deepfake_lit.models import build_model, scaled
from deepfake_lit.schema import DeepFakeNetConfig, ResidualCNNConfig, TimmConfig, VGG16Config

CONFIGS = [DeepFakeNetConfig(), ResidualCNNConfig(), VGG16Config(), TimmConfig(name="resnet18")]


def parameters(net) -> int:
    return sum(p.numel() for p in net.parameters())


def test_the_reports_parameter_counts():
    assert parameters(build_model(DeepFakeNetConfig(), 3, 5)) == 288_549
    assert parameters(build_model(ResidualCNNConfig(), 4, 5)) == 11_087_749


def test_vgg16_is_torchvisions():
    with torch.device("meta"):  # 134 million parameters: only names and shapes are compared
        ours, theirs = build_model(VGG16Config(), 3, 5), torchvision.models.vgg16_bn(num_classes=5)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    assert [type(m) for m in ours.features] == [type(m) for m in theirs.features]


def test_vgg16_computes_what_torchvision_computes():
    ours, theirs = build_model(VGG16Config(), 3, 5).eval(), torchvision.models.vgg16_bn(num_classes=5).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x))


def test_residual_cnn_has_the_reports_feature_maps():
    """At 100x100; the last one is 13, where the report's table says 12."""
    net = build_model(ResidualCNNConfig(width=0.125), 4, 5)
    x, sides = torch.randn(2, 4, 100, 100), []
    x = net.stem(x)
    sides.append(x.shape[-1])
    for stage in net.stages:
        x = stage(x)
        sides.append(x.shape[-1])
    assert sides == [100, 50, 25, 13]


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda c: c.kind)
@pytest.mark.parametrize(("channels", "classes", "side"), [(1, 2, 32), (4, 7, 50)])
def test_any_channels_classes_and_size(cfg, channels, classes, side):
    net = build_model(cfg, channels, classes) if cfg.kind == "timm" else build_model(_slim(cfg), channels, classes)
    assert net(torch.randn(2, channels, side, side)).shape == (2, classes)


def _slim(cfg):
    return type(cfg)(width=0.125)


@pytest.mark.parametrize("cls", [DeepFakeNetConfig, ResidualCNNConfig, VGG16Config])
def test_width_slims(cls):
    quarter, half = (parameters(build_model(cls(width=w), 3, 5)) for w in (0.25, 0.5))
    assert quarter < half / 3


def test_scaled_channels():
    assert [scaled(c, 0.3) for c in (8, 64, 512)] == [8, 16, 152]
    assert scaled(100, 1.0) == 100


def test_dropout_per_block():
    net = build_model(DeepFakeNetConfig(dropout=[0.25, 0.2, 0.1]), 3, 5)
    assert [m.p for m in net.modules() if isinstance(m, torch.nn.Dropout)] == [0.25, 0.2, 0.1]


def test_an_unknown_timm_model_is_named_with_its_neighbours():
    with pytest.raises(UserError, match=r"resnet18x.*similar"):
        build_model(TimmConfig(name="resnet18x"), 3, 5)
    with pytest.raises(UserError, match="resnet"):
        build_model(TimmConfig(name="resnet1"), 3, 5)
