"""The runs that a report's tables need: the rows of conf/reproduce/ at a scale, for every seed."""

import itertools
import re
from dataclasses import dataclass, field, replace
from typing import Any

from deepfake_lit.core.errors import UserError, one_of
from deepfake_lit.settings.commands import ReproduceConfig
from deepfake_lit.settings.conf import choices
from deepfake_lit.settings.identity import NOT_IDENTITY, setting_of
from deepfake_lit.settings.report_file import is_file, name_of, read_report

REFERENCE = r"{(\w+)(?::(best|last|model))?(@all)?}"  # another row's checkpoint or pipeline; @all: of every seed
LOOKS = (3, 4, 5, 6, 7, 8, 10, 12, 14)  # numbers of seeds at which `until=settled` looks at a claim
FILES = {"": "best.ckpt", "best": "best.ckpt", "last": "last.ckpt", "model": "model.skops"}


@dataclass
class Trial:
    """One row of a report with one seed."""

    row: str
    seed: int
    overrides: list[str]  # of `train`; until the trial starts, {row} stands for that row's checkpoint
    # of its runs, relative to the output folder: several where a baseline has several k
    folders: list[str] = field(default_factory=list)
    reason: str | None = None  # why it failed
    planned: list[str] = field(default_factory=list)  # the plan's overrides, as `_lasting` keeps them
    fold: int | None = None  # of the training images, that it is measured on; None: the validation images

    @property
    def key(self) -> tuple[str, int, int | None]:
        return self.row, self.seed, self.fold

    @property
    def name(self) -> str:
        return f"{self.row}, seed {self.seed}" + ("" if self.fold is None else f", fold {self.fold}")


@dataclass
class Plan:
    """All trials of a report at a scale."""

    report: str
    scale: str
    seeds: list[int]
    trials: list[Trial]
    looks: list[int] = field(default_factory=list)  # numbers of seeds at which the verdicts are read
    further: list[str] = field(default_factory=list)  # overrides of every run, as `_lasting` keeps them
    output_dir: str = "outputs"
    folds: int | None = None
    then: str | None = None  # the command that measures the networks
    until: str | None = None  # settled: rows have as many seeds as their claims needed
    reported: dict[str, Any] | None = None  # what a report's file has that is not one of conf/reproduce/

    @property
    def name(self) -> str:
        further = f"-folds{self.folds}" if self.folds else f"-{self.until}" if self.until else ""
        return f"{self.report}-{self.scale}{further}"

    def trial(self, row: str, seed: int, fold: int | None = None) -> Trial:
        return next(t for t in self.trials if t.key == (row, seed, fold))


def plans(scale: str | None = None) -> list[str]:
    """Return the names of all reports, or of those that have the scale.

    Raises:
        UserError: no report has that scale.
    """
    names = choices("reproduce")
    if scale is None:
        return names
    one_of("scale", scale, {name: None for plan in names for name in read_report(plan)["scales"]})
    return [name for name in names if scale in read_report(name)["scales"]]


