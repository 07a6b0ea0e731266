"""Batches of images: uint8 rows of the memory-mapped arrays become the network's input on the device."""

import math
import signal
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from deepfake_lit.core.randomness import chance, derive, mix_tensor, sample_keys, uniform
from deepfake_lit.core.system import STOP_SIGNALS, batch_of
from deepfake_lit.data.augment import augment, mix_batch
from deepfake_lit.data.images import ImageData, SplitImages
from deepfake_lit.data.laundering import launder, used
from deepfake_lit.data.outliers import outliers
from deepfake_lit.data.preprocess import PIXEL_BYTES, Preprocess, tensors
from deepfake_lit.data.windows import Windows
from deepfake_lit.settings.schema import AugmentConfig, DataConfig

DEVICE_SHARE = 0.25  # share of a GPU's memory that images may take if data.on_device is null
PORTION = 32  # most batches that are augmented in one call if data.portion is null
PORTION_SHARE = 1 / 64  # share of a GPU's memory that their preprocessing may take then


class RawBatch(NamedTuple):
    """A batch as the loader yields it, or several of one epoch that follow each other.

    pixels: uint8 (B, H, W, 3), or None if they are on the device already. transparency: uint8 (B, H, W) or None.
    labels, indices (into the split): int64 (B,). epoch, step: the first batch's place in the run.
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


def joined(batches: list[RawBatch]) -> RawBatch:
    """Return batches that follow each other as one."""
    if len(batches) == 1:
        return batches[0]
    tensors = [
        None if parts[0] is None else torch.cat(parts) for parts in zip(*(raw[:4] for raw in batches), strict=True)
    ]
    return RawBatch(*tensors, batches[0].epoch, batches[0].step)


def batch_keys(seed: int, drawn: int | None, epoch: int, step: int, indices: Tensor) -> Tensor:
    """Return the keys of the random numbers of training batches, int64 (B,).

    Args:
        drawn: the size of a batch if images are drawn with replacement, else None. An image that comes again in the
            epoch must look different, so its step counts, too.
    """
    keys = sample_keys(seed, epoch, indices)
    if drawn is None:
        return keys
    return mix_tensor(keys + step + torch.arange(len(indices), device=indices.device) // drawn)


def random_places(seed: int, drawn: int | None, epoch: int, step: int, indices: np.ndarray) -> np.ndarray:
    """Return where the random windows of a training batch lie, float32 (B, 2), as in `Windows.at`."""
    keys = batch_keys(seed, drawn, epoch, step, torch.from_numpy(indices))
    return torch.stack([uniform(keys, f"fit_{axis}") for axis in "yx"], 1).numpy()


def laundered(seed: int, drawn: int | None, cfg: AugmentConfig, epoch: int, step: int, indices: np.ndarray, *arrays):
    """Return the gathered pixels and transparency of a training batch, distorted as `launder` does."""
    return launder(*arrays, batch_keys(seed, drawn, epoch, step, torch.from_numpy(indices)), cfg)


class Batches(Sampler):
    """A sampler that yields (epoch, step, indices) for every batch of an epoch, in one of `world` processes.

    The order is a function of (seed, epoch). With several processes, each takes its share of every global batch. The
    last batch is filled up from the start of the epoch, so that all processes take the same number of steps.

    Args:
        weights: float (N,), relative probability of each image in a draw with replacement; None: a permutation.
        shuffle: False keeps the split's order and fills nothing up.
        portion: how many batches are worked on together. An epoch that is resumed begins with a whole portion.
    """

    def __init__(self, count, batch_size, seed=0, shuffle=True, weights=None, rank=0, world=1, portion=1):
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.weights, self.rank, self.world, self.portion = weights, rank, world, portion
        self.start_at(0, 0)

    def start_at(self, epoch: int, step: int) -> None:
        self.epoch, self.first_step = epoch, step

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.start_at(epoch, 0)

    def __len__(self) -> int:
        return -(-self.count // (self.batch_size * self.world))

    @property
    def done(self) -> int:
        """Return how many batches of the first portion were trained on before."""
        return self.first_step % self.portion

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
        for step in range(self.first_step - self.done, len(self)):
            yield self.epoch, step, order[step * share : (step + 1) * share][self.rank :: self.world]


class TrainingBatches:
    """The training batches of an epoch as the network gets them, several of which are prepared in one call.

    Portions begin at the same steps after a restart within the epoch, so that a device whose rounding depends on the
    number of images gives the same batches.

    Args:
        loader: yields raw batches; its sampler is `Batches`.
        prepare: turns a list of raw batches into a list of batches on their device.
    """

    def __init__(self, loader: DataLoader, prepare: Callable[[list], list[Batch]]):
        self.loader, self.sampler, self.prepare = loader, loader.sampler, prepare

    def __len__(self) -> int:
        return len(self.sampler)

    @property
    def _iterator(self) -> Any:
        """Return the loader's iterator. Lightning stops its workers at the end, and sets it to None."""
        return self.loader._iterator

    @_iterator.setter
    def _iterator(self, iterator: None) -> None:
        self.loader._iterator = iterator

    def __iter__(self) -> Iterator[Batch]:
        done = self.sampler.done
        raw = iter(self.loader)
        while portion := list(islice(raw, self.sampler.portion)):
            yield from self.prepare(portion)[done:]
            done = 0


