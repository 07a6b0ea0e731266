"""Batches of images: uint8 rows of the memory-mapped arrays become the network's input on the device."""

import math
import signal
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from deepfake_lit.core.randomness import derive, mix_tensor, sample_keys, uniform
from deepfake_lit.core.system import STOP_SIGNALS, batch_of
from deepfake_lit.data.augment import augment, mix_batch
from deepfake_lit.data.images import ImageData, SplitImages
from deepfake_lit.data.laundering import launder, used
from deepfake_lit.data.preprocess import PIXEL_BYTES, Preprocess, tensors
from deepfake_lit.data.windows import Windows
from deepfake_lit.settings.schema import AugmentConfig, DataConfig

DEVICE_SHARE = 0.25  # share of a GPU's memory that images may take if data.on_device is null


class RawBatch(NamedTuple):
    """A batch as the loader yields it.

    pixels: uint8 (B, H, W, 3), or None if they are on the device already. transparency: uint8 (B, H, W) or None.
    labels, indices (into the split): int64 (B,). epoch, step: the batch's place in the run.
    """

    pixels: Tensor | None
    transparency: Tensor | None
    labels: Tensor
    indices: Tensor
    epoch: int
    step: int


class Batch(NamedTuple):
    """A batch as the network gets it. images: float32 (B, C, H, W), normalised. targets: float32 (B, K), soft labels
    after CutMix or MixUp. labels: int64 (B,).
    """

    images: Tensor
    targets: Tensor
    labels: Tensor


class BatchRows(Dataset):
    """A data set of whole batches, indexed by (epoch, step, indices): one gather instead of B items and a collate.

    Args:
        pixels: False leaves the pixels out, for batches that get them on the device.
        places: of (epoch, step, indices), the places of random windows as `SplitImages.gather` takes them.
        changed: of (epoch, step, indices, pixels, transparency), what becomes of the images before they are tensors.
    """

    def __init__(
        self,
        split: SplitImages,
        pixels: bool = True,
        places: Callable[..., np.ndarray] | None = None,
        changed: Callable[..., tuple[np.ndarray, np.ndarray | None]] | None = None,
    ):
        self.split, self.pixels, self.places, self.changed = split, pixels, places, changed

    def __getitem__(self, batch: tuple[int, int, np.ndarray]) -> RawBatch:
        epoch, step, indices = batch
        arrays = (None, None)
        if self.pixels:
            arrays = self.split.gather(indices, self.places(*batch) if self.places else None)
            arrays = tensors(*(self.changed(*batch, *arrays) if self.changed else arrays))
        return RawBatch(*arrays, torch.from_numpy(self.split.labels[indices]), torch.from_numpy(indices), epoch, step)


def batch_keys(seed: int, drawn: bool, epoch: int, step: int, indices: Tensor) -> Tensor:
    """Return the keys of a training batch's random numbers, int64 (B,).

    Args:
        drawn: whether images are drawn with replacement: one that comes again in the epoch must look different.
    """
    keys = sample_keys(seed, epoch, indices)
    return mix_tensor(keys + step) if drawn else keys


def random_places(seed: int, drawn: bool, epoch: int, step: int, indices: np.ndarray) -> np.ndarray:
    """Return where the random windows of a training batch lie, float32 (B, 2), as in `Windows.at`."""
    keys = batch_keys(seed, drawn, epoch, step, torch.from_numpy(indices))
    return torch.stack([uniform(keys, f"fit_{axis}") for axis in "yx"], 1).numpy()


def laundered(seed: int, drawn: bool, cfg: AugmentConfig, epoch: int, step: int, indices: np.ndarray, *arrays):
    """Return the gathered pixels and transparency of a training batch, distorted as `launder` does."""
    return launder(*arrays, batch_keys(seed, drawn, epoch, step, torch.from_numpy(indices)), cfg)


