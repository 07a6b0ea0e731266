"""The networks: the reports' sizes, equality with torchvision, widths."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from scipy.fft import dctn
from torch.nn import functional as F

from deepfake_lit.core.errors import UserError
from deepfake_lit.data.datamodule import ImageDataModule
from deepfake_lit.models import texture
from deepfake_lit.models.build import build_model
from deepfake_lit.models.layers import scaled
from deepfake_lit.models.whitening_cnn import SMALLEST, whitening_filters
from deepfake_lit.prediction.trained import load_trained
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.identity import fingerprint
from deepfake_lit.settings.kinds import (
    AdamWConfig,
    DeepFakeNetConfig,
    MuonConfig,
    OneCycleConfig,
    ResidualCNNConfig,
    TimmConfig,
    VGG16Config,
    WhiteningCNNConfig,
)
from deepfake_lit.training.build import check_fits
from deepfake_lit.training.lineage import pinned
from deepfake_lit.training.optimizers import build_optimizer, build_scheduler
from deepfake_lit.training.run import open_run_data, run

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
    folder = run(cfg).main.folder
    data = open_run_data(cfg)
    images = list(ImageDataModule(data, cfg.data, cfg.augment, cfg.seed).some_images(1000))
    assert sum(map(len, images)) == len(data.splits["train"])  # fewer than 1,000
    kept = load_trained(Path(folder) / "last.ckpt").net.whiten.weight
    filters = whitening_filters(images, kept.shape[-1])
    assert torch.equal(kept.detach(), torch.cat([filters, -filters]))


def test_the_front_end_without_padding_and_with_a_limit():
    images = torch.randn(2, 3, 32, 32)
    padded, bare = (build_model(WhiteningCNNConfig(width=0.125, padding=p), 3, 5) for p in (True, False))
    assert padded.whiten(images).shape[-1] == 16
    assert bare.whiten(images).shape[-1] == 15
    torch.manual_seed(0)
    limited = build_model(WhiteningCNNConfig(width=0.125, clip=0.5), 3, 5).eval()
    torch.manual_seed(0)
    free = build_model(WhiteningCNNConfig(width=0.125), 3, 5).eval()
    whitened = F.relu(free.whiten(images))
    assert whitened.max() > 0.5
    assert not torch.equal(limited(images), free(images))
    limited.mix.register_forward_pre_hook(lambda _, seen: torch.testing.assert_close(seen[0], whitened.clamp(max=0.5)))
    limited(images)


def test_the_block_spectrum_is_scipys():
    images = torch.randn(4, 3, 24, 16, dtype=torch.float64)
    blocks = images.numpy().reshape(4, 3, 3, 8, 2, 8).transpose(0, 1, 2, 4, 3, 5)
    expected = np.log(np.abs(dctn(blocks, axes=(4, 5), norm="ortho")) + texture.SMALLEST).mean((2, 3))
    found = texture.BlockSpectrum(3)(images, images)
    np.testing.assert_allclose(found.numpy(), expected.reshape(4, -1), atol=1e-3)


def test_residual_moments_see_texture_and_neither_contrast_nor_colour():
    moments, images = texture.ResidualMoments(3), torch.randn(4, 3, 32, 32)
    found = moments(images, images)
    assert found.shape == (4, moments.features) == (4, 15 * 31)
    torch.testing.assert_close(moments(5 * images + 3, images), found, atol=1e-2, rtol=0)
    smooth = moments(F.avg_pool2d(images, 3, 1, padding=1), images)
    assert (smooth - found).abs().max() > 0.1
    # First of its residuals: differences along the rows, whose upper half has this second moment.
    differences = images[:, 0, 1:-1, 2:] - images[:, 0, 1:-1, 1:-1]
    deviation = differences.square().mean((1, 2), keepdim=True).sqrt()
    upper = (differences / deviation).clamp(0, texture.DEVIATIONS)
    torch.testing.assert_close(found[:, 0], upper.square().mean((1, 2)).sqrt(), atol=1e-2, rtol=0)


def test_gram_is_the_second_moments_of_the_first_feature_map():
    first = torch.rand(3, 4, 5, 6)
    found = texture.Gram(4)(first, first)
    expected = torch.einsum("bfyx,bgyx->bfg", first, first) / 30
    torch.testing.assert_close(found.square(), expected[:, *torch.triu_indices(4, 4)], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["gram", "residuals", "spectrum"])
def test_texture_reaches_the_logits_in_float32(kind):
    net = build_model(WhiteningCNNConfig(width=0.125, texture=kind), 3, 5).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        net.classifier.weight[:, : -net.texture.features] = 0  # nothing else speaks
        plain = net(images)
        assert plain.std(0).min() > 0
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(net(images).float(), plain, atol=0.05, rtol=0.05)


def test_a_batch_of_one_image_has_a_texture_too():
    net = build_model(WhiteningCNNConfig(width=0.125, texture="gram"), 3, 5)
    images = torch.randn(4, 3, 32, 32)
    for _ in range(50):
        net(images)
    mean = net.texture_norm.running_mean.clone()
    alone = net.texture_norm(net.texture(images[:1], net.mix(F.relu(net.whiten(images[:1])))))
    assert torch.equal(net.texture_norm.running_mean, mean)
    assert alone.abs().max() < 10


def test_a_flat_image_has_gradients():
    flat = torch.zeros(2, 3, 16, 16, requires_grad=True)
    texture.ResidualMoments(3)(flat, flat).sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_one_cycle_turns_the_momentum_unless_told_not_to():
    for cycle, expected in ((True, 0.95), (False, 0.5)):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1, momentum=0.5)
        build_scheduler(OneCycleConfig(cycle_momentum=cycle), optimizer, 10)
        assert optimizer.param_groups[0]["momentum"] == expected


def test_muon_turns_matrices_alone_and_decays_them_alone():
    net = build_model(WhiteningCNNConfig(width=0.125), 3, 5)
    optimizer = build_optimizer(MuonConfig(weight_decay=0.05), net)
    weights, (classifier, others) = optimizer.param_groups[0], optimizer.param_groups[1:]
    assert [group["weight_decay"] for group in (weights, classifier, others)] == [0.05, 0.05, 0.0]
    assert classifier["params"][0] is net.classifier.weight
    weight = net.stages[1].first[0].weight
    before = weight.detach().clone()
    F.cross_entropy(net(torch.randn(20, 3, 32, 32)), torch.arange(20) % 5).backward()
    optimizer.step()
    moved = before * (1 - 0.05 * optimizer.defaults["lr"]) - weight.detach()
    singular = torch.linalg.svdvals(moved.flatten(1))
    assert singular.max() < 2 * singular.min()  # all directions alike: Newton-Schulz
    assert "momentum_buffer" not in optimizer.state[net.classifier.weight]  # NAdamW's


def test_weight_decay_can_be_left_off_biases_and_norms():
    net = build_model(WhiteningCNNConfig(width=0.125), 3, 5)
    optimizer = build_optimizer(AdamWConfig(weight_decay=0.05, matrices_only=True), net)
    decayed, free = optimizer.param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.05, 0.0)
    assert {p.dim() for p in free["params"]} == {1}
    assert sum(len(g["params"]) for g in optimizer.param_groups) == sum(p.requires_grad for p in net.parameters())
    assert len(build_optimizer(AdamWConfig(), net).param_groups) == 1


@pytest.mark.parametrize("kind", ["deepfake_net", "whitening_cnn", "timm model.name=resnet10t"])
def test_the_trial_before_training_changes_nothing(kind, samples, tmp_path):
    """Neither weights nor buffers, nor the mode, nor what is drawn next."""
    cfg = compose([f"data.root={samples}", f"output_dir={tmp_path}", *f"model={kind}".split()])
    net = build_model(cfg.model, 3, 5).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    check_fits(net, cfg, open_run_data(cfg))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_windows_must_fit_the_network_too(samples, tmp_path):
    cfg = compose([f"data.root={samples}", f"output_dir={tmp_path}", "model=vgg16", "model.width=0.125"])
    net = build_model(cfg.model, 3, 5)
    check_fits(net, cfg, open_run_data(cfg))
    cfg.augment.window = 8
    with pytest.raises(UserError, match=r"model=vgg16 does not take images of 8 x 8: set data.image_size"):
        check_fits(net, cfg, open_run_data(cfg))


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_trained_weights_out_of_a_file(ending, tmp_path):
    """As on a machine without network; the run's fingerprint has a digest of them, and not the place."""
    other = build_model(TimmConfig(name="resnet10t"), 3, 1000)
    path = tmp_path / f"weights.{ending}"
    if ending == "pth":
        torch.save(other.state_dict(), path)
    else:
        pytest.importorskip("safetensors.torch").save_file(other.state_dict(), path)
    settings = ["data.root=x", "model=timm", "model.name=resnet10t", "model.pretrained=true"]
    cfg = pinned(compose([*settings, f"model.pretrained_file={path}"]))
    net = build_model(cfg.model, 3, 5)
    assert torch.equal(net.layer1[0].conv1.weight, other.layer1[0].conv1.weight)
    assert net.fc.out_features == 5
    moved = path.rename(tmp_path / f"moved.{ending}")
    again = pinned(compose([*settings, f"model.pretrained_file={moved}"]))
    assert fingerprint(again, "d") == fingerprint(cfg, "d") != fingerprint(compose(settings), "d")
    moved.write_bytes(moved.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"model.pretrained_digest is .* other weights than this was run with"):
        pinned(again)
