"""Several batches that are augmented in one call: the same images as one at a time, in fewer operations."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch.utils._python_dispatch import TorchDispatchMode

from deepfake_lit.data.datamodule import Batch, ImageDataModule
from deepfake_lit.data.images import open_data
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.schema import AugmentConfig, DataConfig

# Every report's and speedrun's; each image mixed, so that the batches' own random numbers are seen.
CHOICES = sorted(path.stem for path in Path(__file__).parents[2].joinpath("conf", "augment").glob("*.yaml"))
OTHERS = {
    "window": AugmentConfig(window=24, vflip=0.5, rot90=0.5, perspective=0.3, scale=[0.9, 1.1], shear=5, mixup_p=1.0),
    "outliers": AugmentConfig(outliers_p=0.5),
    "traces": AugmentConfig(outliers_p=0.5, outliers_kind="traces"),
    "crop": AugmentConfig(
        crop=3, interpolation="bilinear", rotation=20, fill=0.2, cutmix_p=1, cutmix_within_class=True
    ),
}
SIZE = 33  # of a batch; the last of 100 images has 1


@pytest.fixture(scope="module")
def data(samples, tmp_path_factory):
    return open_data(DataConfig(root=str(samples)), tmp_path_factory.mktemp("cache"))


def module_of(data, augment: AugmentConfig, portion: int | None, **settings) -> ImageDataModule:
    settings = {"batch_size": SIZE, "channels": "rgba"} | settings
    return ImageDataModule(data, DataConfig(root=data.root, portion=portion, **settings), augment, 0, True)


def augmentation(name: str) -> AugmentConfig:
    return OTHERS.get(name) or compose([f"augment={name}", "data.root=x"]).augment


def batches_of(module: ImageDataModule, epoch: int = 1, step: int = 0) -> list[Batch]:
    loader = module.train_dataloader()
    loader.sampler.start_at(epoch, step)
    return list(loader)


def same(batches: list[Batch], others: list[Batch]) -> bool:
    pairs = zip(batches, others, strict=True)
    return all(torch.equal(a, b) and a.stride() == b.stride() for pair in pairs for a, b in zip(*pair, strict=True))


@pytest.mark.parametrize("name", [*CHOICES, *OTHERS])
@pytest.mark.parametrize("image_size", [None, 40])
def test_batches_in_one_call_are_those_of_a_call_each(name, image_size, data):
    alone = batches_of(module_of(data, augmentation(name), 1, image_size=image_size))
    assert [len(batch.labels) for batch in alone] == [33, 33, 33, 1]
    for portion in (3, 4, 9):
        assert same(batches_of(module_of(data, augmentation(name), portion, image_size=image_size)), alone)


@pytest.mark.parametrize(
    "settings", [{"workers": 2}, {"on_device": True}, {"class_sampling": [1.0, 2.0, 1.0, 0.0, 1.0]}], ids=str
)
def test_they_are_the_same_wherever_the_images_come_from(settings, data):
    augment = augmentation("report_b")
    drawn = {key: value for key, value in settings.items() if key == "class_sampling"}
    assert same(batches_of(module_of(data, augment, 3, **settings)), batches_of(module_of(data, augment, 1, **drawn)))


def test_lightning_stops_the_workers(data):
    loader = module_of(data, augmentation("none"), 1, workers=1).train_dataloader()
    combined = CombinedLoader(loader)
    iter(combined)
    assert next(combined)
    workers = loader.loader._iterator._workers
    assert all(worker.is_alive() for worker in workers)
    combined.reset()
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_an_epoch_goes_on_within_a_portion(step, data, monkeypatch):
    """The portions are those of the whole epoch: on a GPU rounding may depend on the number of images."""
    module, sizes = module_of(data, augmentation("speedrun"), 3), []
    whole, prepare = batches_of(module), module.prepare
    monkeypatch.setattr(module, "prepare", lambda raw: sizes.append(len(raw)) or prepare(raw))
    assert same(batches_of(module, step=step), whole[step:])
    assert sizes == ([1] if step == 3 else [3, 1])


def test_statistics_of_an_average_are_measured_on_the_same_images(data):
    device = torch.device("cpu")
    alone, together = (module_of(data, augmentation("report_b"), n).training_images(2, 3, device) for n in (1, 2))
    pairs = list(zip(alone, together, strict=True))
    assert len(pairs) == 3
    assert all(torch.equal(a, b) for a, b in pairs)


class Operations(TorchDispatchMode):
    """Counts the operations that are not views: each is at least one start of a kernel on a GPU."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.count += not function.is_view
        return function(*arguments, **(options or {}))


def operations(module: ImageDataModule) -> int:
    raw = list(module.train_dataloader().loader)
    with Operations() as counted:
        module.prepare(raw)
    return counted.count


@pytest.mark.parametrize("name", ["report_a_erasing", "report_a_improved", "report_b"])
def test_many_batches_take_hardly_more_operations_than_one(name, data):
    """Per batch only the mixing and a label's encoding is left."""
    augment = augmentation(name)
    one, ten = (operations(module_of(data, augment, None, batch_size=size)) for size in (100, 10))
    assert ten - one <= 9 * 14
    assert ten - one < 9 * one / 3


def test_a_portion_is_bounded_by_the_device_s_memory_and_by_what_workers_load(data, monkeypatch):
    each = 64 * 32 * 32 * SIZE  # bytes of a batch

    def portion(memory: int, **settings) -> int:
        module = module_of(data, AugmentConfig(), **{"portion": None, "on_device": True} | settings)
        assert module.train_dataloader().sampler.portion == 1  # on a CPU, if it is not set
        module.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda")))
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (0, memory))
        return module._portion()

    assert [portion(64 * each * n) for n in (0, 1, 5, 1000)] == [1, 1, 5, 32]
    assert portion(64 * each * 1000, on_device=False, workers=2) == 2
    assert module_of(data, AugmentConfig(), 7)._portion() == 7
