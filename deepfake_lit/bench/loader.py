"""Loading of training batches as floats, against torchvision's transforms in a DataLoader."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.transforms import v2

from deepfake_lit.bench.timing import BenchConfig, Comparison, compared, images, in_a_process
from deepfake_lit.core import system
from deepfake_lit.core.system import cores
from deepfake_lit.data.datamodule import ImageDataModule
from deepfake_lit.data.images import SplitImages
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.schema import AugmentConfig

LOADED = 64 * 64  # images per repetition


def loader(cfg: BenchConfig) -> Iterator[Comparison]:
    """Compare loading as `_loader` does, in a process of its own."""
    yield from in_a_process(cfg, _loader, cfg)


class _OneByOne(Dataset):
    """The usual way: torchvision's transforms on single images, from decoded pixels or from files below a root."""

    def __init__(self, split: SplitImages, transform: Callable[[Tensor], Tensor], root: Path | None = None):
        self.split, self.transform, self.root = split, transform, root

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.root:
            image = v2.functional.pil_to_tensor(Image.open(self.root / self.split.files[index]).convert("RGB"))
        else:
            image = torch.from_numpy(self.split.pixels[self.split.rows[index]].copy()).permute(2, 0, 1)
        return self.transform(image), int(self.split.labels[index])


def _loader(cfg: BenchConfig) -> list[Comparison]:
    """Compare training batches of 64 as floats with those of the faster DataLoader, without or with workers."""
    system.keep_freed_memory()
    data = images(cfg)
    split = data.splits["train"]
    run = compose(["experiment=residual_cnn", "data.channels=rgb", f"data.root={cfg.data.root}"])
    to_float = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
    cases = {
        "flip, rotation, normalise": (
            AugmentConfig(hflip=0.5, rotation=10, interpolation="nearest"),
            [v2.RandomHorizontalFlip(), v2.RandomRotation(10)],
        ),
        "flip, normalise": (AugmentConfig(hflip=0.5), [v2.RandomHorizontalFlip()]),
    }
    plain, plainly = _OneByOne(split, v2.Compose(to_float)), ImageDataModule(data, run.data, AugmentConfig(), 0)
    few = np.arange(64)
    expected = torch.stack([plain[i][0] for i in few])
    raw = plainly.train_dataloader().loader.dataset[0, 0, few]
    same = torch.allclose(plainly.training_batches(raw)[0].images, expected, atol=1e-6)

    batches, rows = min(LOADED, len(split)) // 64, []
    for case, (augmentation, transforms) in cases.items():
        module = ImageDataModule(data, run.data, augmentation, 0)
        roots = [None, Path(cfg.data.root)] if Path(cfg.data.root).is_dir() else [None]
        for root in roots:
            one_by_one = _OneByOne(split, v2.Compose([*transforms, *to_float]), root)
            against = f"{case}; against {'files' if root else 'decoded pixels'}"
            rows.append(_fastest(against, module, one_by_one, batches, same, cfg))
    return rows


def _fastest(
    case: str, module: ImageDataModule, one_by_one: Dataset, batches: int, same: bool, cfg: BenchConfig
) -> Comparison:
    """Compare with a DataLoader without workers and with one per core, and return the row of the faster one."""

    def ours():
        return [batch.images.shape for batch in islice(module.train_dataloader(), batches)]

    candidates = []
    for workers in (0, cores()):
        # Only as many images as are used: workers that went on would slow the other side down.
        some = Subset(one_by_one, range(batches * 64))
        torchvision = DataLoader(some, 64, shuffle=True, num_workers=workers, persistent_workers=workers > 0)

        def reference(torchvision=torchvision):
            return [batch[0].shape for batch in islice(torchvision, batches)]

        candidates.append(
            compared(
                "loader",
                case,
                ours,
                reference,
                lambda a, b: same and a == b,
                cfg,
                lambda a, b, workers=workers: (
                    f"{batches * 64 / a:,.0f} images/s against {batches * 64 / b:,.0f} with {workers} workers"
                ),
            )
        )
    return min(candidates, key=lambda row: row.ratio)
