"""Checkpoints on a labelled split: figures, stored probabilities, a confusion matrix."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_lit.core import hardware, plots
from deepfake_lit.core.console import warn
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import write_json
from deepfake_lit.data.images import cache_dir, open_data
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.results.figures import figures_of
from deepfake_lit.results.files import write_predictions
from deepfake_lit.settings.checks import check_views
from deepfake_lit.settings.schema import DataConfig


@dataclass
class EvaluateConfig:
    data: DataConfig = field(default_factory=DataConfig)  # data.root and how to read it; the rest is the checkpoint's
    split: str = "validation"
    views: list[str] = field(default_factory=lambda: ["identity", "hflip"])
    batch_size: int = 250
    output: str = "outputs/evaluation"
    accelerator: str = "auto"
    precision: str = "auto"


def evaluate(checkpoints: list[str], cfg: EvaluateConfig) -> dict[str, Any]:
    """Figures without (`plain`) and with test-time augmentation (`tta`), also written to `cfg.output`.

    Several checkpoints are evaluated as one ensemble, the mean of their probabilities. Writes `evaluation.json`,
    `predictions.npz` and `confusion.png`.

    Raises:
        UserError: checkpoints or data cannot be read, or have different classes.
    """
    check_views(cfg.views)
    if cfg.split not in ("train", "validation"):
        raise UserError(f"split is {cfg.split!r}; labels exist in train and validation")
    predictor = Predictor.load(checkpoints, hardware.resolve(cfg.accelerator, cfg.precision))
    output = Path(cfg.output)
    data = open_data(cfg.data, cache_dir(cfg.data, output.parent))
    if len(data.class_names) != len(predictor.class_names):
        raise UserError(f"the data have {len(data.class_names)} classes, the checkpoint {len(predictor.class_names)}")
    if cfg.split == "train" and any(m.meta["data_hash"] == data.hash for m in predictor.members):
        warn("these are the images that a checkpoint was trained on; the figures say nothing about new ones")

    split = data.splits[cfg.split]
    plain, tta = predictor.on_split(split, cfg.views, cfg.batch_size)
    report = {
        "checkpoints": list(checkpoints),
        "data": {"root": data.root, "hash": data.hash, "split": cfg.split},
        "class_names": predictor.class_names,
        "views": list(cfg.views),
        "hardware": predictor.machine.to_dict(),
        "plain": figures_of(plain.numpy(), split.labels),
        "tta": figures_of(tta.numpy(), split.labels),
    }
    write_json(output / "evaluation.json", report)
    arrays = {"ids": np.array(split.ids), "labels": split.labels}
    arrays |= {"probabilities": plain.numpy(), "probabilities_tta": tta.numpy()}
    write_predictions(output / "predictions.npz", arrays)
    accuracy = report["plain"]["accuracy"]
    title = f"{cfg.split}, {len(split):,} images: {accuracy:.2%}"
    plots.confusion_matrix(output / "confusion.png", report["plain"]["confusion"], predictor.class_names, title)
    return report
