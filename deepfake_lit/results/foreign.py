"""Predictions that another program wrote: CSV, TSV, JSON lines or npz, with labels or probabilities."""

import csv
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_lit.core.errors import UserError

LABELS = ("label", "labels", "class")  # beside probabilities: the truth
NAMES = {
    "id": ("id", "ids", "image_id", "image", "images", "filename", "file_name", "file", "path", "name", "index"),
    "answer": (
        "prediction",
        "predictions",
        "predicted",
        "pred",
        "preds",
        "answer",
        "y_pred",
        "label",
        "labels",
        "class",
    ),
    "truth": ("truth", "true", "target", "targets", "y_true", "ground_truth", "true_label", "gt"),
}
PROBABILITIES = ("probabilities", "probability", "probs", "prob", "scores", "softmax")


@dataclass
class Answers:
    """What a file says of every image, in the order of the ids.

    Attributes:
        ids: str (N,), sorted.
        classes: that the file names; None: it has labels alone, and its classes are those that occur.
        labels: (N,) of what the file calls a class.
        probabilities: float64 (N, K) in the order of `classes`; None: labels alone.
        truth: (N,) as `labels`; None: the file has none.
    """

    ids: np.ndarray
    labels: np.ndarray
    classes: list[str] | None = None
    probabilities: np.ndarray | None = None
    truth: np.ndarray | None = None


def read_answers(path: Path, columns: dict[str, str], classes: list[str] | None) -> Answers:
    """Read a file of predictions.

    Args:
        columns: names of the columns `id`, `answer` and `truth`, where they are unusual.
        classes: in the order of probabilities that stand in one list; None: they are numbered.

    Raises:
        UserError: the file cannot be read, or it is not clear what it says.
    """
    table = _read(path)
    ids = _texts(_column(table, "id", columns, path))
    if not len(ids):
        raise UserError(f"{path} has no predictions")
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    if len(twice := ids[1:][ids[1:] == ids[:-1]]):
        raise UserError(f"{path} has the image {twice[0]} twice")
    truth = _find(table, "truth", columns)
    names, probabilities = _probabilities(table, columns, classes, path)
    if probabilities is None:
        labels = _texts(_column(table, "answer", columns, path))
    else:
        probabilities = probabilities[order]
        truth = truth or next((name for name in table if str(name).lower() in LABELS), None)
        labels = np.array(names)[probabilities.argmax(1)]
    found = Answers(ids, labels if probabilities is not None else labels[order], names, probabilities)
    found.truth = None if truth is None else _texts(table[truth])[order]
    return found