class Batches(Sampler):
    """A sampler that yields (epoch, step, indices) for every batch of an epoch, in one of `world` processes.

    The order is a function of (seed, epoch). With several processes, each takes its share of every global batch. The
    last batch is filled up from the start of the epoch, so that all processes take the same number of steps.

    Args:
        weights: float (N,), relative probability of each image in a draw with replacement; None: a permutation.
        shuffle: False keeps the split's order and fills nothing up.
    """

    def __init__(self, count, batch_size, seed=0, shuffle=True, weights=None, rank=0, world=1):
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.weights, self.rank, self.world = weights, rank, world
        self.start_at(0, 0)

    def start_at(self, epoch: int, step: int) -> None:
        self.epoch, self.first_step = epoch, step

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.start_at(epoch, 0)

    def __len__(self) -> int:
        return -(-self.count // (self.batch_size * self.world))

    def order(self) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.count)
        generator = np.random.Generator(np.random.PCG64(derive(self.seed, self.epoch, "order")))
        if self.weights is None:
            return generator.permutation(self.count)
        return generator.choice(self.count, self.count, p=self.weights / self.weights.sum())

    def __iter__(self):
        order = self.order()
        share = self.batch_size * self.world
        if self.world > 1 and self.shuffle:
            order = np.resize(order, -(-self.count // self.world) * self.world)
        for step in range(self.first_step, len(self)):
            yield self.epoch, step, order[step * share : (step + 1) * share][self.rank :: self.world]


def ignore_signals(worker: int) -> None:
    """Ignore stop signals in a loader's worker: the main process answers them for the whole run."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class ImageDataModule(pl.LightningDataModule):
    """The loaders of raw batches, and the conversion of a raw batch into the network's input on its device.

    Every process evaluates the whole validation split: it is small, and the metrics then need no synchronisation.
    """

    def __init__(
        self, data: ImageData, cfg: DataConfig, augment_cfg: AugmentConfig, seed: int, channels_last: bool = False
    ):
        super().__init__()
        self.data, self.cfg, self.augment_cfg, self.seed = data, cfg, augment_cfg, seed
        self.preprocess = Preprocess.from_config(cfg)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._on_device: dict[str, tuple[Tensor, Tensor | None]] = {}  # pixels and transparency, by split

    @property
    def num_classes(self) -> int:
        return len(self.data.class_names)

    def train_dataloader(self) -> DataLoader:
        split = self.data.splits["train"]
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        count = len(self.train_labels())
        batches = Batches(count, self.cfg.batch_size, self.seed, True, self._sampling_weights(), rank, world)
        return self._loader(split, batches, *self._of_training())

    def _of_training(self) -> tuple[Callable, Callable | None]:
        """Return `places` and `changed` of `BatchRows` for training batches."""
        how = (self.seed, bool(self.cfg.class_sampling))
        changed = partial(laundered, *how, self.augment_cfg) if used(self.augment_cfg) else None
        return partial(random_places, *how), changed

    def train_labels(self) -> np.ndarray:
        return self.data.splits["train"].labels

    def _sampling_weights(self) -> np.ndarray | None:
        sampling = self.cfg.class_sampling
        return np.asarray(sampling)[self.train_labels()] if sampling else None

    def val_dataloader(self) -> DataLoader:
        split = self.data.splits["validation"]
        pixels = max(math.prod(self.data.size), (self.cfg.image_size or 0) ** 2)  # before or after a resize
        size = batch_of(PIXEL_BYTES * pixels, self.cfg.eval_batch_size)  # of large images not so many at once
        return self._loader(split, Batches(len(split), size, shuffle=False))

    def _loader(self, split: SplitImages, batches: Batches, *of_training: Callable | None) -> DataLoader:
        resident = self._keeps_on_device()
        workers = 0 if resident else self.cfg.workers
        return DataLoader(
            BatchRows(split, not resident, *of_training),
            sampler=batches,
            batch_size=None,
            num_workers=workers,
            worker_init_fn=ignore_signals,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _keeps_on_device(self) -> bool:
        splits = [self.data.splits[name] for name in ("train", "validation")]
        if any(isinstance(split.pixels, Windows) for split in splits) or used(self.augment_cfg):
            return False
        if self.cfg.on_device is not None:
            return self.cfg.on_device
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device.type != "cuda":
            return False
        arrays = [a for split in splits for a in (split.pixels, split.transparency) if a is not None]
        return sum(array.nbytes for array in arrays) <= torch.cuda.mem_get_info(device)[1] * DEVICE_SHARE

    def transfer_batch_to_device(self, batch: RawBatch, device: torch.device, dataloader_idx: int) -> RawBatch:
        batch = super().transfer_batch_to_device(batch, device, dataloader_idx)
        if batch.pixels is not None:
            return batch
        name = "train" if self.trainer.training else "validation"
        if name not in self._on_device:
            arrays = self.data.splits[name].gather(slice(None))
            self._on_device[name] = tuple(None if a is None else torch.from_numpy(a).to(device) for a in arrays)
        pixels, transparency = self._on_device[name]
        if transparency is not None:
            transparency = transparency[batch.indices]
        return batch._replace(pixels=pixels[batch.indices], transparency=transparency)

    def on_after_batch_transfer(self, batch: RawBatch, dataloader_idx: int) -> Batch:
        return self.training_batch(batch) if self.trainer.training else self.evaluation_batch(batch)

    def training_batch(self, batch: RawBatch) -> Batch:
        """Return the augmented batch, a function of the raw batch and the seed alone."""
        images = self.preprocess.planes(batch.pixels, batch.transparency)
        keys = batch_keys(self.seed, bool(self.cfg.class_sampling), batch.epoch, batch.step, batch.indices)
        images = augment(images, keys, self.augment_cfg)
        images, targets = mix_batch(
            self.preprocess.normalise(images),
            batch.labels,
            self.num_classes,
            self.augment_cfg,
            self.seed,
            batch.epoch,
            batch.step,
        )
        return Batch(images.contiguous(memory_format=self.memory_format), targets, batch.labels)

    def some_images(self, count: int) -> Iterator[Tensor]:
        """Yield batches float32 (N, C, H, W) of at most `count` training images, which the seed selects: normalised
        and not augmented.
        """
        split = self.data.splits["train"]
        generator = np.random.Generator(np.random.PCG64(derive(self.seed, "some")))
        chosen = np.sort(generator.permutation(len(split))[:count])
        for start in range(0, len(chosen), self.cfg.batch_size):
            yield self.preprocess(*tensors(*split.gather(chosen[start : start + self.cfg.batch_size])))

    def training_images(self, epoch: int, count: int, device: torch.device) -> Iterator[Tensor]:
        """Yield the images of the first `count` batches of an epoch, augmented as in training in one process."""
        split = self.data.splits["train"]
        rows = BatchRows(split, True, *self._of_training())
        batches = Batches(len(split), self.cfg.batch_size, self.seed, True, self._sampling_weights())
        batches.start_at(epoch, 0)
        for batch in islice(batches, count):
            yield self.training_batch(super().transfer_batch_to_device(rows[batch], device, 0)).images

    def evaluation_batch(self, batch: RawBatch) -> Batch:
        images = self.preprocess(batch.pixels, batch.transparency)
        targets = F.one_hot(batch.labels, self.num_classes).to(torch.float32)
        return Batch(images.contiguous(memory_format=self.memory_format), targets, batch.labels)
