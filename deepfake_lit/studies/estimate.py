"""An estimate of how long a report's runs take, before they start and while they go on."""

import math
import re
import time

from deepfake_lit.core import console, hardware, system
from deepfake_lit.core.errors import UserError
from deepfake_lit.data.images import ImageData
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.schema import Config
from deepfake_lit.studies.plan import REFERENCE, Plan, Trial, filled, without_references
from deepfake_lit.studies.status import run_status
from deepfake_lit.training.run import run_folder
from deepfake_lit.training.steps import TrainingSteps

EVALUATIONS = 4  # passes over the validation images after training: two checkpoints, each without and with a 2nd view
FORWARD = 1 / 3  # a forward pass takes this share of a training step's time


def _from_the_start(trial: Trial) -> Config:
    """Return a network's configuration without the checkpoint that it starts from."""
    overrides = without_references(trial)
    return compose(overrides if len(overrides) == len(trial.overrides) else [*overrides, "init_from=null"])


class TimeLeft:
    """The time that is left: a few timed steps of each kind of network, corrected by the pace of the finished runs."""

    def __init__(self, plan: Plan, data: ImageData):
        self.plan, self.data = plan, data
        self.rates: dict[str, float] = {}
        self.spent = self.estimated = 0.0
        self.expected = {id(trial): self._estimate(trial) for trial in plan.trials}
        self._started = time.monotonic()
        finished = sum(not seconds for seconds in self.expected.values())
        time_left = console.duration(sum(self.expected.values()))
        console.note(
            f"{plan.report} at scale {plan.scale}: {len(plan.trials)} runs, {finished} of them finished or of seconds. "
            f"The others take about {time_left} here; after an interruption the same command goes on"
        )

    def _estimate(self, trial: Trial) -> float:
        """Return the seconds that are left: 0 for a finished run or a baseline. An ensemble takes only the time of the
        networks that it trains on folds."""
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
        """Return the seconds of all networks that a trial is made of, as if none of them were trained yet."""
        seconds = 0.0
        for name, *_ in re.findall(REFERENCE, " ".join(trial.overrides)):
            other = self.plan.trial(name, trial.seed, trial.fold)
            seconds += self._training(_from_the_start(other)) + self._stages(other)
        return seconds

    def _training(self, cfg: Config) -> float:
        train, validation = (len(self.data.splits[name]) for name in ("train", "validation"))
        limit = cfg.trainer.limit_train_batches
        batches = -(-train // cfg.data.batch_size)
        images = cfg.data.batch_size * min(batches, limit if isinstance(limit, int) else round(limit * batches))
        evaluated = validation * (cfg.trainer.max_epochs + EVALUATIONS) * FORWARD
        if cfg.augment.window:  # training sees windows, evaluation whole images: time grows with the area
            side = cfg.data.image_size or math.sqrt(math.prod(self.data.size))
            evaluated *= (side / cfg.augment.window) ** 2
        return (cfg.trainer.max_epochs * images + evaluated) * self._rate(cfg)

    def _share_left(self, trial: Trial) -> float:
        """Return the share of a network's epochs that are left; 1 for a baseline."""
        try:
            cfg = compose([filled(override, trial, self.plan) for override in trial.overrides])
            if cfg.model.kind == "none":
                return 1.0
            run = run_status(run_folder(cfg, self.data))
        except UserError:  # a row that this one needs has not been run
            return 1.0
        if run.state == "done":
            return 0.0
        return 1.0 - run.epochs / run.max_epochs if run.max_epochs else 1.0

    def _rate(self, cfg: Config) -> float:
        """Return the seconds per training image; networks that differ in dropout alone share one measurement."""
        inputs = cfg.data.channels, cfg.data.image_size, cfg.data.batch_size, cfg.augment.window
        key = str((cfg.model, *inputs, cfg.optimizer.kind, cfg.trainer.precision))
        key = re.sub(r"dropout=[^,)]*", "", key)
        if key not in self.rates:
            system.keep_freed_memory()
            t = cfg.trainer
            machine = hardware.resolve(t.accelerator, t.precision, t.channels_last)
            training = TrainingSteps(cfg, self.data, machine)
            seconds = []
            for _ in range(4):
                start = time.perf_counter()
                training.step(training.batches[0])
                seconds.append(time.perf_counter() - start)
            self.rates[key] = min(seconds) / cfg.data.batch_size
        return self.rates[key]

    def left(self) -> str:
        """Return how long all runs that are not done still take, in words; empty if that is nothing."""
        remaining = sum(self.expected.values())
        if not remaining:
            return ""
        pace = self.spent / self.estimated if self.estimated else 1.0
        return f"about {console.duration(remaining * pace)} left"

    def done(self, trial: Trial) -> None:
        """Take note that a trial is over, and of its pace if it was trained just now."""
        now = time.monotonic()
        expected = self.expected.pop(id(trial))
        if expected and not trial.reason and now - self._started > 0.1 * expected:  # faster: it was finished before
            self.spent, self.estimated = self.spent + now - self._started, self.estimated + expected
        self._started = now
