"""The runs behind a report's tables: what is missing is trained, in order, and what there is is found again.

Which runs there are stands in conf/reproduce/. What came of them is kept in `<output_dir>/reproduce/`, one file a
report and scale, which the page is made from.
"""

import math
import os
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepfake_lit.core import console, hardware, system
from deepfake_lit.core.errors import Unfinished, UserError
from deepfake_lit.core.files import read_json, write_json
from deepfake_lit.core.processes import one_device
from deepfake_lit.data.audit import alpha_finding
from deepfake_lit.data.dataset import ImageData
from deepfake_lit.plan import REFERENCE, Plan, ReproduceConfig, Trial, filled, read_plan, without_references
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.schema import Config
from deepfake_lit.status import run_status

EVALUATIONS = 4  # of the validation images when a run is over: two checkpoints, each without and with one more view
FORWARD = 1 / 3  # of a training step's time


def reproduce(report: str, cfg: ReproduceConfig, further: list[str]) -> Plan:
    """Run what is missing of a report's tables; a row that fails is recorded, and the others go on.

    Raises:
        UserError: no such report, scale or row, or the data cannot be used.
    """
    from deepfake_lit.training.run import open_run_data

    plan = read_plan(report, cfg, further)
    one_device("reproduce")
    checked = compose(without_references(plan.trials[0]))
    data, plan.output_dir = open_run_data(checked), checked.output_dir
    record = Path(plan.output_dir) / "reproduce" / f"{report}-{cfg.scale}.json"
    kept = _kept(record, plan, data.hash)
    others = [t for t in kept if (t["row"], t["seed"]) not in {(trial.row, trial.seed) for trial in plan.trials}]
    alpha = alpha_finding(data)
    clock = _Clock(plan, data)
    for trial in plan.trials:
        try:
            overrides = [filled(o, trial, plan) for o in trial.overrides]
            console.note(f"\n{report}, {cfg.scale}: {trial.row}, seed {trial.seed}   {clock.left(trial)}")
            results = run_once(compose(overrides), data, wait=True)
            folders = [os.path.relpath(result["folder"], plan.output_dir) for result in results]
            trial.overrides, trial.folders = overrides, folders
        except Unfinished:
            raise
        except UserError as error:
            trial.reason = str(error)
        except Exception as error:  # one row's failure must not end the others
            trial.reason = f"{type(error).__name__}: {error}"
        if trial.reason:
            console.warn(f"{trial.row}, seed {trial.seed}, failed: {trial.reason}")
        clock.done(trial)
        trials = [*map(asdict, plan.trials), *others]
        write_json(record, asdict(plan) | {"trials": trials, "data_hash": data.hash, "alpha": alpha})
    return plan


def _kept(record: Path, plan: Plan, data_hash: str) -> list[dict[str, Any]]:
    """What has been kept of earlier times, as far as it was on the same images under the same further settings. What is
    planned again has its runs from there until it is asked for."""
    try:
        before = read_json(record)
    except FileNotFoundError:
        return []
    except ValueError as error:
        console.warn(f"{record} cannot be read ({error}) and is written anew")
        return []
    if before.get("data_hash") != data_hash or before.get("further") != plan.further:
        return []
    by_key = {(t["row"], t["seed"]): t for t in before["trials"]}
    for trial in plan.trials:
        earlier = by_key.get((trial.row, trial.seed))
        if earlier and earlier["planned"] == trial.planned:
            trial.folders = earlier["folders"]
    return before["trials"]


def run_once(cfg: Config, data: ImageData, wait: bool) -> list[dict[str, Any]]:
    from deepfake_lit.training.run import run

    return run(cfg, data, wait)


def _from_the_start(trial: Trial) -> Config:
    """A network's configuration without the checkpoint that it starts from."""
    overrides = without_references(trial)
    return compose(overrides if len(overrides) == len(trial.overrides) else [*overrides, "init_from=null"])


