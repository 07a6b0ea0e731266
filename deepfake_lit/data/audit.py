"""Audit of a data set: counts, sizes, modes, alpha, duplicates, colour statistics, spectra."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from posixpath import splitext
from typing import Any

import numpy as np
from scipy import fft

from deepfake_lit.core import plots
from deepfake_lit.core.console import progress
from deepfake_lit.core.files import write_json
from deepfake_lit.core.system import batch_of
from deepfake_lit.data.channels import LUMA
from deepfake_lit.data.copies import turned_copies
from deepfake_lit.data.images import ImageData, SplitImages, open_data
from deepfake_lit.data.shortcuts import shortcuts, traces_in_pixels, warnings_of
from deepfake_lit.data.sources import open_source
from deepfake_lit.data.split import SPLITS
from deepfake_lit.settings.schema import DataConfig

SHEET = 8  # images per class in the contact sheet
MOST = 500  # images processed at once; fewer where they are large
SPECTRUM = 512  # pixels; of a larger image the spectrum is that of its centre


@dataclass
class Audit:
    """The findings of an audit as plain data, and the folder of the files that hold them."""

    findings: dict[str, Any]
    folder: Path


def audit(cfg: DataConfig, cache_dir: Path, output: Path) -> Audit:
    """Examine every split and write `audit.json`, `contact_sheet.png` and `spectra.png` below `output`.

    Problems that `data.tolerate` can let pass are listed as findings; any other problem stops the audit.

    Raises:
        DataError: the data set has a problem that cannot be tolerated.
    """
    data = open_data(cfg, cache_dir, SPLITS, strict=False)
    folder = output / data.hash
    train = data.splits["train"]
    found = shortcuts(train, data.class_names)
    if pixels := traces_in_pixels(train, data.class_names):
        found["traces of JPEG or resize"] = pixels
    findings = {
        "root": data.root,
        "data_hash": data.hash,
        "class_names": data.class_names,
        "image_size": list(data.size),
        "splits": {name: _describe(split, len(data.class_names)) for name, split in data.splits.items()},
        "alpha": alpha_finding(data),
        "shortcuts": found,
        "shortcut_warnings": warnings_of(found),
        "turned_copies": turned_copies(data),
        "train_pixels": pixel_statistics(train, len(data.class_names)),
        "other_files": other_files(cfg),
        "problems": {kind: data.problems.found[kind] for kind in data.problems.kinds},
    }
    write_json(folder / "audit.json", findings)
    examples = [np.flatnonzero(train.labels == c)[:SHEET] for c in range(len(data.class_names))]
    images = ([train.pixels[row] for row in train.rows[rows]] for rows in examples)
    plots.contact_sheet(folder / "contact_sheet.png", images, data.class_names)
    spectra = mean_log_spectra(train, len(data.class_names), plots.FIRST)
    plots.spectra(folder / "spectra.png", *spectra, data.class_names)
    return Audit(findings, folder)


def other_files(cfg: DataConfig) -> dict[str, int]:
    """Count the files that are neither images nor tables, by their ending."""
    endings = Counter(
        splitext(name)[1].lower() or "no ending" for name in open_source(cfg.root, tables=cfg.layout == "auto").others
    )
    return {ending: count for ending, count in endings.most_common() if ending not in (".csv", ".tsv")}


def _describe(split: SplitImages, num_classes: int) -> dict[str, Any]:
    return {
        "images": len(split),
        "per_class": None if split.labels is None else np.bincount(split.labels, minlength=num_classes).tolist(),
        "sizes": dict(Counter(f"{f.width} x {f.height}" for f in split.facts).most_common()),
        "modes": dict(Counter(f.mode for f in split.facts).most_common()),
    }


def alpha_finding(data: ImageData) -> dict[str, Any]:
    """Report whether an alpha channel could carry information. A file without alpha counts as 255 everywhere."""
    facts = [fact for split in data.splits.values() for fact in split.facts]
    opaque = sum(fact.alpha is None or fact.alpha == (255, 255) for fact in facts)
    with_plane = sum(fact.alpha is not None for fact in facts)
    if opaque == len(facts):
        verdict = f"alpha is constant 255 in {opaque:,} of {len(facts):,} images: RGBA carries no image information"
    else:
        verdict = f"alpha is not 255 everywhere in {len(facts) - opaque:,} of {len(facts):,} images"
    return {"opaque": opaque, "with_alpha_plane": with_plane, "images": len(facts), "verdict": verdict}


def pixel_statistics(split: SplitImages, num_classes: int) -> dict[str, Any]:
    """Return mean and standard deviation of R, G, B in [0, 1] over all pixels, for the whole split and each class."""
    values = np.arange(256, dtype=np.float64) / 255
    # histograms are exact, and faster than sums of squares in float64
    histograms = np.zeros((num_classes, 3, 256), np.int64)
    step = batch_of(16 * math.prod(split.pixels.shape[1:3]), MOST)  # 3 bytes of the pixels, copied, and 8 of an index
    for start in progress(range(0, len(split), step), "colour statistics", len(split), step):
        pixels = split.pixels[split.rows[start : start + step]]
        labels = split.labels[start : start + step]
        for c in np.unique(labels):
            planes = pixels[labels == c].reshape(-1, 3)
            for plane in range(3):
                histograms[c, plane] += np.bincount(planes[:, plane], minlength=256)
    sums, squares = histograms @ values, histograms @ values**2
    counts = np.bincount(split.labels, minlength=num_classes)[:, None] * np.prod(split.pixels.shape[1:3])

    def moments(total, square, count) -> dict[str, list[float]]:
        mean = total / count
        return {"mean": mean.tolist(), "std": np.sqrt(np.maximum(square / count - mean**2, 0)).tolist()}

    return {
        "all": moments(sums.sum(0), squares.sum(0), counts.sum()),
        "per_class": [moments(*row) for row in zip(sums, squares, counts, strict=True)],
    }


def mean_log_spectra(split: SplitImages, num_classes: int, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean log10 power spectra of the luma, zero frequency in the centre, of images or their centres.

    Before the transform the mean is subtracted and a Hann window applied. Otherwise the cross that an image's borders
    cause would hide the generators' traces.

    Args:
        most: number of classes whose own spectra are wanted; None: all.

    Returns:
        float64 (k, H, W) of the first k classes, NaN for one without images; and float64 (H, W), the mean of the
        classes with images, each with the same weight.
    """
    height, width = (min(side, SPECTRUM) for side in split.pixels.shape[1:3])
    top, left = ((side - own) // 2 for side, own in zip(split.pixels.shape[1:3], (height, width), strict=True))
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    own = np.zeros((min(num_classes, most or num_classes), height, width))
    mean = np.zeros((height, width))
    counts = np.bincount(split.labels, minlength=num_classes)
    step = batch_of(48 * height * width, MOST)  # float32 planes, their luma and its complex transform
    for start in progress(range(0, len(split), step), "spectra", len(split), step):
        centres = split.pixels[:, top : top + height, left : left + width]  # a view
        luma = centres[split.rows[start : start + step]].astype(np.float32) @ np.array(LUMA, np.float32) / 255
        luma = (luma - luma.mean((1, 2), keepdims=True)) * window
        power = np.abs(fft.fft2(luma, workers=-1)) ** 2
        spectrum = np.log10(power + 1e-8)
        labels = split.labels[start : start + step]
        for c in np.unique(labels):
            total = spectrum[labels == c].sum(0) / counts[c]
            mean += total / np.count_nonzero(counts)
            if c < len(own):
                own[c] += total
    own[counts[: len(own)] == 0] = np.nan
    return fft.fftshift(own, axes=(1, 2)), fft.fftshift(mean)
