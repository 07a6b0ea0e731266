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
from deepfake_lit.core.groups import group_labels, grouped
from deepfake_lit.data.images import ImageData, SplitImages, cache_dir, open_data
from deepfake_lit.data.manifest import Manifest, read_manifest
from deepfake_lit.data.problems import DataError, Problems
from deepfake_lit.data.split import SPLITS
from deepfake_lit.prediction.answers import NONE, Answers, guarantees, joined
from deepfake_lit.prediction.classes import align, numbered
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.results.figures import figures_of
from deepfake_lit.results.files import write_predictions
from deepfake_lit.results.open_set import separation
from deepfake_lit.settings.checks import check_views
from deepfake_lit.settings.commands import EvaluateConfig
from deepfake_lit.settings.schema import DataConfig


def evaluate(checkpoints: list[str], cfg: EvaluateConfig) -> dict[str, Any]:
    """Figures without (`plain`) and with test-time augmentation (`tta`), also written to `cfg.output`.

    Several checkpoints are evaluated as one ensemble, the mean of their probabilities. The classes of the data are
    those of the checkpoint with the same name. Images of classes that its training left out, or that `cfg.classes`
    calls none_of_these, are unknown: the figures are without them, and `unknown` says what becomes of them. Where the
    data's folders or tables also have groups, such as generators, `groups` has the figures of each. Writes
    `evaluation.json`, `predictions.npz` and `confusion.png`.

    Raises:
        UserError: checkpoints or data cannot be read, or have different classes.
    """
    check_views(cfg.views)
    predictor = Predictor.load(checkpoints, hardware.resolve(cfg.accelerator, cfg.precision))
    output = Path(cfg.output)
    data, splits, numbers = open_labelled(predictor, checkpoints, cfg, output)
    check_writable(output)
    names = "+".join(split.name for split in splits)
    answers = [predictor.answers_on(split, cfg.views, cfg.batch_size) for split in splits]
    plain, tta = (joined([pair[i] for pair in answers]) for i in (0, 1))
    labels = numbers[np.concatenate([split.labels for split in splits])]
    ids = np.array([image_id for split in splits for image_id in split.ids])
    groups = np.array([group for split in splits for group in split.groups])
    known = labels >= 0
    if not known.any():
        raise UserError("no image is of a class that the checkpoint knows; predict says what it makes of such images")
    unknown = unknown_figures(
        tta, known, np.concatenate([np.array(data.class_names)[split.labels] for split in splits])
    )
    plain, tta, labels, ids = plain.at(known), tta.at(known), labels[known], ids[known]
    groups = groups[known] if len(groups) else groups
    together = predictor.groups(cfg.data.groups)
    report = {
        "checkpoints": list(checkpoints),
        "data": {"root": data.root, "hash": data.hash, "split": names},
        "class_names": predictor.class_names,
        "views": list(cfg.views),
        "hardware": predictor.machine.to_dict(),
        "plain": figures_of(plain.probabilities, labels) | guarantees(plain, labels),
        "tta": figures_of(tta.probabilities, labels) | guarantees(tta, labels),
        "groups": {g: figures_of(plain.probabilities[groups == g], labels[groups == g]) for g in sorted(set(groups))},
        "unknown": unknown,
        "together": _together(plain.probabilities, labels, together),
    }
    write_json(output / "evaluation.json", report)
    arrays = {
        "ids": ids,
        "labels": labels,
        "probabilities": plain.probabilities,
        "probabilities_tta": tta.probabilities,
    }
    write_predictions(output / "predictions.npz", arrays | ({"groups": groups} if len(groups) else {}))
    title = f"{names}, {len(ids):,} images: {report['plain']['accuracy']:.2%}"
    plots.confusion_matrix(output / "confusion.png", report["plain"]["confusion"], predictor.class_names, title)
    return report


def _together(p: np.ndarray, labels: np.ndarray, classes: dict[str, list[int]] | None) -> dict[str, Any] | None:
    """Return the figures of classes put together."""
    if classes is None:
        return None
    return {"names": list(classes), "classes": classes} | figures_of(grouped(p, classes), group_labels(labels, classes))


def unknown_figures(answers: Answers, known: np.ndarray, class_names: np.ndarray) -> dict[str, Any]:
    """Return what becomes of images of unknown classes, by the class; empty if there are none.

    That is the number of `images`, how often each known class is their most probable one (`taken_for`), and with a
    calibration the `rejected` share and the `separation` from the known images.
    """
    found = {}
    for name in sorted(set(class_names[~known])):
        own = answers.at(class_names == name)
        counts = np.bincount(own.labels, minlength=own.probabilities.shape[1]).tolist()
        found[str(name)] = {"images": len(own.labels), "taken_for": counts}
        if own.rejected is not None:
            scores = separation(answers.unfamiliarity[known], own.unfamiliarity)
            found[str(name)] |= {"rejected": float(own.rejected.mean()), **scores}
    return found


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
        The data; the splits to evaluate; for each class of the data its number for the predictor, int64 (K,), -1 where
        it is unknown to it.

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
    numbers = _numbers(predictor, data.class_names, cfg.classes)
    known = any(m.meta["data_hash"] == data.hash for m in predictor.members)
    chosen = _chosen(cfg.split, data, known)
    if cfg.split == "auto" and "train" in chosen:
        note("the data have no validation or test split with labels: all images are evaluated (split=all)")
    if known and "train" in chosen:
        warn("these are the images that a checkpoint was trained on; the figures say nothing about new ones")
    return data, [data.splits[name] for name in chosen], numbers


def _numbers(predictor: Predictor, class_names: list[str], classes: dict[str, str]) -> np.ndarray:
    """Return for each class of the data its number for the predictor, int64 (K,), -1 where it is unknown to it."""
    left_out = {name: NONE for name in class_names if name.lower() in _lower(predictor.left_out)}
    unknown = {name for name, theirs in (left_out | classes).items() if theirs == NONE}
    mapping = {name: theirs for name, theirs in classes.items() if theirs != NONE}
    if len(mapping) < len(classes):  # what is said of the unknown ones says that the others have their names
        mapping = {name: mapping.get(name, name) for name in class_names if name not in unknown}
    if wrong := unknown - set(class_names):
        raise UserError(f"classes: there is no class {min(wrong)}; those of the data are {', '.join(class_names[:20])}")
    own = [name for name in class_names if name not in unknown]
    listed = ", ".join(f"{name}: ..." for name in class_names[:5])
    remedy = "; say which is which: 'classes={" + listed + "}', with " + NONE + " for what it does not know"
    found = align(own, predictor.class_names, "the data", "the checkpoint", mapping, remedy) if own else []
    if not mapping and [predictor.class_names[i].lower() for i in found] != [name.lower() for name in own]:
        pairs = ", ".join(f"{predictor.class_names[i]} = {n}" for i, n in zip(found, own, strict=True))
        warn(f"the classes are only numbers on one side, so they are taken in this order: {pairs}")
    number = dict(zip(own, found, strict=True))
    return np.array([number.get(name, -1) for name in class_names])


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