def ignore_signals(worker: int) -> None:
    """Ignore stop signals in a loader's worker: the main process answers them for the whole run."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class ImageDataModule(pl.LightningDataModule):
    """The loaders of raw batches, and the conversion of a raw batch into the network's input on its device.

    Every process evaluates the whole validation split: it is small, and the metrics then need no synchronisation.

    Args:
        device: of the training batches where no trainer says it.
    """

    def __init__(
        self,
        data: ImageData,
        cfg: DataConfig,
        augment_cfg: AugmentConfig,
        seed: int,
        channels_last: bool = False,
        device: str = "cpu",
    ):
        super().__init__()
        self.data, self.cfg, self.augment_cfg, self.seed = data, cfg, augment_cfg, seed
        self.preprocess = Preprocess.from_config(cfg)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._alone = torch.device(device)
        self._on_device: dict[str, tuple[Tensor, Tensor | None]] = {}  # pixels and transparency, by split

    @property
    def num_classes(self) -> int:
        return len(self.data.class_names)

    @property
    def device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else self._alone

    def train_dataloader(self) -> TrainingBatches:
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        loader = self._loader(self.data.splits["train"], self._training_order(rank, world), *self._of_training())
        return TrainingBatches(loader, self.prepare)

    def _training_order(self, rank: int = 0, world: int = 1) -> Batches:
        count, weights = len(self.train_labels()), self._sampling_weights()
        return Batches(count, self.cfg.batch_size, self.seed, True, weights, rank, world, self._portion())

    def _portion(self) -> int:
        """Return how many batches are augmented in one call.

        A GPU waits for the start of each operation and not for its arithmetic. A CPU does not wait, and one batch
        stays in its cache. What workers load meanwhile must be the next portion.
        """
        if self.cfg.portion:
            return self.cfg.portion
        if self.device.type != "cuda":
            return 1
        memory = torch.cuda.mem_get_info(self.device)[1] * PORTION_SHARE
        loaded = PORTION if self._keeps_on_device() or not self.cfg.workers else self.cfg.workers
        return max(1, min(PORTION, loaded, int(memory / (PIXEL_BYTES * self._pixels() * self.cfg.batch_size))))

    def _pixels(self) -> int:
        """Return the number of pixels of an image: of the file's or the network's size, whichever is larger."""
        return max(math.prod(self.data.size), (self.cfg.image_size or 0) ** 2)

    def _drawn(self) -> int | None:
        return self.cfg.batch_size if self.cfg.class_sampling else None

    def _of_training(self) -> tuple[Callable, Callable | None]:
        """Return `places` and `changed` of `BatchRows` for training batches."""
        how = (self.seed, self._drawn())
        changed = partial(laundered, *how, self.augment_cfg) if used(self.augment_cfg) else None
        return partial(random_places, *how), changed

    def train_labels(self) -> np.ndarray:
        return self.data.splits["train"].labels

    def _sampling_weights(self) -> np.ndarray | None:
        sampling = self.cfg.class_sampling
        return np.asarray(sampling)[self.train_labels()] if sampling else None

    def val_dataloader(self) -> DataLoader:
        split = self.data.splits["validation"]
        size = batch_of(PIXEL_BYTES * self._pixels(), self.cfg.eval_batch_size)  # of large images not so many at once
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
        if self.device.type != "cuda":
            return False
        arrays = [a for split in splits for a in (split.pixels, split.transparency) if a is not None]
        return sum(array.nbytes for array in arrays) <= torch.cuda.mem_get_info(self.device)[1] * DEVICE_SHARE

    def transfer_batch_to_device(self, batch: RawBatch, device: torch.device, dataloader_idx: int) -> RawBatch:
        """Move a batch of the validation loader, or a training batch, which is there already."""
        return self._with_pixels(self._moved(batch, device), "validation")

    def _moved(self, batch: Any, device: torch.device) -> Any:
        """Return a batch on a device, which need not wait for it."""
        return super().transfer_batch_to_device(batch, device, 0)

    def _with_pixels(self, batch: RawBatch | Batch, split: str) -> RawBatch | Batch:
        """Give a batch that is on its device the pixels that are kept there."""
        if isinstance(batch, Batch) or batch.pixels is not None:
            return batch
        if split not in self._on_device:
            arrays, device = self.data.splits[split].gather(slice(None)), batch.indices.device
            self._on_device[split] = tuple(None if a is None else torch.from_numpy(a).to(device) for a in arrays)
        pixels, transparency = self._on_device[split]
        if transparency is not None:
            transparency = transparency[batch.indices]
        return batch._replace(pixels=pixels[batch.indices], transparency=transparency)

    def on_after_batch_transfer(self, batch: RawBatch | Batch, dataloader_idx: int) -> Batch:
        return batch if isinstance(batch, Batch) else self.evaluation_batch(batch)

    def prepare(self, batches: list[RawBatch]) -> list[Batch]:
        """Return training batches that follow each other, on the device and augmented in one call."""
        raw = joined([self._moved(batch, self.device) for batch in batches])
        return self.training_batches(self._with_pixels(raw, "train"))

    def training_batches(self, raw: RawBatch) -> list[Batch]:
        """Return the augmented batches, a function of the raw ones and the seed alone.

        Random numbers are drawn by image, those of CutMix, MixUp and shared shifts by batch."""
        size = self.cfg.batch_size
        keys = batch_keys(self.seed, self._drawn(), raw.epoch, raw.step, raw.indices)
        images = augment(self.preprocess.planes(raw.pixels, raw.transparency), keys, self.augment_cfg, size)
        of_no_class = [None] * len(raw.labels.split(size))
        if self.augment_cfg.outliers_p:
            chosen = chance(keys, "outliers", self.augment_cfg.outliers_p)
            kind = self.augment_cfg.outliers_kind
            images, chosen = outliers(images, raw.labels, keys, chosen, kind, size)
            of_no_class = chosen.split(size)
        images = self.preprocess.normalise(images).contiguous(memory_format=self.memory_format)
        mixed = []
        batches = zip(images.split(size), raw.labels.split(size), of_no_class, strict=True)
        for step, (part, labels, own) in enumerate(batches, raw.step):
            place = self.seed, raw.epoch, step
            part, targets = mix_batch(part, labels, self.num_classes, self.augment_cfg, *place, own)
            mixed.append(Batch(part.contiguous(memory_format=self.memory_format), targets, labels))
        return mixed

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
        rows = BatchRows(self.data.splits["train"], True, *self._of_training())
        order = self._training_order()
        order.start_at(epoch, 0)
        steps = islice(order, count)
        while portion := [self._moved(rows[step], device) for step in islice(steps, order.portion)]:
            yield from (batch.images for batch in self.training_batches(joined(portion)))

    def evaluation_batch(self, batch: RawBatch) -> Batch:
        images = self.preprocess(batch.pixels, batch.transparency)
        targets = F.one_hot(batch.labels, self.num_classes).to(torch.float32)
        return Batch(images.contiguous(memory_format=self.memory_format), targets, batch.labels)
