"""The networks: the reports' sizes, equality with torchvision, widths."""

from pathlib import Path

import pytest
import torch
import torchvision

from deepfake_lit.checkpoint import load_trained
from deepfake_lit.cli import compose
from deepfake_lit.data.datamodule import ImageDataModule
from deepfake_lit.errors import UserError
from deepfake_lit.kinds import (
    AdamWConfig,
    DeepFakeNetConfig,
    ResidualCNNConfig,
    TimmConfig,
    VGG16Config,
    WhiteningCNNConfig,
)
from deepfake_lit.models import build_model, scaled
from deepfake_lit.models.whitening_cnn import SMALLEST, whitening_filters
from deepfake_lit.modules import build_optimizer
from deepfake_lit.train import open_run_data, run

CONFIGS = [DeepFakeNetConfig(), ResidualCNNConfig(), VGG16Config(), WhiteningCNNConfig(), TimmConfig(name="resnet18")]


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


@pytest.mark.parametrize("cls", [DeepFakeNetConfig, ResidualCNNConfig, VGG16Config, WhiteningCNNConfig])
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


def test_whitening_filters_whiten():
    """Patches of the images that they were made of come out uncorrelated, of variance v / (v + 0.0005)."""
    random = torch.Generator().manual_seed(0)
    images = torch.nn.functional.avg_pool2d(torch.randn(60, 3, 40, 40, generator=random), 3, 1, 1)
    filters = whitening_filters([images], 4).flatten(1)
    patches = torch.nn.functional.unfold(images, 4).transpose(1, 2).reshape(-1, 48)
    before, after = torch.cov(patches.T), torch.cov((patches @ filters.T).T)
    values = torch.linalg.eigvalsh(before.double()).float()
    assert values[-1] / values[0] > 50
    torch.testing.assert_close(after, torch.diag(values / (values + SMALLEST)), rtol=0.01, atol=0.01)


def test_the_front_end_is_fixed_and_has_every_filter_with_its_negative():
    net = build_model(WhiteningCNNConfig(), 3, 5)
    net.calibrate([torch.randn(20, 3, 24, 24)])
    first, second = net.whiten.weight.split(48)
    assert torch.equal(first, -second)
    assert not net.whiten.weight.requires_grad
    trained = [p for p in net.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) + net.whiten.weight.numel() == parameters(net) == 1_193_605
    learned = build_model(WhiteningCNNConfig(learned=True), 3, 5)
    before = learned.whiten.weight.clone()
    learned.calibrate([torch.randn(20, 3, 24, 24)])
    assert torch.equal(learned.whiten.weight, before)
    assert learned.whiten.weight.requires_grad


@pytest.mark.parametrize(("patch", "stride", "side"), [(4, 2, 50), (3, 1, 100), (6, 2, 50), (4, 4, 25)])
def test_the_front_end_keeps_a_whole_share_of_the_side(patch, stride, side):
    net = build_model(WhiteningCNNConfig(width=0.125, patch=patch, stride=stride), 3, 5)
    assert net.whiten(torch.zeros(1, 3, 100, 100)).shape[-2:] == (side, side)


def test_a_constant_plane_is_no_trouble():
    """As alpha is in the competition's images: its eigenvalues are 0."""
    images = torch.cat([torch.randn(20, 3, 24, 24), torch.ones(20, 1, 24, 24)], 1)
    assert torch.isfinite(whitening_filters([images], 4)).all()


def test_a_run_takes_its_front_end_from_training_images_and_its_checkpoint_keeps_it(settings, tmp_path):
    overrides = [s for s in settings if not s.startswith("augment.")]
    cfg = compose([*overrides, "experiment=whitening_cnn", "trainer.max_epochs=1", f"output_dir={tmp_path}"])
    folder = run(cfg)[-1]["folder"]
    data = open_run_data(cfg)
    images = list(ImageDataModule(data, cfg.data, cfg.augment, cfg.seed).some_images(1000))
    assert sum(map(len, images)) == len(data.splits["train"])  # fewer than 1,000
    kept = load_trained(Path(folder) / "last.ckpt").net.whiten.weight
    filters = whitening_filters(images, 4)
    assert torch.equal(kept.detach(), torch.cat([filters, -filters]))


def test_weight_decay_can_be_left_off_biases_and_norms():
    net = build_model(WhiteningCNNConfig(width=0.125), 3, 5)
    optimizer = build_optimizer(AdamWConfig(weight_decay=0.05, matrices_only=True), net)
    decayed, free = optimizer.param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.05, 0.0)
    assert {p.dim() for p in free["params"]} == {1}
    assert sum(len(g["params"]) for g in optimizer.param_groups) == sum(p.requires_grad for p in net.parameters())
    assert len(build_optimizer(AdamWConfig(), net).param_groups) == 1