class _Clock:
    """How long the rest takes: by a few timed steps of each kind of network, corrected by what has been done since."""

    def __init__(self, plan: Plan, data: ImageData):
        self.plan, self.data = plan, data
        self.rates: dict[str, float] = {}
        self.expected: dict[int, float] = {}
        self.spent = self.estimated = 0.0
        for trial in plan.trials:
            self.expected[id(trial)] = self._estimate(trial)
        self._started = time.monotonic()
        finished = sum(not seconds for seconds in self.expected.values())
        time_left = console.duration(sum(self.expected.values()))
        console.note(
            f"{plan.report} at scale {plan.scale}: {len(plan.trials)} runs, {finished} of them finished or of seconds. "
            f"The others take about {time_left} here; after an interruption the same command goes on"
        )

    def _estimate(self, trial: Trial) -> float:
        """Seconds that are left; 0 of a baseline, of an ensemble but for the networks that it trains on folds, or where
        it is finished."""
        left = self._share_left(trial)
        if not left:
            return 0.0
        overrides = without_references(trial)
        if overrides[0] == "experiment=ensemble":
            folds = next((int(o.rpartition("=")[2]) for o in overrides if o.startswith("model.folds=")), 5)
            return (folds - 1) * self._stages(trial) if "model.fit_on=out_of_fold" in overrides else 0.0
        cfg = _from_the_start(trial)
        return 0.0 if cfg.model.kind == "none" else left * self._training(cfg)

    def _stages(self, trial: Trial) -> float:
        """Of all networks that a trial is made of, as if none were there."""
        seconds = 0.0
        for name, *_ in re.findall(REFERENCE, " ".join(trial.overrides)):
            other = self.plan.trial(name, trial.seed)
            seconds += self._training(_from_the_start(other)) + self._stages(other)
        return seconds

    def _training(self, cfg: Config) -> float:
        train, validation = (len(self.data.splits[name]) for name in ("train", "validation"))
        limit = cfg.trainer.limit_train_batches
        batches = -(-train // cfg.data.batch_size)
        images = cfg.data.batch_size * min(batches, limit if isinstance(limit, int) else round(limit * batches))
        evaluated = validation * (cfg.trainer.max_epochs + EVALUATIONS) * FORWARD
        if cfg.augment.window:  # whole images, at the time of a window
            side = cfg.data.image_size or math.sqrt(math.prod(self.data.size))
            evaluated *= (side / cfg.augment.window) ** 2
        return (cfg.trainer.max_epochs * images + evaluated) * self._rate(cfg)

    def _share_left(self, trial: Trial) -> float:
        """Of a network's epochs."""
        from deepfake_lit.training.run import run_folder

        try:
            cfg = compose([filled(override, trial, self.plan) for override in trial.overrides])
            if cfg.model.kind == "none":
                return 1.0
            run = run_status(run_folder(cfg, self.data))
        except UserError:  # a row that it needs has not been run
            return 1.0
        if run.state == "done":
            return 0.0
        return 1.0 - run.epochs / run.max_epochs if run.max_epochs else 1.0

    def _rate(self, cfg: Config) -> float:
        """Seconds a training image."""
        from deepfake_lit.training.steps import Training

        inputs = cfg.data.channels, cfg.data.image_size, cfg.data.batch_size, cfg.augment.window
        key = str((cfg.model, *inputs, cfg.optimizer.kind, cfg.trainer.precision))
        key = re.sub(r"dropout=[^,)]*", "", key)
        if key not in self.rates:
            system.keep_freed_memory()
            training = Training(
                cfg,
                self.data,
                hardware.resolve(cfg.trainer.accelerator, cfg.trainer.precision, cfg.trainer.channels_last),
            )
            seconds = []
            for _ in range(4):
                start = time.perf_counter()
                training.step(training.batches[0])
                seconds.append(time.perf_counter() - start)
            self.rates[key] = min(seconds) / cfg.data.batch_size
        return self.rates[key]

    def left(self, trial: Trial) -> str:
        remaining = sum(self.expected.values())
        if not remaining:
            return ""
        pace = self.spent / self.estimated if self.estimated else 1.0
        return f"about {console.duration(remaining * pace)} left"

    def done(self, trial: Trial) -> None:
        now = time.monotonic()
        expected = self.expected.pop(id(trial))
        if expected and not trial.reason and now - self._started > 0.1 * expected:  # else it was finished before
            self.spent, self.estimated = self.spent + now - self._started, self.estimated + expected
        self._started = now
