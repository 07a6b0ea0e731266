"""Randomness: uniform, one draw a sample, and a function of (seed, epoch, index) and nothing else."""

import math
import random
from pathlib import Path

import pytest
import torch
from scipy import stats

from deepfake_lit.core.randomness import GOLDEN, MASK, derive, mix, mix_tensor, python_random, sample_keys, uniform
from deepfake_lit.data import randaugment
from deepfake_lit.data.augment import augment
from deepfake_lit.settings.choices import CHANNELS
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.schema import AugmentConfig

PRESETS = sorted((Path(__file__).resolve().parents[2] / "conf" / "augment").glob("*.yaml"))
GEOMETRY = dict(
    hflip=0.5, vflip=0.5, rotation=20, translate=0.1, scale=[0.8, 1.2], shear=10, perspective=0.4, perspective_p=0.5
)
COLOUR = dict(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.2, blur_p=0.5)
EVERYTHING = AugmentConfig(**GEOMETRY, **COLOUR, randaugment_ops=2, cutout_p=0.3, cutout_size=6, erasing_p=0.5)


def keys(count: int, seed: int = 0, epoch: int = 0) -> torch.Tensor:
    return sample_keys(seed, epoch, torch.arange(count))


def within_binomial(count: int, total: int, p: float) -> bool:
    """4.5 standard deviations: one in 150,000 honest generators fails, and this one always gives the same."""
    return abs(count - total * p) < 4.5 * math.sqrt(total * p * (1 - p))


def signed(x: int) -> int:
    return x - 2**64 if x >> 63 else x


def test_mix_tensor_is_mix():
    numbers = [0, 1, -1, 2**63 - 1, -(2**63), *(random.Random(0).randrange(-(2**63), 2**63) for _ in range(1000))]
    assert mix_tensor(torch.tensor(numbers)).tolist() == [signed(mix(n)) for n in numbers]
    expected = [signed(mix(i * GOLDEN + derive(7, 3, "sample") & MASK)) for i in range(100)]
    assert keys(100, 7, 3).tolist() == expected


def test_mix_is_splitmix64():
    """The first outputs of the published generator for the seed 1234567."""
    outputs = [mix(1234567 + GOLDEN * (i + 1)) for i in range(3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_derive_tells_its_parts_apart():
    paths = [(0,), (0, 0), (1, 0), (0, 1), (0, "a"), (0, "b"), ("a", 0), (0, "a name of many letters"), (-1,)]
    paths += [(seed, epoch, "order") for seed in range(30) for epoch in range(30)]
    assert len({derive(*path) for path in paths}) == len(paths)
    assert python_random(1, "x").random() == python_random(1, "x").random() != python_random(2, "x").random()


@pytest.mark.parametrize("stream", ["hflip", "rotation", "randaugment/1/sign"])
def test_uniform(stream):
    n = 100_000
    u = uniform(keys(n), stream).double()
    assert 0 <= u.min() < 1e-3
    assert 1 - 1e-3 < u.max() < 1
    assert abs(u.mean() - 0.5) < 4.5 * math.sqrt(1 / 12 / n)
    assert abs(u.var() - 1 / 12) < 4.5 * math.sqrt(1 / 180 / n)
    assert stats.chisquare(torch.histc(u, 256, 0, 1).numpy()).pvalue > 1e-4
    for lag in (1, 2, 32):  # neighbours in the data set
        assert abs(torch.corrcoef(torch.stack([u[:-lag], u[lag:]]))[0, 1]) < 4.5 / math.sqrt(n)
    scaled = uniform(keys(n), stream, -3, 5)
    torch.testing.assert_close(scaled.double(), u * 8 - 3, atol=1e-6, rtol=0)


def test_streams_epochs_and_seeds_are_uncorrelated():
    n = 50_000
    draws = [
        uniform(keys(n, seed, epoch), stream)
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))
        for stream in ("hflip", "vflip", "rotation", "corner_x/0", "corner_x/1")
    ]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(len(draws))
    assert correlation.abs().max() < 5 / math.sqrt(n)


@pytest.mark.parametrize("planes", [1, 3, 4])
def test_a_sample_does_not_depend_on_its_batch(planes):
    images = torch.rand(12, planes, 20, 24)
    k = keys(12)
    whole = augment(images, k, EVERYTHING)
    for chosen in ([3], [11, 3, 0], list(range(11, -1, -1)), [5, 5, 5, 5, 5, 2, 1, 0, 7, 6, 10, 9, 5, 4, 3, 3]):
        assert torch.equal(augment(images[chosen], k[chosen], EVERYTHING), whole[chosen])


