"""The trials of a sweep as its folder has them."""

import json
import os
from pathlib import Path
from typing import Any

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.metrics import METRICS
from deepfake_lit.results.result import Result
from deepfake_lit.results.state import state_of

PER_CLASS = ("recall", "precision")


def trials(folder: Path) -> list[dict[str, Any]]:
    """Read a sweep's trials, in the order of their numbers.

    Each has `number`, `overrides`, `folder` and `reason`, and `folders` if it is done. Runs beside the sweep are found
    even if the output folder was moved or copied.
    """
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
    """Return the folders of a trial's runs: several if it has baselines."""
    return entry.get("folders") or ([entry["folder"]] if entry["folder"] else [])


def settings_of(entries: list[dict[str, Any]]) -> tuple[list[dict[str, str]], list[str]]:
    """Return the settings of every trial, and the names of those in which the trials differ."""
    settings = [dict(o.lstrip("+").partition("=")[::2] for o in entry["overrides"]) for entry in entries]
    names = [n for n in dict.fromkeys(n for s in settings for n in s) if len({s.get(n) for s in settings}) > 1]
    return settings, names


def table(folder: Path) -> list[dict[str, Any]]:
    """Return one row per trial, by number: the settings that differ, the state, and the figures if it is done."""
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
        best, names = result.best, result.data["class_names"]
        low, high = best["interval"]
        found = {"best": best["accuracy"], "low": low, "high": high, "last": result.last["accuracy"]}
        for figure in PER_CLASS:
            found |= {f"{figure}_{name}": v for name, v in zip(names, best[f"{figure}_of"], strict=True)}
        found |= {metric.column: _best(result, name) for name, metric in METRICS.items() if metric.column}
        return {"state": state} | found | {"folder": entry["folder"]}
    return {"state": state} | ({"reason": reason} if reason else {})


def _best(result: Result, metric: str) -> float | None:
    """Return a metric of the best epoch; None if the run is older than the metric and its predictions are gone."""
    try:
        return result.value(metric, "best")
    except UserError:
        return None
