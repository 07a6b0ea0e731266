"""Fits the calibration of checkpoints on labelled images, and writes checkpoints that have it inside."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from deepfake_lit.core import hardware
from deepfake_lit.core.errors import UserError, one_of
from deepfake_lit.core.files import atomic, check_writable, write_json
from deepfake_lit.data.images import ImageData, SplitImages, as_set, fold_of
from deepfake_lit.prediction import calibration
from deepfake_lit.prediction.answers import Answers, guarantees, joined
from deepfake_lit.prediction.calibration import METHODS, Calibration
from deepfake_lit.prediction.checkpoint import BEST, ENTRY, checkpoint_file, read_checkpoint
from deepfake_lit.prediction.evaluate import open_labelled, unknown_figures
from deepfake_lit.prediction.inference import has_features
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.prediction.unfamiliarity import SCORES, Kept, mean_probabilities
from deepfake_lit.results.figures import figures_of
from deepfake_lit.results.provenance import now
from deepfake_lit.results.statistics import wilson_interval
from deepfake_lit.settings.checks import check_views
from deepfake_lit.settings.commands import CalibrateConfig

FOLDS = 5  # of the images, for figures of images that the calibration was not fitted on
CALIBRATED = "calibrated.ckpt"


def calibrate(checkpoints: list[str], cfg: CalibrateConfig) -> list[dict[str, Any]]:
    """Calibrate each checkpoint, write it with its calibration beside it, and return a report, which it also writes.

    What is written is fitted on all of the images. The `figures` come from folds of them: those of each fold from a
    calibration that is fitted on the other folds. With `cfg.folds`, networks on folds of the training images, it is
    fitted on what each of these makes of its own fold, and the figures are of the checkpoint on the split.

    Raises:
        UserError: a checkpoint or the data cannot be read, or the images are those that it was trained or selected on.
    """
    check_views(cfg.views)
    one_of("method", cfg.method, METHODS)
    one_of("score", cfg.score, ("auto", *SCORES))
    for name in ("coverage", "rejected"):
        if not 0 < getattr(cfg, name) < 1:
            raise UserError(f"{name} is a share between 0 and 1; {getattr(cfg, name)} is not")
    if cfg.folds and len(checkpoints) > 1:
        raise UserError("folds are networks like one checkpoint: calibrate one at a time with them")
    if cfg.output is not None and len(checkpoints) > 1:
        raise UserError("output is one file: leave it out, and each checkpoint gets its own beside it")
    machine = hardware.resolve(cfg.accelerator, cfg.precision)
    return [_calibrate(path, cfg, machine) for path in checkpoints]


def _calibrate(path: str, cfg: CalibrateConfig, machine: hardware.Hardware) -> dict[str, Any]:
    file = checkpoint_file(Path(path))
    output = Path(cfg.output) if cfg.output else file.with_name(CALIBRATED)
    check_writable(output.parent)
    checkpoint = read_checkpoint(file)
    predictor = Predictor.load([str(file)], machine)
    predictor.calibration = None
    data, splits, numbers = open_labelled(predictor, [path], cfg, _outputs(file) / "calibration")
    own = predictor.members[0].meta["data_hash"] == data.hash
    _refuse_seen(file, [split.name for split in splits], own)
    if cfg.score == "auto":
        of_features = own and "train" in data.splits and has_features(predictor.members[0])
        cfg = dataclasses.replace(cfg, score="knn" if of_features else "max_softmax")
    kept = _of_training(predictor, data if own else None, cfg)
    named = [np.array(data.class_names)[split.labels] for split in splits]
    seen = _seen(predictor, kept, splits, numbers[np.concatenate([split.labels for split in splits])], cfg)
    known = seen.of_known()
    if len(known.labels) < FOLDS * len(predictor.class_names):
        raise UserError(f"{path}: {len(known.labels)} images of known classes are too few to calibrate with")

    split = "+".join(split.name for split in splits)
    fitted = _out_of_fold(predictor, data, cfg, machine) if cfg.folds else known
    fitted_on = {
        "data_hash": data.hash,
        "split": f"train, each by one of {len(cfg.folds)} networks that have not seen it" if cfg.folds else split,
        "images": len(fitted.labels),
        "date": now(),
    }
    fit = _Fit(cfg, kept, fitted_on)
    whole = fit(fitted)
    after = whole.answers(known.p, known.scores) if cfg.folds else fit.by_fold(known)
    figures = figures_of(after.probabilities, known.labels) | _intervals(after, known.labels)
    figures["error_of_perfect"] = list(calibration.error_of_perfect(after.probabilities))
    checkpoint[ENTRY][calibration.ENTRY] = whole.to_entry()
    with atomic(output, "wb") as stream:
        torch.save({name: checkpoint[name] for name in ("state_dict", ENTRY, "epoch") if name in checkpoint}, stream)
    report = {
        "checkpoint": path,
        "output": str(output),
        "class_names": predictor.class_names,
        "fitted_on": fitted_on,
        "measured_on": f"{split}: {len(known.labels):,} images"
        + ("" if cfg.folds else f", in {FOLDS} folds, each by a fit on the others"),
        "method": whole.method,
        "scale": whole.scale.tolist(),
        "bias": whole.bias.tolist(),
        "score": whole.score,
        "coverage": whole.coverage,
        "rejected": whole.rejected,
        "before": figures_of(known.p, known.labels),
        "figures": figures,
        "unknown": unknown_figures(whole.answers(seen.p, seen.scores), seen.labels >= 0, np.concatenate(named)),
    }
    write_json(output.with_suffix(".json"), report)
    return report


def _outputs(file: Path) -> Path:
    """Return the output folder of a run's checkpoint, which has the cache of its images; of others the usual one."""
    parents = file.resolve().parents
    return parents[3] if len(parents) > 3 and parents[2].name == "runs" else Path("outputs")


