"""The runs behind a report's tables: missing runs are trained, in order, and finished ones are found again.

The runs are listed in conf/reproduce/. Their outcome is kept in `<output_dir>/reproduce/`, one file per report and
scale, from which the page is made.
"""

import contextlib
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepfake_lit.core import console
from deepfake_lit.core.errors import Unfinished, UserError
from deepfake_lit.core.files import read_json, write_json
from deepfake_lit.core.processes import one_device
from deepfake_lit.data.audit import alpha_finding
from deepfake_lit.data.images import as_set
from deepfake_lit.prediction.checkpoint import LAST
from deepfake_lit.prediction.open_set import open_set
from deepfake_lit.settings.commands import OpenSetConfig
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.identity import setting_of
from deepfake_lit.settings.schema import Config
from deepfake_lit.studies.estimate import TimeLeft
from deepfake_lit.studies.plan import Plan, ReproduceConfig, Trial, filled, read_plan, without_references
from deepfake_lit.training.run import open_run_data, run

OF_A_ROW = ("data.folds", "data.fold", "data.leave_out")  # which of the images a row is on


def reproduce(report: str, cfg: ReproduceConfig, further: list[str]) -> Plan:
    """Run what is missing of a report's tables; a row that fails is recorded, and the others go on.

    Raises:
        UserError: there is no such report, scale or row, or the data cannot be used.
    """
    it = Reproduction(report, cfg, further)
    clock = TimeLeft(it.plan, it.data)
    for trial in it.plan.trials:
        it.run(trial, clock.left)
        clock.done(trial)
        it.write()
    if it.plan.then and not it.plan.folds:
        _measure_unknown(it.plan, it.checked)
    return it.plan


class Reproduction:
    """A report's plan on its images, and what has been run of it.

    Raises:
        UserError: there is no such report, scale or row, or the data cannot be used.
    """

    def __init__(self, report: str, cfg: ReproduceConfig, further: list[str]):
        self.plan = plan = read_plan(report, cfg, further)
        one_device("reproduce")
        self.checked = compose([o for o in without_references(plan.trials[0]) if setting_of(o) not in OF_A_ROW])
        self.data, plan.output_dir = open_run_data(self.checked), self.checked.output_dir
        self.path = Path(plan.output_dir) / "reproduce" / f"{plan.name}.json"
        before = _before(self.path, plan, self.data.hash)
        kept = _kept(before, plan)
        _keep_looks(before, plan)
        planned = {trial.key for trial in plan.trials}
        self.others = [t for t in kept if _key(t) not in planned]
        self.alpha = alpha_finding(self.data)

    def run(self, trial: Trial, left: Callable[[], str] = str) -> None:
        """Run a trial, or find it finished; if it fails, it keeps the reason.

        Args:
            left: says how much time is left.
        """
        plan = self.plan
        try:
            overrides = [filled(o, trial, plan) for o in trial.overrides]
            console.note(f"\n{plan.report}, {plan.scale}: {trial.name}   {left()}")
            its = compose(overrides)
            results = run(its, as_set(self.data, its.data), wait=True).every
            folders = [os.path.relpath(result.folder, plan.output_dir) for result in results]
            trial.overrides, trial.folders = overrides, folders
        except Unfinished:
            raise
        except UserError as error:
            trial.reason = str(error)
        except Exception as error:  # one row's failure must not end the others
            trial.reason = f"{type(error).__name__}: {error}"
        if trial.reason:
            console.warn(f"{trial.name}, failed: {trial.reason}")

    def record(self) -> dict[str, Any]:
        """Return what is kept of the report, for the page."""
        planned = [t for t in self.plan.trials if not self.plan.until or t.folders or t.reason]
        trials = [*map(asdict, planned), *self.others]
        return asdict(self.plan) | {"trials": trials, "data_hash": self.data.hash, "alpha": self.alpha}

    def write(self) -> None:
        """Write the record."""
        write_json(self.path, self.record())


def _measure_unknown(plan: Plan, cfg: Config) -> None:
    """Measure the plan's networks on the classes that they have left out, unless that is done already."""
    trained = [trial for trial in plan.trials if trial.folders and not trial.reason]
    paths = [f"{plan.output_dir}/{trial.folders[-1]}/{LAST}" for trial in trained]
    output = Path(plan.output_dir) / plan.name
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        if read_json(output / "open_set.json")["checkpoints"] == paths:
            console.note(f"measured before: {output}/open_set.json; remove it to measure anew")
            return
    if paths:
        open_set(paths, OpenSetConfig(cfg.data, output=str(output), accelerator=cfg.trainer.accelerator))


def _before(record: Path, plan: Plan, data_hash: str) -> dict[str, Any]:
    """Return an earlier record if it has the same images and further settings, else an empty one."""
    try:
        before = read_json(record)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        console.warn(f"{record} cannot be read ({error}) and is written anew")
        return {}
    return before if (before.get("data_hash"), before.get("further")) == (data_hash, plan.further) else {}


def _key(trial: dict[str, Any]) -> tuple[str, int, int | None]:
    return trial["row"], trial["seed"], trial.get("fold")


def _kept(before: dict[str, Any], plan: Plan) -> list[dict[str, Any]]:
    """Return the trials of an earlier record. Those that are planned again get their earlier folders, so that the
    record keeps them until their turn comes."""
    by_key = {_key(t): t for t in before.get("trials", [])}
    for trial in plan.trials:
        earlier = by_key.get(trial.key)
        if earlier and earlier["planned"] == trial.planned:
            trial.folders = earlier["folders"]
    return before.get("trials", [])


def _keep_looks(before: dict[str, Any], plan: Plan) -> None:
    """Keep the looks that were declared before there were verdicts to read, which takes two seeds."""
    seeds = {t["seed"] for t in before.get("trials", [])}
    declared = before.get("looks") or [len(seeds)]
    if plan.folds or len(seeds) < 2 or declared == plan.looks:
        return
    if plan.looks[-1] > declared[-1]:
        names = " and ".join(map(str, declared))
        console.warn(f"looks were declared at {names} seeds; the page counts those after them as undeclared")
    plan.looks = declared
