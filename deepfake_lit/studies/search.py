"""A search for the best settings: trials pause early, and the winner is trained again and measured on other images.

A trial is a run, found again by its fingerprint. It is trained under its whole plan and pauses at rungs. Which trial
goes on is in `pruning.py`, the study in `search_study.py`. `<output_dir>/searches/<name>/search.json` has what status
and page need, without Optuna.
"""

import csv
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_lit.core import console, hardware
from deepfake_lit.core.errors import Unfinished, UserError, one_of
from deepfake_lit.core.files import atomic, write_json
from deepfake_lit.core.metrics import better
from deepfake_lit.core.processes import one_device
from deepfake_lit.data.images import ImageData
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.results.state import Busy
from deepfake_lit.settings.choices import PRUNERS, SAMPLERS
from deepfake_lit.settings.commands import SearchConfig
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.identity import NOT_IDENTITY, digest, of_role, setting_of
from deepfake_lit.settings.schema import Config
from deepfake_lit.studies.pruning import Rungs, SearchTrial
from deepfake_lit.studies.search_study import Study
from deepfake_lit.studies.space import any_of, chosen, read_space
from deepfake_lit.training.checkpointing import Paused
from deepfake_lit.training.run import open_run_data, run, run_folder

WAIT = 1.0  # seconds until it is looked again whether the other processes are done


def search(cfg: SearchConfig, overrides: list[str]) -> tuple[dict[str, Any], Path]:
    """Search, train the winner, and return what `search.json` has and its folder. The same call goes on.

    Args:
        overrides: of `train`, some with several values.

    Raises:
        UserError: a setting is wrong, or nothing can be searched.
    """
    it = Search(cfg, overrides)
    try:
        it.trials()
    finally:
        it.study.release_all()
    best = it.winner()
    if best is None:
        return it.write(), it.folder
    console.note(f"the winner is trial {best.number}: {' '.join(chosen(best.params))}; it is trained on all images")
    return it.write({"number": best.number, "seeds": cfg.seeds, "folders": it.train_winner(best)}), it.folder


def _check(cfg: SearchConfig) -> None:
    one_of("pruner", cfg.pruner, PRUNERS)
    one_of("sampler", cfg.sampler, SAMPLERS)
    least = {"trials": 1, "eta": 2, "first": 1, "folds": 2}
    for name, low in least.items():
        if (value := getattr(cfg, name)) is not None and value < low:
            raise UserError(f"{name} is {value}; it must be {low} or more")
    if not cfg.seeds or len(set(cfg.seeds)) < len(cfg.seeds):
        raise UserError("seeds needs one or more numbers, each once")


