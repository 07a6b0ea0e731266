"""The states of the runs and sweeps in an output folder: done, running, interrupted, failed."""

import csv
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import read_json
from deepfake_lit.results.state import state_of
from deepfake_lit.settings.commands import StatusConfig
from deepfake_lit.settings.identity import identity_of
from deepfake_lit.studies.trials import table


@dataclass
class RunStatus:
    name: str
    fingerprint: str
    state: str  # done | running | interrupted | paused (in a search) | failed | unreadable
    settings: dict[str, Any]  # those that can change the result, by dotted name
    epochs: int = 0  # finished
    max_epochs: int | None = None  # None: a baseline
    accuracy: float | None = None  # on the validation images; for a network the best so far
    seconds_left: float | None = None
    reason: str = ""


def look(cfg: StatusConfig) -> tuple[list[RunStatus], dict[str, dict[str, int]]]:
    """Return all runs in the order of their names, and for every sweep and search the number of trials in each state.

    Raises:
        UserError: there is no such output folder.
    """
    output = Path(cfg.output_dir)
    if not output.is_dir():
        raise UserError(f"there is no folder {output}")
    runs = [run_status(folder) for folder in sorted(output.glob("runs/*/*")) if folder.is_dir()]
    sweeps = {}
    for folder in sorted(output.glob("sweeps/*")):
        states = [row["state"] for row in table(folder)]
        sweeps[f"sweep {folder.name}"] = {state: states.count(state) for state in dict.fromkeys(states)}
    for path in sorted(output.glob("searches/*/search.json")):
        sweeps[f"search {path.parent.name}"] = _of_search(path, {run.fingerprint: run for run in runs})
    return runs, sweeps


def _of_search(path: Path, runs: dict[str, RunStatus]) -> dict[str, int]:
    """Return the number of a search's trials in each state. The runs of those that pause are told so."""
    try:
        trials = read_json(path)["trials"]
        states = []
        for trial in trials:
            run = runs.get(Path(trial["folder"] or "").name)
            if run and run.state == "interrupted" and trial["state"] == "paused":
                run.state = "paused"
            states.append(run.state if run and trial["state"] == "going" else trial["state"])
    except (ValueError, KeyError, TypeError):
        return {"unreadable": 1}
    return {state: states.count(state) for state in dict.fromkeys(states)}


def run_status(folder: Path) -> RunStatus:
    """Return what a run's folder says; one that cannot be read has the state "unreadable"."""
    found = RunStatus(folder.parent.name, folder.name, "interrupted", {})
    try:
        _read(folder, found)
    except (UserError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        found.state, found.reason = "unreadable", str(error)
    return found


def _read(folder: Path, found: RunStatus) -> None:
    found.state, result, reason = state_of(folder)
    found.reason = reason or ""
    if result:
        found.accuracy = result.best["accuracy"]
    tree = result.config if result else {}
    if not result and (folder / "run.json").exists():
        tree = read_json(folder / "run.json")["config"]
    if "trainer" not in tree:  # a baseline, or a run that ended before it wrote its configuration
        return
    found.settings, found.max_epochs = identity_of(tree), int(tree["trainer"]["max_epochs"])
    if result:
        found.epochs = len(result.history)
    elif (folder / "history.csv").exists():
        with open(folder / "history.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        found.epochs = len(rows)
        found.accuracy = max(float(row["val/accuracy"]) for row in rows)
        found.seconds_left = (found.max_epochs - len(rows)) * statistics.median(float(row["seconds"]) for row in rows)


def differing(runs: list[RunStatus]) -> dict[str, list[str]]:
    """Return for each name the settings in which its runs differ."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by_name.setdefault(run.name, []).append(run.settings)
    found = {}
    for name, several in by_name.items():
        keys = dict.fromkeys(key for settings in several for key in settings)
        found[name] = [key for key in keys if len({str(settings.get(key)) for settings in several}) > 1]
    return found
