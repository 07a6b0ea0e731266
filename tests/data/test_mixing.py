"""What covers or mixes images: erasing, cut-out, CutMix and MixUp, against torchvision."""

import math
from types import SimpleNamespace

import pytest
import torch
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from deepfake_lit.core.randomness import sample_keys
from deepfake_lit.data.augment import augment, cutmix_box, mix_batch, next_of_class
from deepfake_lit.settings.schema import AugmentConfig

HEIGHT, WIDTH = 22, 30  # different, so that a mix-up of the two shows


def test_erasing_is_one_rectangle_of_the_drawn_area():
    """A box a sample, as torchvision's `erase` with its corner and sides; area and ratio within their limits."""
    images = torch.rand(200, 1, 40, 50).clamp(max=0.9)
    cfg = AugmentConfig(erasing_p=1.0, erasing_area=[0.1, 0.2], erasing_ratio=[0.5, 2.0], occlusion_fill=0.95)
    result = augment(images, sample_keys(1, 0, torch.arange(200)), cfg)
    places = set()
    for image, erased in zip(images, result, strict=True):
        y, x = torch.nonzero(erased[0] == 0.95, as_tuple=True)
        i, j, h, w = y.min().item(), x.min().item(), (y.max() - y.min() + 1).item(), (x.max() - x.min() + 1).item()
        assert torch.equal(erased, tv.erase(image, i, j, h, w, torch.tensor(0.95)))
        # Sides are rounded to whole pixels: half a pixel of at least 10.
        assert 0.1 * 0.9 < h * w / 2000 < 0.2 * 1.1
        assert 0.5 * 0.9 < h / w < 2.0 * 1.1
        places |= {("top", i == 0), ("bottom", i + h == 40), ("left", j == 0), ("right", j + w == 50)}
    assert len(places) == 8  # boxes touch each border, and do not always


def test_cutout_is_the_centre():
    images = torch.rand(2, 3, 100, 101)
    result = augment(images, sample_keys(0, 0, torch.arange(2)), AugmentConfig(cutout_p=1.0, cutout_size=30))
    assert torch.equal(result, tv.erase(images, 35, 35, 30, 30, torch.tensor(0.0)))


def test_cutmix_and_mixup_are_torchvisions():
    """The box and the ratio are read off the result, and torchvision's kernels given them."""
    images = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 3, HEIGHT, WIDTH) / 4
    labels = torch.tensor([0, 1, 2, 2, 4])
    for cfg, theirs in (
        (AugmentConfig(cutmix_p=1.0), v2.CutMix(num_classes=5)),
        (AugmentConfig(mixup_p=1.0), v2.MixUp(num_classes=5)),
    ):
        for step in range(20):
            mixed, targets = mix_batch(images, labels, 5, cfg, seed=0, epoch=0, step=step)
            own = targets[0, 0].item()
            y, x = torch.nonzero(mixed[1, 0] != images[1, 0], as_tuple=True)
            box = (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else (0, 0, 0, 0)
            params = {"labels": labels, "batch_size": 5, "lam": own, "lam_adjusted": own, "box": box}
            torch.testing.assert_close(mixed, theirs.transform(images, params))
            torch.testing.assert_close(targets, theirs.transform(labels, params))
            if cfg.cutmix_p:
                assert own == pytest.approx(1 - len(x) / (HEIGHT * WIDTH))  # labels by the area that was mixed


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.9, 0.999, 1.0])
def test_cutmix_box_is_torchvisions(ratio, monkeypatch):
    theirs = v2.CutMix(num_classes=5)
    theirs._dist = SimpleNamespace(sample=lambda _: torch.tensor([ratio], dtype=torch.float64))
    for y, x in ((0, 0), (HEIGHT // 2, WIDTH // 2), (HEIGHT - 1, 3), (4, WIDTH - 1)):
        centre = iter((x, y))
        monkeypatch.setattr(torch, "randint", lambda *_, centre=centre, **__: torch.tensor([next(centre)]))
        box = theirs.make_params([torch.zeros(5, 3, HEIGHT, WIDTH)])["box"]
        top, bottom, left, right = cutmix_box(ratio, y, x, HEIGHT, WIDTH)
        assert (left, top, right, bottom) == box
        if (y, x) == (HEIGHT // 2, WIDTH // 2):  # nothing is cut off: the area is 1 - ratio but for whole pixels
            side = math.sqrt(1 - ratio)
            assert abs(bottom - top - side * HEIGHT) <= 2
            assert abs(right - left - side * WIDTH) <= 2


def test_cutmix_within_a_class_takes_the_next_image_of_it():
    labels = torch.tensor([2, 0, 2, 1, 0, 2])
    following = [2, 4, 5, 3, 1, 0]
    assert next_of_class(labels).tolist() == following
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, HEIGHT, WIDTH)
    cfg = AugmentConfig(cutmix_p=1.0, cutmix_within_class=True)
    shares = []
    for step in range(20):
        mixed, targets = mix_batch(images, labels, 3, cfg, seed=0, epoch=0, step=step)
        assert torch.equal(targets, torch.nn.functional.one_hot(labels, 3).float())
        inside = mixed != images
        inside[3] = inside[0]  # alone in its class, and as it was
        assert torch.equal(mixed, torch.where(inside, images[following], images))
        shares.append(inside[0].float().mean().item())
    assert 0 < min(s for s in shares if s) < max(shares)


def test_the_last_epochs_train_on_whole_images():
    images, labels = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, HEIGHT, WIDTH), torch.arange(4)
    for cfg in (AugmentConfig(cutmix_p=1.0, mix_epochs=2), AugmentConfig(mixup_p=1.0, mix_epochs=2)):
        for epoch in range(4):
            batches = [mix_batch(images, labels, 4, cfg, 0, epoch, step) for step in range(20)]
            whole = all(torch.equal(mixed, images) and torch.equal(targets, torch.eye(4)) for mixed, targets in batches)
            assert whole == (epoch >= 2)


def test_mixing_probabilities_and_ratios():
    """Per batch: CutMix, MixUp or neither, and MixUp's ratio from Beta(alpha, alpha)."""
    cfg = AugmentConfig(cutmix_p=0.3, mixup_p=0.5, mixup_alpha=0.4)
    images, labels = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8), torch.tensor([0, 1])
    cut, mixed, ratios, n = 0, 0, [], 1000
    for step in range(n):
        result, targets = mix_batch(images, labels, 2, cfg, 0, 0, step)
        assert targets.sum(1).tolist() == pytest.approx([1, 1])
        if result[0].min() != result[0].max():  # some pixels are the other image's
            cut += 1
        elif not torch.equal(targets, torch.eye(2)):
            mixed += 1
            ratios.append(targets[0, 0].item())
    assert abs(mixed - 0.5 * n) < 4.5 * math.sqrt(0.25 * n)
    assert 0.2 * n < cut < 0.35 * n  # a CutMix box of less than two pixels is empty
    assert stats.kstest(ratios, stats.beta(0.4, 0.4).cdf).pvalue > 1e-4
    assert torch.equal(mix_batch(images, labels, 2, AugmentConfig(), 0, 0, 0)[0], images)
