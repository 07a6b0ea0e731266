"""Checkpoints on distorted images: how much of their accuracy is left after codecs, resizing, blur and noise."""

import csv
import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_lit.core import console, hardware, plots
from deepfake_lit.core.errors import UserError, one_of
from deepfake_lit.core.files import atomic, check_writable, write_json
from deepfake_lit.core.randomness import derive
from deepfake_lit.data import distortions
from deepfake_lit.data.distortions import GRID, on_batch
from deepfake_lit.data.images import SplitImages
from deepfake_lit.data.preprocess import tensors
from deepfake_lit.prediction.checkpoint import checkpoint_file
from deepfake_lit.prediction.evaluate import open_labelled
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.results.robustness import CLEAN, Condition, condition_figures, holm, mean_interval, summary
from deepfake_lit.results.statistics import paired
from deepfake_lit.settings.checks import check_views
from deepfake_lit.settings.commands import RobustnessConfig
from deepfake_lit.settings.identity import digest


def grid(kinds: list[str] | None = None) -> list[Condition]:
    """Return the conditions of the grid, or of some of its kinds; the first one is the images as they are.

    Raises:
        UserError: there is no such kind.
    """
    for kind in kinds or ():
        one_of("kinds", kind, tuple(GRID))
    chosen = {kind: distortion for kind, distortion in GRID.items() if not kinds or kind in kinds}
    rows = [Condition(kind, s, d.nothing, d.unit, d.source) for kind, d in chosen.items() for s in d.strengths]
    return [Condition(CLEAN), *rows]


def robustness(checkpoints: list[str], cfg: RobustnessConfig) -> dict[str, Any]:
    """Return the figures of every checkpoint under every condition, also written to `cfg.output`.

    Images are distorted as they are decoded, at the size of the data, before a checkpoint's own preprocessing. Noise
    and the like are a function of an image's id. Every checkpoint stands for itself, and all others are compared with
    the first one on the same images. p-values are corrected over the grid (Holm 1979). Writes `robustness.json`,
    `robustness.csv`, `robustness.png` and, below `answers`, the probabilities, from which an interrupted command goes
    on.

    Raises:
        UserError: checkpoints or data cannot be read, or have different classes.
    """
    check_views(cfg.views)
    conditions = grid(cfg.kinds)
    if len(set(checkpoints)) < len(checkpoints):
        raise UserError("a checkpoint is named twice")
    output = Path(cfg.output)
    check_writable(output)
    machine = hardware.resolve(cfg.accelerator, cfg.precision)
    together = Predictor.load(checkpoints, machine)
    data, splits, numbers = open_labelled(together, checkpoints, cfg, output)
    # Each for itself, with the classes in the first one's order.
    predictors = [Predictor([m], machine, [order]) for m, order in zip(together.members, together.orders, strict=True)]
    splits = [split.only(np.flatnonzero(numbers[split.labels] >= 0), split.name) for split in splits]
    labels = numbers[np.concatenate([split.labels for split in splits])]
    names = "+".join(split.name for split in splits)
    images = [(i, fact.pixel_hash) for split in splits for i, fact in zip(split.ids, split.facts, strict=True)]
    what = (images, data.size, data.fit, together.class_names, cfg.views, machine.precision, machine.device)
    what += (_hash(Path(distortions.__file__)),)  # a distortion that was changed is measured anew
    folders = [output / "answers" / digest(_hash(checkpoint_file(Path(path))), *what) for path in checkpoints]
    _measure(conditions, predictors, splits, folders, cfg)
    found = [_figures_of(folder, conditions, labels) for folder in folders]
    report = {
        "checkpoints": list(checkpoints),
        "data": {"root": data.root, "hash": data.hash, "split": names, "images": len(labels)},
        "class_names": together.class_names,
        "views": list(cfg.views),
        "hardware": machine.to_dict(),
        "conditions": [vars(c) | {"name": c.name} for c in conditions],
        "results": [figures for figures, _ in found],
        "summaries": [summary(conditions, figures, right, labels) for figures, right in found],
        "compared": _compared(folders, conditions, labels, [right for _, right in found]),
    }
    write_json(output / "robustness.json", report)
    write_table(output / "robustness.csv", report)
    plots.accuracy_over_strength(output / "robustness.png", report)
    return report


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _measure(
    conditions: list[Condition],
    predictors: list[Predictor],
    splits: list[SplitImages],
    folders: list[Path],
    cfg: RobustnessConfig,
) -> None:
    """Write every checkpoint's answers for every condition, except those that are there already."""
    step = min(p.together(splits[0].pixels.shape[1:3], cfg.batch_size) for p in predictors)
    wanted = [(c, [i for i, folder in enumerate(folders) if not _answers(folder, c).exists()]) for c in conditions]
    wanted = [(condition, missing) for condition, missing in wanted if missing]
    count = sum(map(len, splits))
    for condition, missing in console.progress(iter(wanted), "conditions", len(wanted)):
        found = {i: np.empty((count, len(predictors[i].class_names)), np.float32) for i in missing}
        start = 0
        for batch in _distorted(condition, splits, step):
            rows = slice(start, start + len(batch[0]))
            start = rows.stop
            for i in missing:
                found[i][rows] = predictors[i].by_view(*batch, cfg.views).mean(0).numpy()
        for i, probabilities in found.items():
            with atomic(_answers(folders[i], condition), "wb") as file:
                np.save(file, probabilities)


