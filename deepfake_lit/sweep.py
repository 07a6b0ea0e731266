"""The trials of a sweep, by whatever launcher and in how many terminals, and the table that they make.

A sweep needs no state of its own: a trial is a run, found again by its fingerprint. What is kept is which trials there
were: one file each, with the overrides and the run's folder, in `<output_dir>/sweeps/<name>/trials/`.
"""

import csv
import json
import os
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from deepfake_lit.core import console
from deepfake_lit.core.errors import UNFINISHED, Unfinished, UserError
from deepfake_lit.core.files import atomic, write_json
from deepfake_lit.results.state import Busy, failure, state_of
from deepfake_lit.settings.compose import load
from deepfake_lit.settings.identity import digest

PER_CLASS = ("recall", "precision")


def run_trial(composed: DictConfig, hydra_config: DictConfig) -> float | None:
    """The trial's accuracy; None where it failed, before or now, or another process is in it.

    Args:
        composed: the trial's configuration, not checked yet.
        hydra_config: Hydra's own: the trial's number and overrides, and the sweep's folder.
    """
    from deepfake_lit.training.run import open_run_data, run, run_folder

    number, overrides = hydra_config.job.num, list(hydra_config.overrides.task)
    adaptive = hydra_config.runtime.choices["hydra/sweeper"] != "basic"  # what it tries next depends on this trial
    entry = {"number": number, "overrides": overrides, "folder": None, "reason": None}
    path = Path(hydra_config.sweep.dir) / "trials" / f"{digest(sorted(overrides))}.json"
    try:
        cfg = load(composed)
        data = open_run_data(cfg)
        network = None if cfg.model.kind == "none" else run_folder(cfg, data)
        entry["folder"] = network and str(network)
        write_json(path, entry)
        if network and not cfg.retry_failed and (reason := failure(network)):
            console.note(f"trial {number} failed before and is left out ({reason}); retry_failed=true tries again")
            return None
        results = run(cfg, data, wait=adaptive)
        result = results[-1]
    except Busy:
        return None
    except Unfinished:
        raise
    except UserError as error:
        entry["reason"] = str(error)
    except Exception as error:  # what goes wrong in one trial must not end the others
        entry["reason"] = f"{type(error).__name__}: {error}"
    else:
        entry["folder"], entry["folders"] = result["folder"], [each["folder"] for each in results]
        write_json(path, entry)
        return result["best"]["accuracy"]
    console.warn(f"trial {number} ({' '.join(overrides)}) failed: {entry['reason']}")
    write_json(path, entry)
    return None


def finish(folder: Path) -> int:
    """Wait for trials that other processes are in, write and show the table.

    Returns:
        The exit status: 0; 1 if a trial failed; `UNFINISHED` if one was interrupted in another process.
    """
    from deepfake_lit import show

    rows = table(folder)
    if any(row["state"] == "running" for row in rows):
        with console.working("waiting for trials that other processes are in"):
            while any(row["state"] == "running" for row in rows):
                time.sleep(1)
                rows = table(folder)
    write_table(folder / "table.csv", rows)
    show.sweep(rows, folder)
    states = {row["state"] for row in rows}
    return 1 if "failed" in states else UNFINISHED if "interrupted" in states else 0


def trials(folder: Path) -> list[dict[str, Any]]:
    """What is kept of a sweep's trials, in the order of their numbers: `number overrides folder reason`, and `folders`
    if done. Runs beside the sweep are found wherever the output folder has been moved or copied to."""
    entries = [json.loads(path.read_text()) for path in (folder / "trials").glob("*.json")]
    for entry in entries:
        if entry["folder"]:
            entry["folder"] = _beside(folder, entry["folder"])
        if "folders" in entry:
            entry["folders"] = [_beside(folder, run) for run in entry["folders"]]
    return sorted(entries, key=lambda entry: entry["number"])


def _beside(folder: Path, run: str) -> str:
    here = folder / ".." / ".." / "runs" / Path(run).parent.name / Path(run).name
    return os.path.normpath(here) if here.exists() else run


def runs_of(entry: dict[str, Any]) -> list[str]:
    """The folders of a trial's runs: several where it has baselines."""
    return entry.get("folders") or ([entry["folder"]] if entry["folder"] else [])


def settings_of(entries: list[dict[str, Any]]) -> tuple[list[dict[str, str]], list[str]]:
    """Every trial's settings, and the names of those in which they differ."""
    settings = [dict(o.lstrip("+").partition("=")[::2] for o in entry["overrides"]) for entry in entries]
    names = [n for n in dict.fromkeys(n for s in settings for n in s) if len({s.get(n) for s in settings}) > 1]
    return settings, names


def table(folder: Path) -> list[dict[str, Any]]:
    """One row a trial, in the order of their numbers: the settings that differ, state, and accuracies if done."""
    entries = trials(folder)
    settings, names = settings_of(entries)
    return [
        {"trial": entry["number"], "settings": {name: values.get(name, "") for name in names}, **_outcome(entry)}
        for entry, values in zip(entries, settings, strict=True)
    ]


def _outcome(entry: dict[str, Any]) -> dict[str, Any]:
    if entry["folder"] is None:
        return {"state": "failed", "reason": entry["reason"]} if entry["reason"] else {"state": "interrupted"}
    try:
        state, result, reason = state_of(Path(entry["folder"]))
    except UserError as error:
        return {"state": "failed", "reason": str(error)}
    if result:
        low, high = result["best"]["interval"]
        best, names = result["best"], result["data"]["class_names"]
        found = {"best": best["accuracy"], "low": low, "high": high, "last": result["last"]["accuracy"]}
        for figure in PER_CLASS:
            found |= {f"{figure}_{name}": v for name, v in zip(names, best[f"{figure}_of"], strict=True)}
        return {"state": state} | found | {"folder": entry["folder"]}
    return {"state": state} | ({"reason": reason} if reason else {})


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    flat = [{"trial": row["trial"], **row["settings"], **row} for row in rows]
    names = [name for name in dict.fromkeys(name for row in flat for name in row) if name != "settings"]
    with atomic(path) as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
