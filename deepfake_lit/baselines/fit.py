"""Classical baselines beside a training run, or alone: fitted, scored and left as a run of their own."""

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from sklearn.pipeline import Pipeline

from deepfake_lit.baselines.build import OWN, build_pipeline, is_random
from deepfake_lit.baselines.features import check_features, extract
from deepfake_lit.baselines.saved import save_baseline
from deepfake_lit.core import console, hardware
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.randomness import derive
from deepfake_lit.data.images import ImageData
from deepfake_lit.results.figures import figures_of
from deepfake_lit.results.provenance import now, origin
from deepfake_lit.results.result import Result, read_result, write_result
from deepfake_lit.results.state import locked, recorded_failure
from deepfake_lit.settings.identity import digest
from deepfake_lit.settings.schema import BaselineConfig, Config


class Baselines(Callback):
    """Fits `cfg.baselines` on a data module's training images when a fit starts, and scores them on its validation
    images.

    Each leaves `result.json` and `predictions.npz` in `<output_dir>/runs/<its name>/<fingerprint>/`, as a network
    does, so the same baseline beside ten networks is computed once. `KNN` with a list of `n_neighbors` leaves one
    result for each, from one search.

    Attributes:
        results: the baselines', once they have run.
    """

    def __init__(self, cfg: Config):
        """Check every baseline before any data is read.

        Raises:
            UserError: a feature, estimator, setting or device that does not exist.
        """
        self.cfg = cfg
        self.results: list[Result] = []
        self._machine = hardware.resolve(cfg.trainer.accelerator, cfg.trainer.precision, cfg.trainer.channels_last)
        for baseline in cfg.baselines.values():
            check_features(baseline.features)
            for variant in variants(baseline):
                self._pipeline(variant)

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self.run(trainer.datamodule.data)
        trainer.strategy.barrier("baselines")

    def run(self, data: ImageData) -> list[Result]:
        self.results = [r for name, baseline in self.cfg.baselines.items() for r in self._run(name, baseline, data)]
        return self.results

    def _pipeline(self, baseline: BaselineConfig) -> Pipeline:
        seed = derive(self.cfg.seed, "estimator")
        return build_pipeline(baseline.steps, seed, self._machine.device, baseline.memory_gib)

    def _run(self, name: str, baseline: BaselineConfig, data: ImageData) -> list[Result]:
        several = variants(baseline)
        identities = [self._identity(variant) for variant in several]
        folders = [Path(self.cfg.output_dir) / "runs" / name / digest(i, data.hash) for i in identities]
        with contextlib.ExitStack() as stack:
            for folder in folders:
                stack.enter_context(locked(folder, wait=True))  # a run with the same baseline may be at it
            if not all(read_result(folder) for folder in folders):
                with recorded_failure(folders[0]):
                    self._fit(name, several, identities, folders, data)
            return [read_result(folder) for folder in folders]

    def _fit(self, name: str, several, identities, folders: list[Path], data: ImageData) -> None:
        train, validation = data.splits["train"], data.splits["validation"]
        first, channels = several[0], self.cfg.data.channels
        clock = [time.monotonic()]
        X, X_validation = extract(first.features, train, channels), extract(first.features, validation, channels)
        count = X.shape[1]
        clock.append(time.monotonic())
        pipeline = self._pipeline(several[-1])  # of a list of k the largest
        with _spinner(pipeline, f"{name}: fitting"):
            pipeline.fit(X, train.labels)
        del X
        clock.append(time.monotonic())
        with _spinner(pipeline, f"{name}: predicting"):
            answers = _probabilities(pipeline, X_validation, several)
        clock.append(time.monotonic())

        features, fitting, predicting = np.diff(clock).tolist()
        if first.save:
            save_baseline(folders[-1] / "model.skops", pipeline, first.features, self.cfg.data, data)
        for identity, folder, p in zip(identities, folders, answers, strict=True):
            p = p.astype(np.float32)
            figures = figures_of(p, validation.labels)
            result = Result(
                kind="baseline",
                name=name,
                fingerprint=folder.name,
                config={"baseline": identity["baseline"], "data": {"channels": channels}},
                seed=self.cfg.seed,
                **origin(data),
                hardware=self._machine.to_dict() | {"threads": torch.get_num_threads(), "processes": 1},
                features=count,
                random=is_random(pipeline),
                finished=now(),
                wall_seconds=features + fitting + predicting,
                seconds={"features": features, "fitting": fitting, "predicting": predicting},
                images_per_second=len(train) / (features + fitting),
                best=figures,
                last=figures,
                folder=str(folder),
            )
            arrays = {"ids": np.array(validation.ids), "labels": validation.labels}
            write_result(result, arrays | {"probabilities": p, "probabilities_last": p})

    def _identity(self, baseline: BaselineConfig) -> dict[str, Any]:
        """Every setting that can change a baseline's result. Order counts: of features in a row, of steps in time."""
        identity = {
            "baseline": {"features": list(baseline.features.items()), "steps": list(baseline.steps.items())},
            "channels": self.cfg.data.channels,
        }
        if self.cfg.data.leave_out is not None:
            identity["leave_out"] = self.cfg.data.leave_out
        if self.cfg.data.folds is not None:
            identity |= {"folds": self.cfg.data.folds, "fold": self.cfg.data.fold}
        return identity | ({"seed": self.cfg.seed} if is_random(self._pipeline(baseline)) else {})


def variants(baseline: BaselineConfig) -> list[BaselineConfig]:
    """Return one baseline per k, in rising order, if `KNN` has a list of them; else the baseline alone."""
    last = next(reversed(baseline.steps), None)
    given = (baseline.steps[last] or {}).get("n_neighbors") if last == "KNN" else None
    if not isinstance(given, list):
        return [baseline]
    if not given or not all(isinstance(k, int) and k > 0 for k in given):
        raise UserError(f"n_neighbors={given} must be whole numbers above 0")
    steps = [baseline.steps | {"KNN": baseline.steps["KNN"] | {"n_neighbors": k}} for k in sorted(set(given))]
    return [dataclasses.replace(baseline, steps=own) for own in steps]


def _probabilities(pipeline: Pipeline, X: np.ndarray, several: list[BaselineConfig]) -> list[np.ndarray]:
    """float (N, K) of each variant: of several k all from one search."""
    if len(several) == 1:
        return [pipeline.predict_proba(X)]
    knn, before = pipeline[-1], pipeline[:-1]
    indices = knn.kneighbors(before.transform(X) if len(before) else X)[1]
    return [knn.votes(indices[:, : variant.steps["KNN"]["n_neighbors"]]) for variant in several]


def _spinner(pipeline: Pipeline, label: str):
    """Own estimators show how far they are; for the others there is only that they work."""
    own = any(isinstance(value, OWN["KNN"] | OWN["SVM"]) for value in pipeline.get_params().values())
    return contextlib.nullcontext() if own else console.working(label)
