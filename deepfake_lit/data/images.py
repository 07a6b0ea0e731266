"""Opens a data set before training: reads the manifest, decodes the images into memory maps and makes every check."""

import dataclasses
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from deepfake_lit.core.console import note, note_once, warn
from deepfake_lit.core.errors import UserError
from deepfake_lit.data.cache import Pixels, open_pixels, own_sizes
from deepfake_lit.data.decode import MODES, Facts
from deepfake_lit.data.fit import WHOLE
from deepfake_lit.data.manifest import Manifest, read_manifest
from deepfake_lit.data.problems import Problems
from deepfake_lit.data.split import Split
from deepfake_lit.data.windows import Ragged, Streamed, Windows
from deepfake_lit.settings.choices import PROBLEMS
from deepfake_lit.settings.schema import DataConfig

ONE_SIZE = 0.8  # share of the images that have one size where the others are taken for mistakes
SMALLEST, LARGEST = 32, 256  # pixels; limits of the side of windows that is found from the images


@dataclass
class SplitImages:
    """One split of N images, ready to index.

    `labels` is int64 (N,) or None. `rows`, int64 (N,), are the images' rows in `pixels`, uint8 (M, H, W, 3), and in
    `transparency`, uint8 (M, H, W) or None: dropped images stay in these arrays but not in `rows`. These arrays are
    `Windows`, which can be indexed by rows, where images keep their own sizes or are decoded when asked for.
    """

    name: str
    ids: list[str]
    labels: np.ndarray | None
    files: list[str]
    rows: np.ndarray
    pixels: np.ndarray | Windows
    transparency: np.ndarray | Windows | None
    facts: list[Facts]
    groups: list[str] = field(default_factory=list)  # what the images are also sorted by; empty: by nothing else

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def whole(self) -> bool:
        """Tell whether the images keep their own sizes, so that windows of them can be taken anywhere."""
        return isinstance(self.pixels, Ragged) or (isinstance(self.pixels, Streamed) and self.pixels.fit == WHOLE)

    def gather(
        self, indices: np.ndarray | slice, places: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Copy pixels uint8 (B, H, W, 3) and transparency uint8 (B, H, W), None if all are opaque.

        Args:
            places: of the windows of images of any size, as in `Windows.at`; None: the centres.
        """
        rows = self.rows[indices]
        arrays = (self.pixels, self.transparency)
        if places is not None and isinstance(self.pixels, Windows):
            return tuple(None if a is None else a.at(rows, places) for a in arrays)
        return tuple(None if a is None else a[rows] for a in arrays)

    def only(self, indices: np.ndarray, name: str) -> "SplitImages":
        """Return a split of only the images at these positions."""
        return dataclasses.replace(
            self,
            name=name,
            ids=[self.ids[i] for i in indices],
            labels=None if self.labels is None else self.labels[indices],
            files=[self.files[i] for i in indices],
            rows=self.rows[indices],
            facts=[self.facts[i] for i in indices],
            groups=[self.groups[i] for i in indices] if self.groups else [],
        )


@dataclass
class ImageData:
    """The checked splits. `hash` is of the content of train and validation: it changes with any pixel, label, id or
    split, but not with paths, and is the same for every fold of the training split and whatever class is left out."""

    root: str
    splits: dict[str, SplitImages]
    class_names: list[str]
    size: tuple[int, int]  # (height, width)
    hash: str
    problems: Problems  # all of them tolerated
    held_out: bool = False  # whether validation is a share of the training images
    fit: str = "resize"  # how images are brought to `size`; never auto
    left_out: list[str] = field(default_factory=list)  # classes of the data that are none of `class_names`


def cache_dir(cfg: DataConfig, output_dir: str | Path) -> Path:
    """Return the folder of decoded images: as set, else beside the command's output."""
    return Path(cfg.cache_dir or Path(output_dir) / "cache")


def open_data(
    cfg: DataConfig,
    cache_dir: Path,
    splits: tuple[str, ...] = ("train", "validation"),
    *,
    required: tuple[str, ...] = ("train", "validation"),
    strict: bool = True,
) -> ImageData:
    """Read, decode (or open the cache) and check a data set.

    Args:
        splits: those to open where the data have them.
        required: those of them that must not be empty.
        strict: False accepts every problem that can be tolerated, without a warning, as `audit` needs.

    Raises:
        DataError: one message with every problem that `cfg.tolerate` does not name.
    """
    problems = Problems()
    manifest = read_manifest(cfg, problems, splits, "train" in required)
    for text in problems.notes:
        note_once(text)
    decoded, size, fit = _decode(cfg, manifest, cache_dir)
    if fit == WHOLE and decoded:
        size = size or _windows_of(decoded)
        decoded = {name: pixels.of_size(size) for name, pixels in decoded.items()}
        if cfg.fit == "auto":
            note(
                f"the images have different sizes: training takes random windows of {size[1]} x {size[0]} pixels, "
                "evaluation the centre (data.fit=random_crop); a resize would remove the traces of generators"
            )
    streamed = [name for name, pixels in decoded.items() if isinstance(pixels.pixels, Streamed)]
    if streamed:
        warn(
            f"the decoded images of {' and '.join(streamed)} are larger than data.cache_gib or the free disk: they are "
            "decoded again in every epoch; data.workers=N does it in N processes"
        )
    if cfg.on_device and any(isinstance(pixels.pixels, Windows) for pixels in decoded.values()):
        warn("data.on_device does nothing here: images that are cut or decoded when needed are not kept on the device")
    _check_images(manifest, decoded, None if cfg.decode_size or fit != "resize" else size, problems)
    images = {name: _assemble(split, decoded[name]) for name, split in manifest.splits.items() if split.files}
    tolerate = cfg.tolerate if strict else [name for name, kind in PROBLEMS.items() if kind.when_tolerated]
    problems.settle(str(cfg.root), tolerate, _lost(images, [s for s in splits if s in required], manifest, cfg))
    if problems.kinds and strict:
        warn("\n".join(["the data have problems that data.tolerate lets pass:", *problems.lines(problems.kinds, True)]))
    if (
        strict
        and "validation" in required
        and (without := _classes_without(images.get("validation"), manifest.class_names))
    ):
        warn(f"the validation split has no image of class {', '.join(without)}: nothing can be measured on it")
    hash = _content_hash(images, fit)
    data = ImageData(str(cfg.root), images, manifest.class_names, size, hash, problems, manifest.held_out, fit)
    return as_set(data, cfg)


def as_set(data: ImageData, cfg: DataConfig) -> ImageData:
    """Return what a run of these settings sees of all images: its fold, without the classes that it leaves out.

    Raises:
        UserError: the images do not allow it.
    """
    if cfg.folds is not None:
        data = with_fold(data, cfg.folds, cfg.fold)
    return data if cfg.leave_out is None else without_classes(data, cfg.leave_out)


def _decode(
    cfg: DataConfig, manifest: Manifest, cache_dir: Path
) -> tuple[dict[str, Pixels], tuple[int, int] | None, str]:
    """Return the decoded images of each split, their (height, width) if they have one, and `ImageData.fit`."""
    size = (cfg.decode_size, cfg.decode_size) if cfg.decode_size else None
    decoded: dict[str, Pixels] = {}
    fit = cfg.fit
    for name, split in manifest.splits.items():
        if not split.files:
            continue
        opened = partial(
            open_pixels,
            *(manifest.source, split.files, name, cache_dir, size),
            workers=cfg.decode_workers,
            limit=cfg.cache_gib * 2**30,
        )
        if auto := fit == "auto":
            fit = _fit(cfg, own_sizes(manifest.source, split.files, cache_dir, cfg.decode_workers))
        decoded[name] = opened(fit=fit)
        if auto and fit != _fit(cfg, _own_sizes(decoded[name])):  # the images beside a sample have other sizes
            fit = WHOLE
            decoded[name] = opened(fit=fit)
        if not size and fit != WHOLE and any(fact.error is None for fact in decoded[name].facts):
            size = decoded[name].pixels.shape[1:3]  # the first split, which is train, decides
    return decoded, size, fit


def _fit(cfg: DataConfig, sizes: np.ndarray) -> str:
    """Return how images of these (height, width), int64 (N, 2), are brought to one size; zeros do not count."""
    if cfg.fit != "auto":
        return cfg.fit
    if cfg.decode_size or "wrong_size" in cfg.tolerate:
        return "resize"
    counts = Counter(map(tuple, sizes[sizes.all(1)].tolist()))
    return WHOLE if counts and max(counts.values()) < ONE_SIZE * counts.total() else "resize"


def _own_sizes(pixels: Pixels) -> np.ndarray:
    return np.array([(f.height, f.width) for f in pixels.facts if f.error is None], np.int64).reshape(-1, 2)


def _windows_of(decoded: dict[str, Pixels]) -> tuple[int, int]:
    """Return (height, width) of the windows: the smallest side of the images, of those to learn from if there are any.

    So it is the same whether or not the test images are opened, too.
    """
    learnt = [pixels for name, pixels in decoded.items() if name in ("train", "validation")]
    sizes = np.concatenate([_own_sizes(pixels) for pixels in learnt or decoded.values()])
    side = min(LARGEST, max(SMALLEST, int(sizes.min()))) if len(sizes) else SMALLEST
    return side, side


def with_fold(data: ImageData, folds: int, fold: int) -> ImageData:
    """Hold out a fold of the training split; it replaces the validation split.

    Raises:
        UserError: a class has fewer training images than there are folds.
    """
    train = data.splits["train"]
    held_out = fold_of([fact.pixel_hash for fact in train.facts], train.labels, folds, data.class_names) == fold
    parts = {"train": train.only(np.flatnonzero(~held_out), "train")}
    parts["validation"] = train.only(np.flatnonzero(held_out), "validation")
    return dataclasses.replace(data, splits=data.splits | parts)


def without_classes(data: ImageData, left_out: list[int]) -> ImageData:
    """Return the data without the images of some classes; the others are numbered anew, in their order.

    Raises:
        UserError: there is no such class, or fewer than 2 are left.
    """
    names = data.class_names
    if left_out[-1] >= len(names):
        raise UserError(
            f"data.leave_out={left_out}: there is no class {left_out[-1]}; the classes are 0..{len(names) - 1}"
        )
    kept = [label for label in range(len(names)) if label not in left_out]
    if len(kept) < 2:
        raise UserError(f"data.leave_out={left_out} leaves {len(kept)} of {len(names)} classes; 2 are needed")
    number = np.full(len(names), -1)
    number[kept] = np.arange(len(kept))
    parts = {}
    for name, split in data.splits.items():
        if split.labels is not None:
            split = split.only(np.flatnonzero(number[split.labels] >= 0), name)
            split = dataclasses.replace(split, labels=number[split.labels])
        parts[name] = split
    return dataclasses.replace(
        data, splits=parts, class_names=[names[i] for i in kept], left_out=[names[i] for i in left_out]
    )


def fold_of(hashes: list[str], labels: np.ndarray, folds: int, class_names: list[str] | None = None) -> np.ndarray:
    """Return the fold of every image, int64 (N,).

    Within a class, images are dealt out in the order of their pixels' hashes. So the folds are stratified by class, do
    not depend on file order or a seed, and images with the same pixels are in the same fold.

    Args:
        class_names: for the message.

    Raises:
        UserError: a class has fewer images than there are folds.
    """
    found = np.zeros(len(hashes), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        values, which = np.unique([hashes[i] for i in members], return_inverse=True)
        if len(values) < folds:
            name = class_names[label] if class_names else label
            raise UserError(f"data.folds={folds}: class {name} has only {len(values)} training images")
        found[members] = which % folds
    return found


def _check_images(
    manifest: Manifest, decoded: dict[str, Pixels], expected: tuple[int, int] | None, problems: Problems
) -> None:
    first_with: dict[str, tuple[str, str, int | None]] = {}  # pixel hash -> (split, file, label)
    for name, pixels in decoded.items():
        split = manifest.splits[name]
        labels = [None] * len(split.files) if split.labels is None else split.labels
        for file, label, fact in zip(split.files, labels, pixels.facts, strict=True):
            if fact.error:
                kind, detail = fact.error
                problems.add(kind, f"{file} ({detail})")
                continue
            if expected and (fact.height, fact.width) != expected:
                problems.add("wrong_size", f"{file} ({fact.width} x {fact.height}, not {expected[1]} x {expected[0]})")
            if fact.mode not in MODES:
                problems.add("odd_mode", f"{file} (mode {fact.mode})")
            if fact.frames > 1:
                problems.add("animated", f"{file} ({fact.frames} frames)")
            if fact.pixel_hash in first_with:
                other_split, other, other_label = first_with[fact.pixel_hash]
                conflict = None not in (label, other_label) and label != other_label
                if conflict:
                    classes = f"label {label}, not {other_label}"
                    problems.add("conflicting_labels", f"{file} = {other} ({classes})")
                if other_split != name:
                    problems.add("leaked_pixels", f"{file} = {other}")
                elif not conflict:
                    problems.add("same_pixels", f"{file} = {other}")
            else:
                first_with[fact.pixel_hash] = (name, file, label)


def _lost(images: dict[str, SplitImages], required: list[str], manifest: Manifest, cfg: DataConfig) -> str | None:
    """Return what is missing of the data: a required split, or the training images of a class; else None."""
    for name in required:
        if name not in manifest.splits and (there := read_manifest(cfg, Problems()).splits):
            return f"there are no images of the split {name}, only of {' and '.join(there)}"
        if name not in images or not len(images[name]):
            return f"no usable image is left in the split {name}"
    if "train" in required:
        without = _classes_without(images["train"], manifest.class_names)
        if without:
            return f"no usable training image is left of class {', '.join(without)}"
    return None


def _classes_without(split: SplitImages | None, class_names: list[str]) -> list[str]:
    present = set(split.labels.tolist()) if split and split.labels is not None else range(len(class_names))
    return [name for i, name in enumerate(class_names) if i not in present]


def _assemble(split: Split, pixels: Pixels) -> SplitImages:
    rows = np.array([i for i, fact in enumerate(pixels.facts) if fact.error is None], np.int64)
    labels = None if split.labels is None else np.array(split.labels, np.int64)[rows]
    return SplitImages(
        split.name,
        [split.ids[i] for i in rows],
        labels,
        [split.files[i] for i in rows],
        rows,
        pixels.pixels,
        pixels.transparency,
        [pixels.facts[i] for i in rows],
        [split.groups[i] for i in rows] if split.groups else [],
    )


def _content_hash(splits: dict[str, SplitImages], fit: str) -> str:
    digest = hashlib.sha256()
    for name in ("train", "validation"):
        if split := splits.get(name):
            for image_id, label, fact in zip(split.ids, split.labels, split.facts, strict=True):
                row = f"{name},{image_id},{label},{fact.pixel_hash}\n"
                digest.update(row.encode(errors="surrogateescape"))  # a file's name need not be text
            digest.update(str(split.pixels.shape[1:]).encode())
    if fit != "resize":
        digest.update(fit.encode())
    return digest.hexdigest()[:24]