def test_each_sample_epoch_and_seed_has_its_own_draws():
    image = torch.rand(1, 3, 20, 24).expand(10, 3, 20, 24)
    variants = [augment(image, keys(10, seed, epoch), EVERYTHING) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    outputs = torch.cat(variants).flatten(1)
    assert len(outputs.unique(dim=0)) == 30
    assert torch.equal(variants[0], augment(image, keys(10), EVERYTHING))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("name", ["hflip", "vflip", "perspective_p", "blur_p", "cutout_p", "erasing_p"])
def test_probabilities(name, p):
    n = 2000
    images = torch.rand(1, 1, 8, 8).clamp(min=0.01).expand(n, 1, 8, 8)
    settings = {"perspective": 0.9} if name == "perspective_p" else {"blur_sigma": [1.0, 2.0], "cutout_size": 2}
    result = augment(images, keys(n, 5), AugmentConfig(**settings, **{name: p}))
    # Beside perspective, an image that is not meant is resampled by the identity: the same but for rounding.
    changed = ((result - images).abs().amax((1, 2, 3)) > 1e-5).sum().item()
    if p in (0.0, 1.0):
        assert changed == n * p
        assert p or torch.equal(result, images)
    else:
        assert within_binomial(changed, n, p)


def test_randaugment_draws_every_operation_and_sign_alike(monkeypatch):
    drawn = []
    monkeypatch.setattr(randaugment, "apply", lambda images, *chosen: drawn.append(chosen[:2]) or images)
    n = 28_000
    randaugment.randaugment(torch.zeros(n, 1, 1, 1), keys(n), 2, 9, "nearest", 0.0)
    (first, sign), (second, _) = drawn
    pairs = torch.bincount(first * 28 + second * 2 + (sign > 0), minlength=14 * 28)
    assert stats.chisquare(pairs.numpy()).pvalue > 1e-4  # operations of both rounds and the sign, independent


@pytest.mark.parametrize("cfg", [AugmentConfig(**COLOUR), EVERYTHING], ids=["jitter", "everything"])
def test_grey_planes_stay_one_plane(cfg):
    images = torch.rand(4, 1, 20, 24)
    result = augment(images, keys(4), cfg)
    assert result.shape == images.shape
    assert not torch.equal(result, images)


def test_colour_leaves_alpha_alone():
    images = torch.rand(8, 4, 20, 24)
    result = augment(images, keys(8), AugmentConfig(**COLOUR))
    assert torch.equal(result[:, 3], images[:, 3])
    assert (result[:, :3] != images[:, :3]).flatten(1).any(1).all()


def test_geometry_and_occlusion_move_alpha_along():
    images = torch.rand(8, 3, 20, 24)
    images = torch.cat([images, images[:, :1]], 1)  # alpha is a copy of red, and stays one
    result = augment(images, keys(8), AugmentConfig(**GEOMETRY, cutout_p=0.3, cutout_size=6, erasing_p=0.5))
    assert torch.equal(result[:, 3], result[:, 0])
    assert (result[:, 3] != images[:, 3]).flatten(1).any(1).all()


def test_randaugment_and_alpha():
    count = len(randaugment.OPERATIONS)
    images = torch.rand(count, 3, 20, 24)
    images = torch.cat([images, images[:, :1]], 1)
    result = randaugment.apply(images, torch.arange(count), torch.ones(count), 9, "bilinear", 0.0)
    for i, name in enumerate(randaugment.OPERATIONS):
        assert torch.equal(result[i, 3], result[i, 0] if name in randaugment.GEOMETRIC else images[i, 3])
        assert torch.equal(result[i], images[i]) == (name == "identity")


@pytest.mark.parametrize("size", [100, 128])
@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets(preset, size):
    cfg = compose([f"augment={preset.stem}", "data.root=x"]).augment
    for planes in CHANNELS.values():
        images = torch.rand(4, planes, size, size)
        result = augment(images, keys(4), cfg)
        assert result.dtype == images.dtype
        assert result.shape == images.shape
        # The four weights of a bilinear warp add up to 1 but for rounding.
        assert -1e-6 <= result.min() <= result.max() <= 1 + 1e-6
        assert torch.equal(result, images) == (preset.stem == "none")
