"""Laundering in training: by image, in any batch and any worker, as often and as strong as set."""

import numpy as np
import pytest
import torch

from deepfake_lit.core.randomness import sample_keys
from deepfake_lit.data.datamodule import ImageDataModule
from deepfake_lit.data.distortions import KINDS
from deepfake_lit.data.images import open_data
from deepfake_lit.data.laundering import launder, used
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.schema import AugmentConfig, DataConfig

EVERY = {"jpeg": [30, 95], "webp": [30, 90], "resize": [0.4, 2], "crop": [0, 0.2], "blur": [0.3, 2], "noise": [1, 9]}
EVERY = {f"laundering_{kind}": limits for kind, limits in EVERY.items()}
PIXELS = np.random.default_rng(0).integers(0, 256, (64, 24, 24, 3), np.uint8)


def laundered(keys: torch.Tensor, pixels: np.ndarray = PIXELS, kinds: dict = EVERY, **settings) -> np.ndarray:
    return launder(pixels, None, keys, AugmentConfig(**kinds, **settings))[0]


def test_an_image_depends_on_its_key_and_on_nothing_else():
    keys = sample_keys(0, 3, torch.arange(64))
    found = laundered(keys)
    assert (laundered(keys[10:20], PIXELS[10:20]) == found[10:20]).all()
    assert (laundered(sample_keys(0, 4, torch.arange(64))) != found).any()


def test_the_share_of_distorted_images_is_the_probability():
    keys, pixels = sample_keys(0, 0, torch.arange(600)), np.repeat(PIXELS[:1], 600, 0)
    changed = (laundered(keys, pixels, laundering_p=0.3) != pixels).any((1, 2, 3)).mean()
    assert changed == pytest.approx(0.3, abs=0.06)
    assert (laundered(keys, pixels, laundering_p=0.0) == pixels).all()


def test_strengths_lie_in_their_range_and_kinds_that_are_null_are_left_out():
    grey, keys = np.full((300, 24, 24, 3), 128, np.uint8), sample_keys(0, 0, torch.arange(300))
    only = {"laundering_noise": [2, 6], "laundering_blur": None}
    deviations = laundered(keys, grey, only, laundering_p=1.0, laundering_most=1).std((1, 2, 3))
    assert 1.8 < deviations.min() < 2.4
    assert 5.6 < deviations.max() < 6.5
    twice = laundered(keys, grey, only, laundering_p=1.0, laundering_most=3).std((1, 2, 3))
    assert twice.max() > 7


def batches(samples, cache, workers: int, **settings) -> list:
    cfg = DataConfig(root=str(samples), batch_size=32, workers=workers)
    module = ImageDataModule(open_data(cfg, cache), cfg, AugmentConfig(**settings), 5)
    return list(module.train_dataloader().loader)  # as they come, before they are augmented on the device


def test_batches_are_the_same_from_any_number_of_workers(samples, tmp_path):
    plain = batches(samples, tmp_path, 0)
    here, elsewhere = (batches(samples, tmp_path, workers, **EVERY) for workers in (0, 2))
    for a, b, c in zip(plain, here, elsewhere, strict=True):
        assert torch.equal(b.pixels, c.pixels)
        assert torch.equal(a.indices, b.indices)
        assert 0.4 < (a.pixels != b.pixels).any(-1).any(-1).any(-1).float().mean() < 1


def test_images_are_not_kept_on_the_device_then(samples, tmp_path):
    cfg = DataConfig(root=str(samples), on_device=True)
    data = open_data(cfg, tmp_path)
    kept = [ImageDataModule(data, cfg, AugmentConfig(**kinds), 0)._keeps_on_device() for kinds in ({}, EVERY)]
    assert kept == [True, False]


def test_validation_images_stay_as_they_are(samples, tmp_path):
    cfg = DataConfig(root=str(samples))
    module = ImageDataModule(open_data(cfg, tmp_path), cfg, AugmentConfig(**EVERY, laundering_p=1.0), 0)
    pixels = torch.cat([batch.pixels for batch in module.val_dataloader()])
    assert np.array_equal(pixels, module.data.splits["validation"].gather(slice(None))[0])


def test_one_kind_is_left_out_or_alone(samples):
    cfg = compose(["experiment=robust", f"data.root={samples}", "augment.laundering_jpeg=null"])
    assert set(used(cfg.augment)) == set(KINDS) - {"jpeg"}
    assert used(compose(["only=noise_2", f"data.root={samples}"]).augment) == {"noise": [2, 2]}