def read_plan(report: str, cfg: ReproduceConfig, further: list[str]) -> Plan:
    """Return the trials of a report at a scale, in the order in which they must run.

    Args:
        report: a name in conf/reproduce/, or a file of one's own.
        further: overrides of every run.

    Raises:
        UserError: there is no such report, scale or row, or nothing would run.
    """
    tree = read_report(report)
    if "rows" not in tree:
        raise UserError(f"{report} says of no row what is trained for it, under rows; `judge` needs none")
    tree.setdefault("scales", {"full": {"seeds": [0, 1, 2]}})
    one_of("scale", cfg.scale, tree["scales"])
    scale = tree["scales"][cfg.scale]
    for row in cfg.rows or ():
        one_of("rows", row, tree["rows"])
    wanted = tree["rows"] if cfg.rows is None else with_needed(cfg.rows, tree["rows"])
    if cfg.folds is not None and (cfg.folds < 2 or cfg.looks):
        raise UserError("folds needs 2 or more" if cfg.folds < 2 else "looks are at numbers of seeds: leave out folds")
    if cfg.until is not None:
        cfg = _until(cfg)
        wanted = [row for row in wanted if not _of_all_seeds(tree["rows"][row])]
    seeds = (scale["seeds"][:1] if cfg.folds else scale["seeds"]) if cfg.seeds is None else cfg.seeds
    if not wanted or not seeds:
        raise UserError("rows and seeds need at least one each")
    if len(seeds) == 1:
        if alone := [row for row in cfg.rows or () if _of_all_seeds(tree["rows"][row])]:
            raise UserError(f"rows: {alone[0]} is a mean over seeds, and seeds has one")
        wanted = [row for row in wanted if not _of_all_seeds(tree["rows"][row])]
    trials = []
    for row, fold, seed in itertools.product(wanted, range(cfg.folds) if cfg.folds else [None], seeds):
        own = tree["rows"][row]
        if seed != seeds[0] and _of_all_seeds(own):
            continue
        experiment = own[0].removeprefix("experiment=")
        slimmer = scale.get("experiments", {}).get(experiment, [])
        held_out = [] if fold is None else [f"data.folds={cfg.folds}", f"data.fold={fold}"]
        overrides = [*own, *slimmer, *further, *held_out, f"seed={seed}"]
        trials.append(Trial(row, seed, overrides, planned=_lasting(overrides), fold=fold))
    looks = cfg.looks or scale.get("looks") or [max(len(seeds), len(scale["seeds"]))]
    if looks != sorted(set(looks)) or looks[0] < 1:
        raise UserError(f"looks: {looks} are no numbers of seeds that grow, as [3,6,10] are")
    reported = tree if is_file(report) else None
    return Plan(
        name_of(report),
        cfg.scale,
        list(seeds),
        trials,
        list(looks),
        _lasting(further),
        folds=cfg.folds,
        then=tree.get("then"),
        until=cfg.until,
        reported=reported,
    )


def _until(cfg: ReproduceConfig) -> ReproduceConfig:
    """Return the settings of a plan that has as many seeds as the last look allows."""
    one_of("until", cfg.until, ["settled"])
    if cfg.seeds is not None or cfg.folds is not None:
        raise UserError("until=settled chooses the seeds itself: leave out seeds and folds; looks=[3,6,10] limits them")
    looks = cfg.looks or list(LOOKS)
    if looks[0] < 2:
        raise UserError(f"looks: {looks} begins with one seed, of which there is no verdict")
    return replace(cfg, seeds=list(range(looks[-1])), looks=looks)


def _of_all_seeds(overrides: list[str]) -> bool:
    """Return whether a row is a single run that takes the checkpoints of every seed."""
    return any("@all}" in override for override in overrides)


def _lasting(overrides: list[str]) -> list[str]:
    """Return the overrides that make a run what it is, without those of places and of how work is shown or divided."""
    return [o for o in overrides if setting_of(o) not in NOT_IDENTITY]


def with_needed(rows: list[str], every: dict[str, list[str]]) -> list[str]:
    """Return the rows, with those whose checkpoints they take, in the plan's order."""
    needed, left = set(), list(rows)
    while left:
        row = left.pop()
        needed.add(row)
        left += [name for name, *_ in re.findall(REFERENCE, " ".join(every[row])) if name not in needed]
    return [row for row in every if row in needed]


def filled(override: str, trial: Trial, plan: Plan) -> str:
    """Return an override with paths in place of its references; UserError if a row that it needs has no run."""

    def checkpoints(match: re.Match) -> str:
        others = [plan.trial(match[1], seed, trial.fold) for seed in (plan.seeds if match[3] else [trial.seed])]
        if not all(other.folders for other in others):
            raise UserError(f"it needs {match[1]}, which failed")
        # Where nothing is random all seeds are one run.
        folders = dict.fromkeys(other.folders[-1] for other in others)
        return ",".join(f"{plan.output_dir}/{folder}/{FILES[match[2] or '']}" for folder in folders)

    return re.sub(REFERENCE, checkpoints, override)


def without_references(trial: Trial) -> list[str]:
    """Return a trial's overrides that name no other row."""
    return [o for o in trial.overrides if not re.search(REFERENCE, o)]