def read_truth(path: Path, columns: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids, sorted, and the true class of each image, from a file that may call it a label.

    Raises:
        UserError: as `read_answers`.
    """
    table = _read(path)
    name = _find(table, "truth", columns) or _find(table, "answer", columns)
    if name is None:
        raise UserError(f"{path} has no column of the truth, such as truth or label; columns: names it")
    ids = _texts(_column(table, "id", columns, path))
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    if len(twice := ids[1:][ids[1:] == ids[:-1]]):
        raise UserError(f"{path} has the image {twice[0]} twice")
    return ids, _texts(table[name])[order]


def _read(path: Path) -> dict[str, Any]:
    """Return the columns of a file, each of the same length."""
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines, ".npz": _npz}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path} is no predictions: a file ends in {', '.join(readers)}, and a run is its folder")
    try:
        table = readers[path.suffix.lower()](path)
    except (OSError, ValueError, EOFError, csv.Error, zipfile.BadZipFile, zlib.error, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as predictions: {reason}") from None
    if len({len(column) for column in table.values()}) > 1:
        sizes = ", ".join(f"{name} {len(column)}" for name, column in table.items())
        raise UserError(f"{path}: its parts are not of the same length: {sizes}")
    return table


def _csv(path: Path) -> dict[str, list[str]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    rows = [row for row in rows if row]
    if not rows:
        raise ValueError("it is empty")
    names = [name.strip() for name in rows[0]]
    if short := next((i for i, row in enumerate(rows) if len(row) != len(names)), None):
        raise ValueError(f"line {short + 1} has {len(rows[short])} cells, and the first line has {len(names)}")
    return {name: [row[i].strip() for row in rows[1:]] for i, name in enumerate(names)}


def _json_lines(path: Path) -> dict[str, list]:
    table: dict[str, list] = {}
    with open(path, encoding="utf-8-sig") as file:
        lines = [(number, line) for number, line in enumerate(file, 1) if line.strip()]
    for number, line in lines:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number} is no JSON ({error})") from None
        if not isinstance(row, dict):
            raise ValueError(f'line {number} is no object such as {{"id": "a", "label": "x"}}')
        if table and row.keys() != table.keys():
            raise ValueError(f"line {number} has the entries {', '.join(row)}, and the first line {', '.join(table)}")
        for name, value in row.items():
            table.setdefault(name, []).append(value)
    if not table:
        raise ValueError("it is empty")
    return table


def _npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files if arrays[name].ndim}


def _find(table: dict[str, Any], what: str, columns: dict[str, str]) -> str | None:
    """Return the name of a column by what it is; None if there is none."""
    if what in columns:
        return columns[what] if columns[what] in table else None
    by_name = {str(name).lower(): name for name in table}
    return next((by_name[name] for name in NAMES[what] if name in by_name), None)


def _column(table: dict[str, Any], what: str, columns: dict[str, str], path: Path) -> Any:
    name = _find(table, what, columns)
    if name is None:
        there = ", ".join(map(str, table)) or "nothing"
        wanted = {"id": "of the images, such as id", "answer": "of answers, such as prediction"}[what]
        raise UserError(f"{path} has no column {columns.get(what) or wanted}; it has {there}; columns: names it")
    return table[name]


def _texts(column: Any) -> np.ndarray:
    """Return ids or classes as text, whole numbers without a point, so that 1, 1.0 and "1" are one."""
    values = column.tolist() if isinstance(column, np.ndarray) else column
    return np.array([_text(value) for value in values], dtype=str)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    text = str(value)
    return text[:-2] if text.endswith(".0") and text[:-2].lstrip("-").isdigit() else text


def _probabilities(
    table: dict[str, Any], columns: dict[str, str], classes: list[str] | None, path: Path
) -> tuple[list[str] | None, np.ndarray | None]:
    """Return the names of the classes and float (N, K); None for both if the file has labels alone."""
    by_name = {str(name).lower(): name for name in table}
    listed = next((by_name[name] for name in PROBABILITIES if name in by_name), None)
    used = {_find(table, what, columns) for what in ("id", "truth")}
    if listed is not None and np.ndim(table[listed][0]) == 1:
        values, names = table[listed], None
    elif listed is not None and _is_share(table[listed]):  # that of the second of two classes
        values, names = [(1 - float(p), float(p)) for p in table[listed]], None
    else:
        names = (
            [str(name) for name in classes] if classes else [n for n in table if n not in used and _is_share(table[n])]
        )
        names = [name.removeprefix("prob_").removeprefix("p_") for name in names]
        by_class = {str(n).removeprefix("prob_").removeprefix("p_"): n for n in table}
        if len(names) < 2 or any(name not in by_class for name in names):
            return None, None
        values = list(zip(*(table[by_class[name]] for name in names), strict=True))
    try:
        found = np.array(values, np.float64)
    except (ValueError, TypeError):
        raise UserError(f"{path}: its probabilities are not numbers, as many for each image") from None
    if found.ndim != 2 or not np.isfinite(found).all() or found.min() < 0 or found.max() > 1 + 1e-6:
        raise UserError(f"{path}: its probabilities are not numbers from 0 to 1 for each class")
    if not np.allclose(found.sum(1), 1, atol=0.02):
        worst = np.abs(found.sum(1) - 1).argmax()
        raise UserError(f"{path}: probabilities of an image sum to {found[worst].sum():.3g}, not to 1")
    names = names or ([str(name) for name in classes] if classes else [str(i) for i in range(found.shape[1])])
    if len(names) != found.shape[1]:
        raise UserError(f"{path} has {found.shape[1]} probabilities an image, and there are {len(names)} classes")
    return names, found


def _is_share(column: Any) -> bool:
    try:
        values = np.array(column, np.float64)
    except (ValueError, TypeError):
        return False
    return values.ndim == 1 and bool(((values >= 0) & (values <= 1 + 1e-6)).all()) and bool((values % 1).any())