class _Seen(NamedTuple):
    """What a checkpoint makes of N images: p float32 (N, K), scores float (N,), labels int64 (N,), -1 if unknown."""

    p: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    hashes: np.ndarray  # of the pixels

    def at(self, rows: np.ndarray) -> "_Seen":
        return _Seen(*(each[rows] for each in self))

    def of_known(self) -> "_Seen":
        return self.at(self.labels >= 0)


def _seen(
    predictor: Predictor, kept: Kept, splits: list[SplitImages], labels: np.ndarray, cfg: CalibrateConfig
) -> _Seen:
    parts = [predictor.look_at_split(split, cfg.views, cfg.batch_size, "looking") for split in splits]
    views = [joined(list(each)) for each in zip(*parts, strict=True)]
    scores = np.mean([SCORES[cfg.score].of(kept, view) for view in views], 0)
    hashes = np.array([fact.pixel_hash for split in splits for fact in split.facts])
    return _Seen(mean_probabilities(views), scores, labels, hashes)


def _out_of_fold(main: Predictor, data: ImageData, cfg: CalibrateConfig, machine: hardware.Hardware) -> _Seen:
    """Return what networks on folds of the training images make of the fold that each has not seen.

    Raises:
        UserError: one of them is on no fold, on other data, or on a fold of another one, or has other classes.
    """
    folds, parts = set(), []
    for path in cfg.folds:
        one = Predictor.load([path], machine)
        one.calibration = None
        own = getattr(one.members[0], "config", None)
        if own is None or own.data.folds is None or one.members[0].meta["data_hash"] != data.hash:
            raise UserError(f"folds: {path} is no network on a fold of these images, as with data.folds=5 data.fold=0")
        if one.class_names != main.class_names:
            raise UserError(f"folds: {path} has other classes than the checkpoint that is calibrated")
        if (own.data.folds, own.data.fold) in folds or len({count for count, _ in folds} | {own.data.folds}) > 1:
            raise UserError(f"folds: {path} has a fold twice, or another number of folds than the others")
        folds.add((own.data.folds, own.data.fold))
        held_out = as_set(data, own.data).splits["validation"]
        parts.append(_seen(one, _of_training(one, data, cfg), [held_out], held_out.labels, cfg))
    return joined(parts)


class _Fit:
    """How a calibration is fitted: called with what the checkpoint makes of images of known classes."""

    def __init__(self, cfg: CalibrateConfig, kept: Kept, fitted_on: dict[str, Any]):
        self.cfg, self.kept, self.fitted_on = cfg, kept, fitted_on

    def __call__(self, seen: _Seen) -> Calibration:
        cfg = self.cfg
        scale, bias = calibration.fit_scaling(seen.p, seen.labels, cfg.method)
        found = Calibration(
            scale=scale,
            bias=bias,
            set_above=0.0,
            coverage=cfg.coverage,
            score=cfg.score,
            kept=self.kept,
            reject_above=calibration.rejection_threshold(seen.scores, cfg.rejected),
            rejected=cfg.rejected,
            method=cfg.method,
            views=list(cfg.views),
            fitted_on=self.fitted_on,
        )
        found.set_above = calibration.conformal_threshold(found.probabilities(seen.p), seen.labels, cfg.coverage)
        return found

    def by_fold(self, seen: _Seen) -> Answers:
        """Return the answers for every image by the calibration that is fitted on the other folds."""
        folds = fold_of(seen.hashes.tolist(), seen.labels, FOLDS)
        order, parts = [], []
        for fold in range(FOLDS):
            own = folds == fold
            order.append(np.flatnonzero(own))
            parts.append(self(seen.at(~own)).answers(seen.p[own], seen.scores[own]))
        return joined(parts).at(np.argsort(np.concatenate(order)))


def _intervals(answers: Answers, labels: np.ndarray) -> dict[str, Any]:
    found, n = guarantees(answers, labels), len(labels)
    return found | {
        "coverage_interval": wilson_interval(found["coverage"], n),
        "rejected_interval": wilson_interval(found["rejected"], n),
        "empty": float((~answers.sets.any(1)).mean()),
    }


def _refuse_seen(file: Path, splits: list[str], own: bool) -> None:
    """Raise `UserError` if the images that are to be fitted on trained or selected the checkpoint."""
    if own and "train" in splits:
        raise UserError(f"{file} was trained on images of these; calibrate on others: split=validation, or data.root")
    if own and "validation" in splits and file.name == BEST:
        raise UserError(f"{file}: its epoch was selected on these images; calibrate last.ckpt, or on split=test")


def _of_training(predictor: Predictor, data: ImageData | None, cfg: CalibrateConfig) -> Kept:
    """Return what the score keeps of the images that the network was trained on.

    Args:
        data: those that it was trained on; None: they are not at hand.
    """
    score = SCORES[cfg.score]
    if score.fit is None:
        return {}
    if data is None or "train" not in data.splits:
        raise UserError(f"score={cfg.score} needs the images that the network was trained on: name their data.root")
    train = training_split(predictor, data)
    (seen,) = predictor.look_at_split(train, ["identity"], cfg.batch_size, "training images")
    if seen.features is None:
        raise UserError(f"score={cfg.score} needs one network; for this checkpoint take score=max_softmax")
    return score.fit(seen, train.labels)


def training_split(predictor: Predictor, data: ImageData) -> SplitImages:
    """Return the images that the only member was trained on, of all training images of its data."""
    return as_set(data, predictor.members[0].config.data).splits["train"]
