"""From memory-mapped images to batches: order, shares of processes, shapes, values, workers."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from deepfake_lit.data.datamodule import Batches, ImageDataModule
from deepfake_lit.data.images import open_data
from deepfake_lit.settings.schema import AugmentConfig, DataConfig

AUGMENTED = AugmentConfig(hflip=0.5, rotation=20, brightness=0.2, randaugment_ops=1, cutmix_p=0.5, mixup_p=0.5)


def epoch_of(batches: Batches, epoch: int = 0) -> list[np.ndarray]:
    batches.set_epoch(epoch)
    listed = list(batches)
    assert [entry[:2] for entry in listed] == [(epoch, step) for step in range(len(batches))]
    return [indices for _, _, indices in listed]


@pytest.mark.parametrize(("count", "size", "last"), [(100, 32, 4), (96, 32, 32), (5, 32, 5), (1, 1, 1)])
def test_every_image_once_an_epoch(count, size, last):
    steps = epoch_of(Batches(count, size))
    assert [len(step) for step in steps] == [size] * (len(steps) - 1) + [last]
    assert sorted(np.concatenate(steps)) == list(range(count))


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        return tuple(np.concatenate(epoch_of(Batches(50, 8, seed), epoch)).tolist())

    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert len({tuple(range(50)), *orders}) == 7
    batches = Batches(50, 8, 1)
    for epoch in (2, 0, 1):  # whatever epochs came before, as after a resume
        assert tuple(np.concatenate(epoch_of(batches, epoch)).tolist()) == order(1, epoch)


def test_the_order_of_published_runs():
    """A change here changes the result of every run; numpy promises its bit stream, not what is made of it."""
    assert Batches(10, 10, seed=0).order().tolist() == [6, 7, 1, 8, 4, 5, 0, 2, 9, 3]


def test_evaluation_keeps_the_splits_order():
    steps = epoch_of(Batches(10, 4, shuffle=False), 3)
    assert [step.tolist() for step in steps] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize("world", [2, 3, 8])
@pytest.mark.parametrize("count", [3, 10, 48, 101])
def test_processes_share_an_epoch(count, world):
    ranks = [epoch_of(Batches(count, 4, 5, rank=rank, world=world), 1) for rank in range(world)]
    sizes = [[len(step) for step in steps] for steps in ranks]
    assert sizes == [sizes[0]] * world
    assert min(sizes[0]) > 0
    taken = np.concatenate([step for steps in ranks for step in steps])
    assert set(taken) == set(range(count))
    assert len(taken) == -(-count // world) * world  # filled up to equal shares, and no further
    alone = epoch_of(Batches(count, 4 * world, 5), 1)
    for step, indices in enumerate(alone[:-1]):  # the global batch is the one of a single process
        assert sorted(np.concatenate([steps[step] for steps in ranks])) == sorted(indices)


@pytest.mark.parametrize("world", [1, 2])
def test_weighted_sampling_draws_in_proportion(world):
    labels = np.repeat(np.arange(5), [1000, 2000, 3000, 1000, 3000])
    weights = np.array([1.0, 1.4, 1.0, 0.0, 2.0])
    ranks = [Batches(10_000, 32, 3, True, weights[labels], rank, world) for rank in range(world)]
    drawn = np.concatenate([step for batches in ranks for step in epoch_of(batches, 2)])
    assert len(drawn) == 10_000
    counts = np.bincount(labels[drawn], minlength=5)
    assert counts[3] == 0
    expected = weights * np.bincount(labels)
    expected = expected / expected.sum() * 10_000
    assert stats.chisquare(np.delete(counts, 3), np.delete(expected, 3)).pvalue > 1e-4
    assert len(set(drawn)) < 10_000  # with replacement


@pytest.fixture(scope="module")
def data(samples, tmp_path_factory):
    return open_data(DataConfig(root=str(samples)), tmp_path_factory.mktemp("cache"))


def module_of(data, augment=AugmentConfig(), seed=0, channels_last=False, **settings):  # noqa: B008 - not changed
    cfg = DataConfig(root=data.root, batch_size=32, eval_batch_size=32, **settings)
    return ImageDataModule(data, cfg, augment, seed, channels_last)


def expected_planes(path, channels: str) -> np.ndarray:
    """Pillow's decoding, (C, H, W) in [0, 1]."""
    rgba = np.asarray(Image.open(path).convert("RGBA"), np.float64) / 255
    if channels == "gray":
        return (rgba[..., :3] @ [0.299, 0.587, 0.114])[None]
    return rgba[..., : len(channels)].transpose(2, 0, 1)


