"""Which paused trials of a search go on: Optuna's pruners, asked again as more trials are known.

A pruner of Optuna answers once, when a trial comes to a rung, and what it prunes is over. Here a trial pauses, and the
pruner is asked again on a study in memory in which the others have come first. So a trial that was the second of three
goes on when it is the second of six: successive halving without waiting (Li et al., MLSys 2020).
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner, WilcoxonPruner
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial


@dataclass
class SearchTrial:
    """A trial of a search.

    Attributes:
        values: what it is chosen by, after so many epochs.
        target: the epoch that it goes to. It is paused when it has come there.
    """

    number: int
    params: dict[str, Any]
    target: int
    values: dict[int, float] = field(default_factory=dict)
    state: str = "going"  # going | paused | done | failed
    reason: str | None = None
    folder: str | None = None  # of its run

    @property
    def epochs(self) -> int:
        return max(self.values, default=0)

    @property
    def value(self) -> float:
        """Return the last value."""
        return self.values[self.epochs]


@dataclass(frozen=True)
class Rungs:
    """The epochs at which trials are compared, and the rule by which they go on from there."""

    pruner: str
    first: int
    eta: int
    epochs: int  # of a whole training
    direction: str  # maximize | minimize
    study: str  # its name, from which Hyperband draws the bracket of a trial

    @property
    def all(self) -> list[int]:
        """Return the epochs of all rungs; the last one is the end of the training."""
        found = [self.first] if self.pruner != "none" else []
        while found and found[-1] * self.eta < self.epochs:
            found.append(found[-1] * self.eta)
        return [*(epoch for epoch in found if epoch < self.epochs), self.epochs]

    def after(self, epoch: int) -> int:
        """Return the rung that follows an epoch."""
        return next(rung for rung in self.all if rung > epoch)

    def best(self, trials: list[SearchTrial]) -> list[SearchTrial]:
        """Return trials in the order in which they go on: those that are furthest first, of these the best."""
        sign = 1 if self.direction == "minimize" else -1
        return sorted(trials, key=lambda t: (-t.epochs, sign * t.value, t.number))

    def going_on(
        self, trials: list[SearchTrial], answers: Callable[[SearchTrial, int], np.ndarray]
    ) -> SearchTrial | None:
        """Return a paused trial that goes on; None if there is none.

        Args:
            answers: what each image gives a trial after so many epochs, float (N,); more is better.
        """
        for trial in self.best([t for t in trials if t.state == "paused"]):
            if not (self._worse(trial, trials, answers) if self.pruner == "wilcoxon" else self._pruned(trial, trials)):
                return trial
        return None

    def last_resort(self, trials: list[SearchTrial]) -> SearchTrial | None:
        """Return the furthest of the paused trials if no trial has come to its end, so that one is the winner."""
        paused = [t for t in trials if t.state == "paused"]
        return self.best(paused)[0] if paused and not any(t.state == "done" for t in trials) else None

    def _pruned(self, own: SearchTrial, trials: list[SearchTrial]) -> bool:
        study = _in_memory(self.direction, self.study, self._pruner())
        asked = [study.ask() for _ in trials]
        for trial, other in sorted(zip(trials, asked, strict=True), key=lambda pair: pair[0] is own):
            for epoch, value in sorted(trial.values.items()):
                other.report(value, epoch)
                pruned = other.should_prune()
            if trial.state == "done":
                study.tell(other, trial.value)
        return pruned

    def _pruner(self) -> BasePruner:
        # A rung waits for as many trials as one is chosen from, since a trial that pauses there is not lost.
        waits = self.eta - 1
        if self.pruner == "halving":
            return SuccessiveHalvingPruner(self.first, self.eta, bootstrap_count=waits)
        if self.pruner == "hyperband":
            return HyperbandPruner(self.first, self.epochs, self.eta, bootstrap_count=waits)
        return MedianPruner() if self.pruner == "median" else NopPruner()

    def _worse(self, own: SearchTrial, trials: list[SearchTrial], answers) -> bool:
        """Return whether a trial's answers for the images are worse than those of the best finished one by chance in
        few cases alone: Wilcoxon's test of pairs."""
        finished = self.best([t for t in trials if t.state == "done"])
        if not finished:
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study = _in_memory("maximize", self.study, WilcoxonPruner())
        mine, its = answers(own, own.epochs), answers(finished[0], own.epochs)
        there = dict(enumerate(its.tolist()))
        study.add_trial(create_trial(state=TrialState.COMPLETE, value=float(its.mean()), intermediate_values=there))
        running = create_trial(state=TrialState.RUNNING, intermediate_values=dict(enumerate(mine.tolist())))
        return study.pruner.prune(study, running)


def _in_memory(direction: str, name: str, pruner: BasePruner) -> optuna.Study:
    return optuna.create_study(
        direction=StudyDirection[direction.upper()],
        study_name=name,
        pruner=pruner,
        sampler=optuna.samplers.RandomSampler(0),
    )
