"""Training images of no class: what the filters change, and what the network is to say of them."""

import torch
from torch.nn import functional as F

from deepfake_lit.core.randomness import sample_keys
from deepfake_lit.data.augment import mix_batch
from deepfake_lit.data.datamodule import ImageDataModule
from deepfake_lit.data.images import cache_dir, open_data
from deepfake_lit.data.outliers import STRONGEST, WEAKEST, filtered, outliers
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.schema import AugmentConfig

KEYS = sample_keys(0, 0, torch.arange(400))
IMAGES = 0.3 + 0.4 * torch.rand(400, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_only_the_chosen_images_are_filtered():
    chosen = torch.arange(400) % 2 == 0
    found = filtered(IMAGES, KEYS, chosen)
    torch.testing.assert_close(found[~chosen], IMAGES[~chosen], rtol=0, atol=0)
    assert (found[chosen] != IMAGES[chosen]).flatten(1).any(1).all()


def test_filters_keep_the_brightness_and_change_the_traces():
    found = filtered(IMAGES, KEYS, torch.ones(400, dtype=torch.bool))
    flat = torch.full((400, 3, 16, 16), 0.5)
    torch.testing.assert_close(filtered(flat, KEYS, torch.ones(400, dtype=torch.bool)), flat)
    added = (found - IMAGES).flatten(1).std(1) / IMAGES.flatten(1).std(1)  # of noise: the length of the filter
    assert WEAKEST / 2 < added.min() < 2 * WEAKEST
    assert STRONGEST / 2 < added.max() < 2 * STRONGEST


def test_an_image_gets_its_filter_in_whatever_batch():
    chosen = torch.ones(400, dtype=torch.bool)
    few = filtered(IMAGES[7:9], KEYS[7:9], chosen[7:9])
    torch.testing.assert_close(few, filtered(IMAGES, KEYS, chosen)[7:9])


def test_traces_are_mixed_with_those_of_another_class_of_the_batch():
    labels, every = torch.arange(400) % 4 // 2, torch.ones(400, dtype=torch.bool)  # 0, 0, 1, 1, ...
    found, chosen = outliers(IMAGES, labels, KEYS, every, "traces", 50)
    partners = torch.cat([part.roll(1) for part in torch.arange(400).split(50)])
    assert torch.equal(chosen, labels != labels[partners])
    torch.testing.assert_close(found[~chosen], IMAGES[~chosen], rtol=0, atol=0)
    low = F.avg_pool2d(found - IMAGES, 16)
    assert low[chosen].abs().max() < 0.02  # the subject stays
    between = F.cosine_similarity((found - IMAGES).flatten(1), (IMAGES[partners] - IMAGES).flatten(1))
    assert between[chosen].min() > 0.5
    again, _ = outliers(IMAGES[50:100], labels[50:100], KEYS[50:100], every[:50], "traces", 50)
    torch.testing.assert_close(again, found[50:100], rtol=0, atol=0)


def test_the_target_of_an_outlier_is_the_same_for_all_classes():
    chosen = torch.tensor([False, True, False])
    labels = torch.tensor([0, 1, 3])
    _, targets = mix_batch(IMAGES[:3], labels, 4, AugmentConfig(), 0, 0, 0, chosen)
    assert targets.tolist() == [[1, 0, 0, 0], [0.25] * 4, [0, 0, 0, 1]]
    _, mixed = mix_batch(IMAGES[:3], labels, 4, AugmentConfig(cutmix_p=1.0), 0, 0, 0, chosen)
    torch.testing.assert_close(mixed.sum(1), torch.ones(3))


def test_training_has_the_share_that_is_asked_for(settings):
    cfg = compose([*settings, "augment.outliers_p=0.3", "augment.hflip=0"])
    data = open_data(cfg.data, cache_dir(cfg.data, cfg.output_dir))
    module = ImageDataModule(data, cfg.data, cfg.augment, 0)
    targets = torch.cat([batch.targets for _ in range(5) for batch in _epoch(module, _)])
    share = (targets.max(1).values < 0.5).float().mean()
    assert 0.2 < share < 0.4


def _epoch(module: ImageDataModule, epoch: int):
    batches = module.train_dataloader()
    batches.sampler.start_at(epoch, 0)
    return list(batches)
