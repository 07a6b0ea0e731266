"""Fits the calibration of checkpoints on labelled images, and writes checkpoints that have it inside."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepfake_lit.core import hardware
from deepfake_lit.core.errors import UserError, one_of
from deepfake_lit.core.files import atomic, check_writable
from deepfake_lit.data.images import ImageData, SplitImages, as_set, fold_of
from deepfake_lit.prediction import calibration
from deepfake_lit.prediction.answers import Answers, guarantees, joined
from deepfake_lit.prediction.calibration import METHODS, Calibration
from deepfake_lit.prediction.checkpoint import BEST, ENTRY, checkpoint_file, read_checkpoint
from deepfake_lit.prediction.evaluate import open_labelled, unknown_figures
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.prediction.unfamiliarity import SCORES, Kept, mean_probabilities
from deepfake_lit.prediction.unfamiliarity import joined as together
from deepfake_lit.results.figures import figures_of
from deepfake_lit.results.provenance import now
from deepfake_lit.results.statistics import wilson_interval
from deepfake_lit.settings.checks import check_views
from deepfake_lit.settings.commands import CalibrateConfig

FOLDS = 5  # of the images, for figures of images that the calibration was not fitted on
CALIBRATED = "calibrated.ckpt"


def calibrate(checkpoints: list[str], cfg: CalibrateConfig) -> list[dict[str, Any]]:
    """Calibrate each checkpoint, write it with its calibration, and return a report of each.

    What is written is fitted on all of the images. The `figures` come from folds of them: those of each fold from a
    calibration that is fitted on the other folds.

    Raises:
        UserError: a checkpoint or the data cannot be read, or the images are those that it was trained or selected on.
    """
    check_views(cfg.views)
    one_of("method", cfg.method, METHODS)
    one_of("score", cfg.score, tuple(SCORES))
    for name in ("coverage", "rejected"):
        if not 0 < getattr(cfg, name) < 1:
            raise UserError(f"{name} is a share between 0 and 1; {getattr(cfg, name)} is not")
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
    data, splits, numbers = open_labelled(predictor, [path], cfg, output.parent)
    own = predictor.members[0].meta["data_hash"] == data.hash
    _refuse_seen(file, [split.name for split in splits], own)
    kept = _of_training(predictor, data if own else None, cfg)

    seen = [predictor.look_at_split(split, cfg.views, cfg.batch_size, "looking") for split in splits]
    views = [together(list(parts)) for parts in zip(*seen, strict=True)]
    p = mean_probabilities(views)
    scores = np.mean([SCORES[cfg.score].of(kept, view) for view in views], 0)
    labels = numbers[np.concatenate([split.labels for split in splits])]
    hashes = [fact.pixel_hash for split in splits for fact in split.facts]
    known = labels >= 0
    if len(labels[known]) < FOLDS * len(predictor.class_names):
        raise UserError(f"{path}: {known.sum()} images of known classes are too few to calibrate with")

    fitted_on = {
        "data_hash": data.hash,
        "split": "+".join(split.name for split in splits),
        "images": int(known.sum()),
        "folds": FOLDS,
        "date": now(),
    }
    fit = _Fit(cfg, kept, fitted_on)
    whole = fit(p[known], scores[known], labels[known])
    folds = fold_of([h for h, one in zip(hashes, known, strict=True) if one], labels[known], FOLDS)
    after = fit.by_fold(p[known], scores[known], labels[known], folds)
    names = np.concatenate([np.array(data.class_names)[split.labels] for split in splits])
    figures = figures_of(after.probabilities, labels[known]) | _intervals(after, labels[known])
    checkpoint[ENTRY][calibration.ENTRY] = whole.to_entry() | {"fitted_on": fitted_on}
    with atomic(output, "wb") as stream:
        kept_entries = {name: checkpoint[name] for name in ("state_dict", ENTRY, "epoch") if name in checkpoint}
        torch.save(kept_entries, stream)
    return {
        "checkpoint": path,
        "output": str(output),
        "class_names": predictor.class_names,
        "fitted_on": fitted_on,
        "method": whole.method,
        "scale": whole.scale.tolist(),
        "bias": whole.bias.tolist(),
        "score": whole.score,
        "coverage": whole.coverage,
        "rejected": whole.rejected,
        "before": figures_of(p[known], labels[known]),
        "figures": figures,
        "unknown": unknown_figures(whole.answers(p, scores), known, names),
    }


class _Fit:
    """How a calibration is fitted: called with probabilities (N, K), scores (N,) and labels (N,)."""

    def __init__(self, cfg: CalibrateConfig, kept: Kept, fitted_on: dict[str, Any]):
        self.cfg, self.kept, self.fitted_on = cfg, kept, fitted_on

    def __call__(self, p: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> Calibration:
        cfg = self.cfg
        scale, bias = calibration.fit_scaling(p, labels, cfg.method)
        found = Calibration(
            scale=scale,
            bias=bias,
            set_above=0.0,
            coverage=cfg.coverage,
            score=cfg.score,
            kept=self.kept,
            reject_above=calibration.rejection_threshold(scores, cfg.rejected),
            rejected=cfg.rejected,
            method=cfg.method,
            views=list(cfg.views),
            fitted_on=self.fitted_on,
        )
        found.set_above = calibration.conformal_threshold(found.probabilities(p), labels, cfg.coverage)
        return found

    def by_fold(self, p: np.ndarray, scores: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> Answers:
        """Return the answers for every image by the calibration that is fitted on the other folds."""
        order, parts = [], []
        for fold in range(FOLDS):
            own = folds == fold
            order.append(np.flatnonzero(own))
            parts.append(self(p[~own], scores[~own], labels[~own]).answers(p[own], scores[own]))
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
        raise UserError(f"score={cfg.score} needs one network; for this checkpoint take score=energy")
    return score.fit(seen, train.labels)


def training_split(predictor: Predictor, data: ImageData) -> SplitImages:
    """Return the images that the only member was trained on, of all training images of its data."""
    return as_set(data, predictor.members[0].config.data).splits["train"]
