"""Checkpoints on images of classes that they have never seen: how well each score of unfamiliarity tells them."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepfake_lit.core import console, hardware
from deepfake_lit.core.errors import UserError, one_of
from deepfake_lit.core.files import check_writable, write_json
from deepfake_lit.data.distortions import GRID
from deepfake_lit.data.images import ImageData, SplitImages, with_fold
from deepfake_lit.data.preprocess import tensors
from deepfake_lit.data.strangers import STRANGERS, strangers
from deepfake_lit.prediction.answers import joined
from deepfake_lit.prediction.calibrate import training_split
from deepfake_lit.prediction.evaluate import open_labelled
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.prediction.unfamiliarity import SCORES, Seen
from deepfake_lit.results.comparison import Estimate
from deepfake_lit.results.open_set import METRICS, compared, estimated, of_images, separation
from deepfake_lit.results.robustness import holm
from deepfake_lit.settings.checks import check_views
from deepfake_lit.settings.commands import OpenSetConfig

OTHERS = 200  # images of each kind that is of no class
DISTORTED = (("jpeg", 75), ("down", 0.5), ("blur", 1), ("noise", 4))  # known images after these, of the grid


class Looked(NamedTuple):
    """What one checkpoint makes of the images.

    Attributes:
        left_out: the names of the classes that it has never seen.
        ids: of all images, (N,); `known` bool (N,) and `right` bool (N,) whether their class is known, and found.
        taken: int64 (N,), the class of the data that each image is taken for; `scores`: each score, float (N,).
        others: the same two for images of no class, by their kind.
    """

    left_out: tuple[str, ...]
    seed: int
    ids: list[str]
    known: np.ndarray
    right: np.ndarray
    taken: np.ndarray
    scores: dict[str, np.ndarray]
    others: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]


def open_set(checkpoints: list[str], cfg: OpenSetConfig) -> dict[str, Any]:
    """Return the figures of every score for networks with classes left out, also written to `cfg.output`.

    Checkpoints with the same classes left out are one hold-out with several seeds. One that was trained on a fold is
    measured on the training images that it has not seen. Writes `open_set.json`.

    Raises:
        UserError: a checkpoint has left out no class, or the data are not those that it was trained on.
    """
    one_of("split", cfg.split, ("auto", "validation", "test"))
    check_views(cfg.views)
    output = Path(cfg.output)
    check_writable(output)
    machine = hardware.resolve(cfg.accelerator, cfg.precision)
    looked, data = [], None
    for number, path in enumerate(checkpoints):
        console.note(f"{number + 1} of {len(checkpoints)}: {path}")
        found, data, names = _look(path, cfg, machine)
        looked.append(found)
    hold_outs: dict[tuple[str, ...], list[Looked]] = {}
    for found in looked:
        hold_outs.setdefault(found.left_out, []).append(found)
    if len({tuple(each.ids) for each in looked}) > 1:
        raise UserError("the checkpoints are on different images and cannot be put together")
    values = {name: [_values(several, name) for several in hold_outs.values()] for name in SCORES}
    seeds = min(map(len, hold_outs.values()))
    over_all = {
        name: {m: np.mean([own[m][:seeds] for own in each], 0) for m in METRICS} for name, each in values.items()
    }
    best = max(over_all, key=lambda name: over_all[name]["auroc"].mean())
    report = {
        "checkpoints": list(checkpoints),
        "data": {"root": data.root, "hash": data.hash, "split": names, "images": len(looked[0].ids)},
        "class_names": data.class_names,
        "views": list(cfg.views),
        "hardware": machine.to_dict(),
        "scores": {name: {"label": score.label, "source": score.source} for name, score in SCORES.items()},
        "hold_outs": [
            {
                "left_out": list(left_out),
                "seeds": [found.seed for found in several],
                "unknown": int((~several[0].known).sum()),
                "accuracy": float(np.mean([found.right[found.known].mean() for found in several])),
                "scores": {name: _estimates(values[name][i]) for name in SCORES},
            }
            for i, (left_out, several) in enumerate(hold_outs.items())
        ],
        "mean": {name: _estimates(each) for name, each in over_all.items()},
        "best": best,
        "compared": _compared({name: each["auroc"] for name, each in over_all.items()}, best),
        "taken": _taken(hold_outs, data.class_names, best),
    }
    write_json(output / "open_set.json", report)
    return report


def _look(path: str, cfg: OpenSetConfig, machine: hardware.Hardware) -> tuple[Looked, ImageData, str]:
    predictor = Predictor.load([path], machine)
    member = predictor.members[0]
    if member.net is None or not predictor.left_out:
        raise UserError(f"{path} is no network that has left out a class: train one with data.leave_out=[4]")
    data, splits, numbers = open_labelled(predictor, [path], cfg, Path(cfg.output))
    if member.meta["data_hash"] != data.hash:
        raise UserError(f"{path} was trained on other images than those in {data.root}, which its scores need")
    train = training_split(predictor, data)
    (seen,) = predictor.look_at_split(train, ["identity"], cfg.batch_size, "training images")
    kept = {name: score.fit(seen, train.labels) if score.fit else {} for name, score in SCORES.items()}

    def scored(views: list[Seen]) -> dict[str, np.ndarray]:
        return {name: np.mean([s.of(kept[name], view) for view in views], 0) for name, s in SCORES.items()}

    (split,), own = splits, member.config.data
    name = split.name
    if own.folds is not None:
        split, name = with_fold(data, own.folds, own.fold).splits["validation"], "held-out training"
    labels = numbers[split.labels]
    views = predictor.look_at_split(split, cfg.views, cfg.batch_size, "unknown and known images")
    number_of = np.array([int(np.flatnonzero(numbers == i)[0]) for i in range(len(predictor.class_names))])
    answers = np.mean([view.logits for view in views], 0).argmax(1)
    others = {}
    for kind, pixels in _others(split, np.flatnonzero(labels >= 0)[:OTHERS], data.size):
        step = predictor.together(data.size, cfg.batch_size)
        parts = [
            predictor.look_at_places([tensors(pixels[i : i + step], None)], ["identity"])[0]
            for i in range(0, len(pixels), step)
        ]
        seen = joined(parts)
        others[kind] = number_of[seen.logits.argmax(1)], scored([seen])
    looked = Looked(
        tuple(predictor.left_out),
        member.config.seed,
        split.ids,
        labels >= 0,
        answers == labels,
        number_of[answers],
        scored(views),
        others,
    )
    return looked, data, name


def _others(split: SplitImages, known: np.ndarray, size: tuple[int, int]):
    """Yield kinds of images that are of no class, or known images that are distorted, uint8 (N, H, W, 3)."""
    for name in STRANGERS:
        yield name, strangers(name, size, OTHERS)
    pixels, _ = split.gather(known)
    for kind, strength in DISTORTED:
        randoms = (np.random.default_rng(number) for number in range(len(pixels)))
        changed = [GRID[kind].apply(image, strength, random) for image, random in zip(pixels, randoms, strict=True)]
        yield f"known images after {kind} {strength:g}", np.stack(changed)


def _values(several: list[Looked], score: str) -> dict[str, np.ndarray]:
    """Return what each image gives to every metric, (S, N), for the trainings of one hold-out."""
    found = [of_images(each.scores[score], each.known, each.right) for each in several]
    return {metric: np.stack([each[metric] for each in found]) for metric in METRICS}


def _estimates(values: dict[str, np.ndarray]) -> dict[str, Any]:
    return {metric: estimated(each) for metric, each in values.items()}


def _compared(values: dict[str, np.ndarray], best: str) -> dict[str, dict[str, Any]]:
    """Return how much more the best score has than each other one in the mean AUROC, with p corrected (Holm 1979)."""
    found: dict[str, Estimate] = {n: compared(values[best], own) for n, own in values.items() if n != best}
    corrected = holm([each.p() for each in found.values()])
    return {
        name: {"difference": each.value, "interval": list(each.interval()), "p_holm": p}
        for (name, each), p in zip(found.items(), corrected, strict=True)
    }


def _taken(hold_outs: dict[tuple[str, ...], list[Looked]], names: list[str], best: str) -> list[dict[str, Any]]:
    """Return what images that are of no known class are taken for, in the mean over the checkpoints.

    `rejected` is the share above the best score that keeps 95 % of the known images.
    """
    rows = []
    for left_out, several in hold_outs.items():
        parts = [(e, e.taken[~e.known], e.scores[best][~e.known]) for e in several]
        rows.append(_row(f"class {', '.join(left_out)}, never seen", parts, names, best))
    every = [each for several in hold_outs.values() for each in several]
    for kind in every[0].others:
        rows.append(_row(kind, [(e, e.others[kind][0], e.others[kind][1][best]) for e in every], names, best))
    return rows


def _row(what: str, parts: list[tuple[Looked, np.ndarray, np.ndarray]], names: list[str], best: str) -> dict[str, Any]:
    shares, apart, rejected = [], [], []
    for looked, taken, scores in parts:
        known = looked.scores[best][looked.known]
        shares.append(np.bincount(taken, minlength=len(names)) / len(taken))
        apart.append(separation(known, scores)["auroc"])
        rejected.append(float((scores > np.quantile(known, 0.95, method="higher")).mean()))
    return {
        "what": what,
        "images": len(parts[0][1]),
        "taken_for": np.mean(shares, 0).tolist(),
        "auroc": float(np.mean(apart)),
        "rejected": float(np.mean(rejected)),
    }