class Search:
    """A search in its folder, with everything that follows from its command.

    Raises:
        UserError: a setting is wrong, or nothing can be searched.
    """

    def __init__(self, cfg: SearchConfig, overrides: list[str]):
        _check(cfg)
        self.cfg = cfg
        self.fixed, self.space = read_space(overrides)
        given = {setting_of(o) for o in self.fixed}
        own_fold = bool(given & {"data.folds", "data.fold"})
        self.held_out = [] if own_fold or cfg.folds is None else [f"data.folds={cfg.folds}", "data.fold=0"]
        self.searched = [o for o in overrides if o not in self.fixed]
        first = self._composed({name: any_of(each) for name, each in self.space.items()})
        if first.model.kind in ("none", "ensemble") or first.baselines:
            raise UserError("search is for networks, whose trials can pause; `train -m` sweeps baselines and ensembles")
        if {"seed", "trainer.max_epochs", "monitor", "extends"} & {setting_of(name) for name in self.space}:
            raise UserError("seed, trainer.max_epochs, monitor and extends are the same for all trials of a search")
        one_device("search")
        self.monitor, self.output = first.monitor, Path(first.output_dir)
        epochs = first.trainer.max_epochs
        at_first = max(1, epochs // cfg.eta**2) if cfg.first is None else cfg.first
        direction = "maximize" if better(self.monitor) == "max" else "minimize"
        name = self._name(overrides, [cfg.pruner, cfg.sampler, cfg.eta, at_first, self.held_out])
        self.folder = self.output / "searches" / name
        self.rungs = Rungs(cfg.pruner, at_first, cfg.eta, epochs, direction, name)
        self.study = Study(self.folder, cfg.storage, self.space, cfg.sampler, self.rungs, self._answers)

    def _name(self, overrides: list[str], rules: list[Any]) -> str:
        """Return a name that the same search gets again, with more trials, too."""
        ignored = NOT_IDENTITY - of_role("weights")
        kept = [o for o in sorted(overrides) if setting_of(o) not in ignored]
        experiment = next((o.partition("=")[2] for o in kept if o.startswith("experiment=")), "search")
        return f"{experiment}-{digest(kept, rules)[:8]}"

    def _composed(self, params: dict[str, Any], further: list[str] | None = None) -> Config:
        return compose([*self.fixed, *chosen(params), *(self.held_out if further is None else further)])

    def trials(self) -> None:
        """Train trials until none is left, each to its next rung."""
        while True:
            with self.study.lock:
                trial = self.study.claim(self.cfg.trials)
                self.write()
                waiting = trial is None and self.study.others_go(self.study.trials())
            if trial is not None:
                with console.labelled(f"trial {trial.number}"):
                    self._train(trial)
            elif waiting:
                time.sleep(WAIT)
            else:
                return

    def _train(self, trial: SearchTrial) -> None:
        """Train a trial to its target, and store what it has come to."""
        said = " ".join(chosen(trial.params))
        console.note(f"{trial.number + 1}/{self.cfg.trials}, to epoch {trial.target} of {self.rungs.epochs}: {said}")
        reason, values, folder, over = None, {}, "", False
        try:
            cfg = self._composed(trial.params)
            data = open_run_data(cfg)
            folder = str(run_folder(cfg, data))
            stop = trial.target if trial.target < self.rungs.epochs else None
            try:
                run(cfg, data, wait=True, stop_after=stop)
                over = True
            except Paused:
                if self.cfg.pruner == "wilcoxon":
                    self._keep_answers(trial, cfg, data, Path(folder))
            values = self._values(Path(folder))
        except Unfinished:
            raise
        except UserError as error:
            reason = str(error)
        except Exception as error:  # one trial's failure must not end the others
            reason = f"{type(error).__name__}: {error}"
        with self.study.lock:
            if reason:
                console.warn(f"failed: {reason}")
                self.study.fail(trial, reason)
            else:
                (self.study.finish if over else self.study.record)(trial, values, folder)
            self.study.release(trial)
            self.write()

    def _values(self, folder: Path) -> dict[int, float]:
        """Return the monitored figure at each rung that a run has come to, and after its last epoch."""
        with open(folder / "history.csv", newline="", encoding="utf-8") as file:
            rows = [float(row[self.monitor]) for row in csv.DictReader(file)]
        rungs = {rung for rung in self.rungs.all if rung <= len(rows)} | {len(rows)}
        return {epochs: rows[epochs - 1] for epochs in sorted(rungs)}

    def _keep_answers(self, trial: SearchTrial, cfg: Config, data: ImageData, folder: Path) -> None:
        machine = hardware.resolve(cfg.trainer.accelerator, cfg.trainer.precision, cfg.trainer.channels_last)
        split = data.splits["validation"]
        alone, _ = Predictor.load([str(folder / "last.ckpt")], machine).on_split(
            split, ["identity"], cfg.data.eval_batch_size
        )
        with atomic(self._answers_file(trial.number, trial.target), "wb") as file:
            np.save(file, alone.numpy()[np.arange(len(split)), split.labels])

    def _answers(self, trial: SearchTrial, epoch: int) -> np.ndarray:
        """Return the probability that a trial gave the right class of each held-out image."""
        return np.load(self._answers_file(trial.number, epoch), allow_pickle=False)

    def _answers_file(self, number: int, epoch: int) -> Path:
        return self.folder / "answers" / f"{number}-{epoch:03d}.npy"

    def winner(self) -> SearchTrial | None:
        """Return the best finished trial; None if all failed."""
        done = [trial for trial in self.study.trials() if trial.state == "done"]
        sign = 1 if self.rungs.direction == "minimize" else -1
        return min(done, key=lambda t: (sign * t.value, t.number), default=None)

    def train_winner(self, best: SearchTrial) -> list[str]:
        """Train the winner on all training images with every seed, shared with other processes; return the runs."""
        left = {seed: self._composed(best.params, self._whole(seed)) for seed in self.cfg.seeds}
        folders: dict[int, str] = {}
        for wait in (False, True):
            for seed, cfg in left.items():
                if seed in folders:
                    continue
                with console.labelled(f"winner, seed {seed}"):
                    try:
                        folders[seed] = run(cfg, wait=wait).main.folder
                    except Busy:
                        continue
        return [folders[seed] for seed in self.cfg.seeds]

    def _whole(self, seed: int) -> list[str]:
        return ["data.folds=null", "data.fold=null", f"seed={seed}"]

    def write(self, winner: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write what the search has come to into `search.json`, and return it."""
        record = {
            "fixed": self.fixed,
            "held_out": self.held_out,
            "searched": self.searched,
            "settings": asdict(self.cfg),
            "monitor": self.monitor,
            "direction": self.rungs.direction,
            "rungs": self.rungs.all,
            "trials": [_listed(trial) for trial in self.study.trials()],
            "winner": winner,
        }
        write_json(self.folder / "search.json", record)
        return record


def _listed(trial: SearchTrial) -> dict[str, Any]:
    return asdict(trial) | {"epochs": trial.epochs, "value": trial.value if trial.values else None}