def _answers(folder: Path, condition: Condition) -> Path:
    return folder / f"{condition.name.replace(' ', '_')}.npy"


def _read(folder: Path, condition: Condition) -> np.ndarray:
    return np.load(_answers(folder, condition), allow_pickle=False)


def _distorted(condition: Condition, splits: list[SplitImages], step: int) -> Iterator[tuple]:
    """Yield batches of all splits as members take them, each image distorted by random numbers of its id."""
    for split in splits:
        for start in range(0, len(split), step):
            arrays = split.gather(slice(start, start + step))
            if condition.strength is not None:
                keys = [_key(condition.kind, image_id) for image_id in split.ids[start : start + step]]
                distort = partial(_apply, condition=condition)
                arrays = on_batch(*arrays, keys, distort)
            yield tensors(*arrays)


def _key(kind: str, image_id: str) -> int:
    name = image_id.encode(errors="surrogateescape")  # a file's name need not be text
    return derive(kind, int.from_bytes(name, "big"))


def _apply(image: np.ndarray, random: np.random.Generator, condition: Condition) -> np.ndarray:
    return GRID[condition.kind].apply(image, condition.strength, random)


def _figures_of(folder: Path, conditions: list[Condition], labels: np.ndarray) -> tuple[list[dict], np.ndarray]:
    """Return the figures of each condition, and for each image the share of the distorted ones in which it is right."""
    clean = _read(folder, conditions[0])
    found, right = [], np.zeros(len(labels))
    for condition in conditions:
        probabilities = _read(folder, condition)
        found.append(condition_figures(probabilities, clean, labels))
        if condition.kind != CLEAN:
            right += probabilities.argmax(1) == labels
    corrected = holm([figures["from_clean"]["p"] for figures in found[1:]])
    for figures, p in zip(found[1:], corrected, strict=True):
        figures["from_clean"]["p_holm"] = p
    return found, right / max(len(conditions) - 1, 1)


def _compared(
    folders: list[Path], conditions: list[Condition], labels: np.ndarray, right: list[np.ndarray]
) -> list[dict[str, Any]]:
    """Compare every checkpoint but the first with it: by condition, and in the mean over the distorted ones."""
    found = []
    for folder, own in zip(folders[1:], right[1:], strict=True):
        rows = []
        for condition in conditions:
            answers = (_read(f, condition).argmax(1) == labels for f in (folder, folders[0]))
            rows.append(vars(paired(*answers)))
        mean, interval = mean_interval(own - right[0])
        found.append({"mean": mean, "interval": interval, "conditions": rows})
    corrected = iter(holm([row["p"] for each in found for row in each["conditions"]]))
    for row in (row for each in found for row in each["conditions"]):
        row["p_holm"] = next(corrected)
    return found


def write_table(path: Path, report: dict[str, Any]) -> None:
    """Write a row for every checkpoint and condition."""
    names = report["class_names"]
    with atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        columns = ("accuracy", "low", "high", "from_clean", "from_clean_low", "from_clean_high", "p_holm", "flips")
        columns += ("confidence", "calibration_error", *(f"{of}_{n}" for of in ("recall", "ap", "auc") for n in names))
        writer.writerow(["checkpoint", "condition", "kind", "strength", "images", *columns])
        for checkpoint, results in zip(report["checkpoints"], report["results"], strict=True):
            for condition, f in zip(report["conditions"], results, strict=True):
                change = f["from_clean"]
                values = [f["accuracy"], *f["interval"], change["difference"], *change["interval"]]
                values += [change.get("p_holm"), f["flips"], f["confidence"], f["calibration_error"]]
                values += [*f["recall_of"], *f["ap_of"], *f["auc_of"]]
                head = [checkpoint, condition["name"], condition["kind"], condition["strength"], f["images"]]
                writer.writerow([*head, *("" if v is None else f"{v:.6g}" for v in values)])
