"""Checkpoints on labelled images: figures, also by group; stored probabilities, a confusion matrix."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from deepfake_lit.core import hardware, plots
from deepfake_lit.core.console import note, warn
from deepfake_lit.core.errors import UserError, one_of
from deepfake_lit.core.files import check_writable, write_json
from deepfake_lit.data.images import ImageData, SplitImages, cache_dir, open_data
from deepfake_lit.data.manifest import Manifest, read_manifest
from deepfake_lit.data.problems import DataError, Problems
from deepfake_lit.data.split import SPLITS
from deepfake_lit.prediction.classes import align, numbered
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.results.figures import figures_of
from deepfake_lit.results.files import write_predictions
from deepfake_lit.settings.checks import check_views
from deepfake_lit.settings.commands import EvaluateConfig
from deepfake_lit.settings.schema import DataConfig


def evaluate(checkpoints: list[str], cfg: EvaluateConfig) -> dict[str, Any]:
    """Figures without (`plain`) and with test-time augmentation (`tta`), also written to `cfg.output`.

    Several checkpoints are evaluated as one ensemble, the mean of their probabilities. The classes of the data are
    those of the checkpoint with the same name. Where the data's folders or tables also have groups, such as generators,
    `groups` has the figures of each. Writes `evaluation.json`, `predictions.npz` and `confusion.png`.

    Raises:
        UserError: checkpoints or data cannot be read, or have different classes.
    """
    check_views(cfg.views)
    predictor = Predictor.load(checkpoints, hardware.resolve(cfg.accelerator, cfg.precision))
    output = Path(cfg.output)
    data, splits, numbers = open_labelled(predictor, checkpoints, cfg, output)
    check_writable(output)
    names = "+".join(split.name for split in splits)
    answers = [predictor.on_split(split, cfg.views, cfg.batch_size) for split in splits]
    plain, tta = (np.concatenate([pair[i].numpy() for pair in answers]) for i in (0, 1))
    labels = numbers[np.concatenate([split.labels for split in splits])]
    ids = [image_id for split in splits for image_id in split.ids]
    groups = np.array([group for split in splits for group in split.groups])
    report = {
        "checkpoints": list(checkpoints),
        "data": {"root": data.root, "hash": data.hash, "split": names},
        "class_names": predictor.class_names,
        "views": list(cfg.views),
        "hardware": predictor.machine.to_dict(),
        "plain": figures_of(plain, labels),
        "tta": figures_of(tta, labels),
        "groups": {group: figures_of(plain[groups == group], labels[groups == group]) for group in sorted(set(groups))},
    }
    write_json(output / "evaluation.json", report)
    arrays = {"ids": np.array(ids), "labels": labels, "probabilities": plain, "probabilities_tta": tta}
    write_predictions(output / "predictions.npz", arrays | ({"groups": groups} if len(groups) else {}))
    title = f"{names}, {len(ids):,} images: {report['plain']['accuracy']:.2%}"
    plots.confusion_matrix(output / "confusion.png", report["plain"]["confusion"], predictor.class_names, title)
    return report


class Labelled(Protocol):
    """Settings of which labelled images a command takes."""

    data: DataConfig
    split: str
    classes: dict[str, str]


def open_labelled(
    predictor: Predictor, checkpoints: list[str], cfg: Labelled, output: Path
) -> tuple[ImageData, list[SplitImages], np.ndarray]:
    """Open labelled images for a predictor, and prepare its members for their size.

    Args:
        checkpoints: of the members, for messages.
        output: the command's own folder; the cache is beside it.

    Returns:
        The data; the splits to evaluate; for each class of the data its number for the predictor, int64 (K,).

    Raises:
        UserError: the data cannot be read, have no such split, or have other classes.
    """
    one_of("split", cfg.split, ("auto", "all", *SPLITS))
    data = _opened(cfg, output, predictor)
    if data.size != predictor.members[0].image_size:
        sides = " and ".join(f"{width} x {height}" for height, width in (data.size, predictor.members[0].image_size))
        warn(f"the images and those that the checkpoint was trained on have different sizes, {sides}: they are resized")
    for path, member in zip(checkpoints, predictor.members, strict=True):
        member.expect(data.size, path)
    numbers = np.array(
        align(
            data.class_names,
            predictor.class_names,
            "the data",
            "the checkpoint",
            cfg.classes,
            "; say which is which: 'classes={" + ", ".join(f"{name}: ..." for name in data.class_names[:5]) + "}'",
        )
    )
    if not cfg.classes and [predictor.class_names[i].lower() for i in numbers] != [n.lower() for n in data.class_names]:
        pairs = ", ".join(f"{predictor.class_names[i]} = {n}" for i, n in zip(numbers, data.class_names, strict=True))
        warn(f"the classes are only numbers on one side, so they are taken in this order: {pairs}")
    known = any(m.meta["data_hash"] == data.hash for m in predictor.members)
    chosen = _chosen(cfg.split, data, known)
    if cfg.split == "auto" and "train" in chosen:
        note("the data have no validation or test split with labels: all images are evaluated (split=all)")
    if known and "train" in chosen:
        warn("these are the images that a checkpoint was trained on; the figures say nothing about new ones")
    return data, [data.splits[name] for name in chosen], numbers


def _opened(cfg: Labelled, output: Path, predictor: Predictor) -> ImageData:
    """Open the splits that can be wanted: not the test images where the validation images are.

    Classes of the same names get the checkpoint's order, with which its own data have the hash that they had. Images of
    any size are cut as the checkpoint's own were.
    """
    class_names = predictor.class_names
    data, listed = _listed(cfg, class_names)
    labelled = [name for name, split in listed.splits.items() if split.labels is not None]
    of_test = cfg.split in ("test", "all") or (cfg.split == "auto" and _own(labelled, listed.held_out) == "test")
    wanted = [name for name in labelled if name != "test" or of_test]
    if data.class_names is None and sorted(class_names) == sorted(listed.class_names):
        data = dataclasses.replace(data, class_names=class_names)
    if data.fit == "auto":
        cut = predictor.fit != "resize" and data.decode_size is None
        side = predictor.members[0].image_size[0] if cut else data.decode_size
        data = dataclasses.replace(data, fit=predictor.fit if cut else "resize", decode_size=side)
    return open_data(data, cache_dir(cfg.data, output.parent), tuple(wanted), required=())


def _listed(cfg: Labelled, class_names: list[str]) -> tuple[DataConfig, Manifest]:
    """Read what the data hold. Where they name other classes, folders of the checkpoint's classes are looked for.

    So a folder of one class alone is read, too, and the generators in it are groups.
    """
    unclear, listed = None, None
    try:
        listed = read_manifest(cfg.data, Problems())
    except DataError as error:
        unclear = error
    own = {theirs: name for name, theirs in cfg.classes.items()}
    expected = [own.get(name, name) for name in class_names]
    known = listed and (numbered(listed.class_names) or _lower(listed.class_names) & _lower(expected))
    if cfg.data.class_names is None and not known:
        named, problems = dataclasses.replace(cfg.data, class_names=expected), Problems()
        with contextlib.suppress(DataError):
            found = read_manifest(named, problems, to_learn=False)
            if "class_count" not in problems:
                return named, found
    if unclear:
        raise unclear
    return cfg.data, listed


def _lower(names: list[str]) -> set[str]:
    return {name.lower() for name in names}


def _own(labelled: list[str], held_out: bool) -> str | None:
    """Return the split that data have for an evaluation: validation, unless it is held out of train, else test."""
    return next(
        (name for name in ("validation", "test") if name in labelled and not (held_out and name != "test")), None
    )


def _chosen(split: str, data: ImageData, known: bool) -> list[str]:
    """Return the names of the splits to evaluate.

    Args:
        known: whether a checkpoint was trained on these data.

    Raises:
        UserError: the data have no labelled images of that split.
    """
    labelled = [name for name in SPLITS if name in data.splits and data.splits[name].labels is not None]
    if split == "auto":
        split = _own(labelled, data.held_out) or ("validation" if known else "all")
    chosen = labelled if split == "all" else [name for name in labelled if name == split]
    if not chosen:
        there = " and ".join(labelled) or "no split"
        raise UserError(f"{data.root} has no labelled images of split={split}; labels exist in {there}")
    return chosen