@pytest.mark.parametrize(("channels", "planes"), [("rgb", 3), ("rgba", 4), ("gray", 1)])
def test_evaluation_batches_are_the_files(data, samples, channels, planes):
    module = module_of(data, AUGMENTED, channels=channels)
    with open(samples / "validation.csv", newline="") as f:
        labels = {row["image_id"]: int(row["label"]) for row in csv.DictReader(f)}
    split, seen, alphas = data.splits["validation"], 0, set()
    for raw in module.val_dataloader():
        batch = module.evaluation_batch(raw)
        assert batch.images.shape == (len(raw.labels), planes, 32, 32)
        assert batch.images.dtype == batch.targets.dtype == torch.float32
        assert torch.equal(batch.targets, torch.eye(5)[batch.labels])
        for index, image, label in zip(raw.indices, batch.images, batch.labels, strict=True):
            assert index == seen
            name = split.ids[seen]
            assert label == labels[name]
            pixels = expected_planes(samples / "validation" / f"{name}.png", channels)
            np.testing.assert_allclose(image.numpy() * 0.5 + 0.5, pixels, atol=1e-6)
            alphas.add(pixels[-1].min())
            seen += 1
    assert seen == len(labels) == 50
    assert channels != "rgba" or len(alphas) > 1  # class 3 is transparent in places


def test_an_opaque_data_set_has_an_alpha_of_one(data):
    raw = next(iter(module_of(data).val_dataloader()))._replace(transparency=None)
    assert (module_of(data, channels="rgba", mean=[0.0], std=[1.0]).evaluation_batch(raw).images[:, 3] == 1).all()


