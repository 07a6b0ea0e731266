"""Anybody's report, judged: its predictions become runs of an output folder, and the page is that of any report.

A file of another program is written once more as the `predictions.npz` and `result.json` that a run leaves. So
everything that reads runs reads it, too.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import read_json, write_json
from deepfake_lit.results.figures import figures_of
from deepfake_lit.results.files import read_predictions
from deepfake_lit.results.foreign import Answers, read_answers, read_truth
from deepfake_lit.results.provenance import now
from deepfake_lit.results.result import Result, read_result, write_result
from deepfake_lit.settings.identity import digest
from deepfake_lit.settings.report_file import name_of, read_report

OTHER = "another program"


@dataclass
class _Truth:
    """The true class of every image, and the order in which images stand in all runs."""

    ids: np.ndarray
    labels: np.ndarray
    source: str


def judge(file: str, output: Path) -> str:
    """Write what the page of a report needs to `output`, and return the section's key.

    Args:
        file: of the report. Paths in it are relative to it.

    Raises:
        UserError: the file, or one that it names, cannot be used.
    """
    tree, name, here = read_report(file), name_of(file), Path(file).parent
    named = {
        row: [here / each for each in ([paths] if isinstance(paths, str) else paths)]
        for row, paths in tree.get("predictions", {}).items()
    }
    runs = {path for paths in named.values() for path in paths if (path / "result.json").is_file()}
    columns, classes = tree.get("columns", {}), tree.get("classes")
    classes = [str(each) for each in classes] if classes else None
    read = {
        path: read_answers(path, columns, classes) for paths in named.values() for path in paths if path not in runs
    }
    truth = _truth(here / tree["truth"] if "truth" in tree else None, columns, sorted(runs), read)
    trials = []
    if truth:
        names = classes or _in_order({*truth.labels.tolist()})
        for row, paths in named.items():
            for seed, path in enumerate(paths):
                folder = path if path in runs else _written(output, row, seed, path, read[path], truth, names)
                trials.append(_trial(row, seed, os.path.relpath(folder, output)))
    path = output / "reproduce" / f"{name}.json"
    _remove_earlier(path, output, {trial["folders"][0] for trial in trials})
    write_json(path, {"report": name, "scale": None, "trials": trials, "reported": tree})
    return name


def _remove_earlier(record: Path, output: Path, kept: set[str]) -> None:
    """Remove what an earlier judgement of the report has written from files that have changed."""
    try:
        trials = read_json(record)["trials"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return
    for folder in {folder for trial in trials for folder in trial["folders"]} - kept:
        if folder.startswith("runs/"):  # its own; those of this project lie elsewhere
            shutil.rmtree(output / folder, ignore_errors=True)


def _trial(row: str, seed: int, folder: str) -> dict[str, Any]:
    return {"row": row, "seed": seed, "overrides": [], "planned": [], "folders": [folder], "reason": None}


def _truth(file: Path | None, columns: dict[str, str], runs: list[Path], read: dict[Path, Answers]) -> _Truth | None:
    """Return the truth: of a run of this project, whose images stand in its own order, of the file, or of an answer."""
    found: list[_Truth] = []
    for path in runs:
        arrays, result = read_predictions(path / "predictions.npz", ("ids", "labels")), read_result(path)
        names = np.array(result.data["class_names"])
        found.append(_Truth(arrays["ids"].astype(str), names[arrays["labels"]], str(path)))
    if file is not None:
        found.append(_Truth(*read_truth(file, columns), str(file)))
    else:
        found += [_Truth(each.ids, each.truth, str(path)) for path, each in read.items() if each.truth is not None]
    if not found:
        if read:
            raise UserError(f"{next(iter(read))} does not say the true classes: truth: names a file that does")
        return None
    first = found[0]
    for other in found[1:]:
        labels = _at(first.ids, other.ids, other.labels, other.source, first.source)
        if (wrong := np.flatnonzero(labels != first.labels)).size:
            image = first.ids[wrong[0]]
            raise UserError(f"{other.source} and {first.source} have other true classes, as of the image {image}")
    return first


def _at(wanted: np.ndarray, ids: np.ndarray, values: np.ndarray, source: str, of: str) -> np.ndarray:
    """Return values in the order of the wanted ids."""
    order = np.argsort(ids, kind="stable")
    place = np.minimum(np.searchsorted(ids[order], wanted), len(ids) - 1)
    there = ids[order][place] == wanted
    if not there.all():
        missing = wanted[~there]
        raise UserError(f"{source} lacks {len(missing):,} of the {len(wanted):,} images of {of}, as {missing[0]}")
    if len(ids) > len(wanted):
        extra = np.setdiff1d(ids, wanted)
        raise UserError(f"{source} has {len(extra):,} images that {of} lacks, as {extra[0]}")
    return values[order[place]]


def _in_order(names: set[str]) -> list[str]:
    numbers = all(re.fullmatch(r"-?\d+", name) for name in names)
    return sorted(names, key=int if numbers else str)


def _written(output: Path, row: str, seed: int, path: Path, answers: Answers, truth: _Truth, names: list[str]) -> Path:
    """Write a file's answers as a run, and return its folder."""
    place = {name: i for i, name in enumerate(names)}
    for which, values in (("answers", answers.labels), ("is of", truth.labels)):
        if unknown := {*values.tolist()} - {*names}:
            listed = ", ".join(names[:8])
            raise UserError(f"{path} {which} {min(unknown)!r}, which is none of the classes {listed}")
    probabilities = np.zeros((len(answers.ids), len(names)), np.float32)
    if answers.probabilities is None:
        probabilities[np.arange(len(answers.ids)), [place[name] for name in answers.labels]] = 1
    else:
        if unknown := {*answers.classes} - {*names}:
            raise UserError(f"{path} has probabilities of {min(unknown)!r}, which is none of the classes")
        probabilities[:, [place[name] for name in answers.classes]] = answers.probabilities
    probabilities = _at(truth.ids, answers.ids, probabilities, str(path), truth.source)
    labels = np.array([place[name] for name in truth.labels], np.int64)
    figures = figures_of(probabilities, labels)
    fingerprint = digest(row, seed, truth.ids.tolist(), labels.tolist(), probabilities.tolist())
    folder = output / "runs" / (re.sub(r"[^\w.-]+", "_", row) or "row") / fingerprint
    result = Result(
        kind="network",
        name=row,
        fingerprint=fingerprint,
        config={"data": {}, "model": {"kind": OTHER}},
        seed=seed,
        data={"hash": digest(truth.ids.tolist(), truth.labels.tolist()), "class_names": names, "what": "images"},
        code={"version": "unknown", "commit": None, "modified": None},
        hardware={"name": OTHER, "precision": path.suffix.lstrip(".")},
        best=figures,
        last=figures,
        finished=now(),
        labels_only=answers.probabilities is None or None,
        folder=str(folder),
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_result(
        result,
        {"ids": truth.ids, "labels": labels, "probabilities": probabilities, "probabilities_last": probabilities},
    )
    return folder