@pytest.mark.parametrize(("channels", "planes"), [("rgb", 3), ("rgba", 4), ("gray", 1)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_training_batches(data, channels, planes, channels_last):
    module = module_of(data, AUGMENTED, channels_last=channels_last, channels=channels, image_size=40)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    sizes, shares = [], []
    for raw in module.train_dataloader().loader:
        batch = module.training_batches(raw)[0]
        sizes.append(len(batch.labels))
        assert batch.images.shape == (sizes[-1], planes, 40, 40)
        assert batch.images.is_contiguous(memory_format=memory_format)
        assert batch.images.dtype == batch.targets.dtype == torch.float32
        assert batch.images.abs().max() <= 1 + 1e-5
        assert batch.images.std() > 0.1
        # Every batch is mixed here, by CutMix or MixUp: an image's target is of its own label and its neighbour's.
        torch.testing.assert_close(batch.targets.sum(1), torch.ones(sizes[-1]))
        own, other = torch.eye(5)[batch.labels], torch.eye(5)[batch.labels.roll(1)]
        first = torch.nonzero(batch.labels != batch.labels.roll(1))[0]
        shares.append(batch.targets[first, batch.labels[first]].item())
        torch.testing.assert_close(batch.targets, own * shares[-1] + other * (1 - shares[-1]))
        assert torch.equal(batch.labels, torch.from_numpy(data.splits["train"].labels)[raw.indices])
    assert sizes == [32, 32, 32, 4]
    assert 0 < min(shares) < 1


def test_only_the_training_loader_augments(data):
    """What it yields is ready; Lightning's hooks let it pass, and make batches of what the validation loader yields."""
    module = module_of(data, AUGMENTED)
    training = module.train_dataloader()
    raw, ready = next(iter(training.loader)), next(iter(training))
    moved = module.on_after_batch_transfer(module.transfer_batch_to_device(ready, torch.device("cpu"), 0), 0)
    assert all(torch.equal(a, b) for a, b in zip(moved, ready, strict=True))
    assert torch.equal(ready.images, module.training_batches(raw)[0].images)
    plain = module.on_after_batch_transfer(module.transfer_batch_to_device(raw, torch.device("cpu"), 0), 0)
    assert torch.equal(plain.images, module.evaluation_batch(raw).images)
    assert not torch.equal(plain.images, ready.images)


def test_without_augmentation_training_batches_are_plain(data):
    module = module_of(data)
    raw = next(iter(module.train_dataloader().loader))
    for trained, evaluated in zip(module.training_batches(raw)[0], module.evaluation_batch(raw), strict=True):
        assert torch.equal(trained, evaluated)


def batches_of(module, epochs) -> list[torch.Tensor]:
    loader, tensors = module.train_dataloader().loader, []
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)
        for raw in loader:
            tensors += [raw.indices, raw.transparency, *module.training_batches(raw)[0]]
    return tensors


def test_workers_change_nothing(data):
    here = batches_of(module_of(data, AUGMENTED, channels="rgba"), (0, 1))
    there = batches_of(module_of(data, AUGMENTED, channels="rgba", workers=2), (0, 1))
    assert len(here) == 2 * 4 * 5
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


def test_images_that_are_on_the_device_change_nothing(data):
    """In training and in validation; here the device is the CPU."""

    def batches(**settings) -> list[torch.Tensor]:
        module = module_of(data, AUGMENTED, channels="rgba", **settings)
        training, loader = module.train_dataloader(), module.val_dataloader()
        tensors = [tensor for batch in training for tensor in batch]
        for raw in (*training.loader, *loader):
            assert (raw.pixels is None) == settings["on_device"]
        for raw in loader:
            there = module.transfer_batch_to_device(raw, torch.device("cpu"), 0)
            tensors += [there.pixels, there.transparency, *module.on_after_batch_transfer(there, 0)]
        return tensors

    here, there = batches(on_device=False), batches(on_device=True, workers=2, portion=3)
    assert len(here) == 4 * 3 + 2 * 5
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


def test_images_are_kept_on_a_gpu_where_they_fit(data, monkeypatch):
    module = module_of(data)
    module.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda")))
    size = sum(a.nbytes for s in data.splits.values() for a in (s.pixels, s.transparency) if a is not None)
    for memory, kept in ((4 * size, True), (4 * size - 4, False)):
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda device, memory=memory: (0, memory))
        assert module._keeps_on_device() == kept
    module.trainer = None
    assert not module._keeps_on_device()


def test_seed_and_epoch_change_the_augmentation(data):
    raw = next(iter(module_of(data).train_dataloader().loader))
    seeds = [module_of(data, AugmentConfig(rotation=20), seed).training_batches(raw)[0].images for seed in (0, 1)]
    later = module_of(data, AugmentConfig(rotation=20)).training_batches(raw._replace(epoch=1))[0].images
    assert not torch.equal(seeds[0], seeds[1])
    assert not torch.equal(seeds[0], later)


def test_class_sampling_reaches_the_loader(data):
    module = module_of(data, class_sampling=[0.0, 0.0, 1.0, 0.0, 1.0])
    labels = torch.cat([raw.labels for raw in module.train_dataloader()])
    assert len(labels) == 100
    assert set(labels.tolist()) == {2, 4}


def test_an_image_drawn_again_is_augmented_anew(data):
    module = module_of(data, AugmentConfig(rotation=20), class_sampling=[0.0, 0.0, 1.0, 0.0, 1.0])
    looks: dict[int, list[torch.Tensor]] = {}
    for raw in module.train_dataloader().loader:
        for index, image in zip(raw.indices.tolist(), module.training_batches(raw)[0].images, strict=True):
            looks.setdefault(index, []).append(image)
    again = [images for images in looks.values() if len(images) > 1]
    assert again
    assert sum(torch.equal(images[0], images[-1]) for images in again) < len(again) / 2  # but in one batch it is alike


def test_validation_of_large_images_has_small_batches(data, monkeypatch):
    """Also where the network's input is smaller: the images are large until they are resized."""
    monkeypatch.setattr("deepfake_lit.core.system.AT_ONCE", 7 * 64 * 32 * 32)
    assert {len(raw.labels) for raw in module_of(data, image_size=16).val_dataloader()} == {7, 1}
