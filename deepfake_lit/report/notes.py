"""Notes on a report: where its own numbers contradict each other, and where the images contradict it. Every note is
computed, and there is none where nothing is wrong."""

import re
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from deepfake_lit.report.answers import right
from deepfake_lit.report.measure import Measured, each_row
from deepfake_lit.report.verdict import interval_of_values
from deepfake_lit.results.statistics import wilson_interval

ROUNDING = 0.00051  # largest error of a share that is printed in tenths of a percent


def notes(
    reported: dict[str, Any],
    measured: dict[str, list[Measured]],
    alpha: dict[str, Any] | None,
    own_predictions: bool = False,
) -> list[str]:
    """Return all notes on a report, as sentences.

    Args:
        reported: the values that the report states.
        measured: by the key of the table.
        alpha: what `audit.alpha_finding` says of the images; None if it is not known.
        own_predictions: what was measured are the predictions that the report is about.
    """
    found = [*_sums(reported), *_counts(reported), *_averages(reported)]
    found += _predictions(measured) if own_predictions else []
    found += _intervals(reported, _agreement(measured))
    found += _architecture(reported)
    found += [*_one_cycle(reported), *_preprocessings(measured.get("knn_k", []))]
    if alpha and "channels" in measured:
        found.append(_alpha(alpha, measured["channels"]))
    return [*found, *_selection(measured, reported["selection"])] if "selection" in reported else found


def _accuracies(reported: dict[str, Any]) -> dict[str, tuple[float, str]]:
    """Return for each row the accuracy in the report's tables, and the title of the first table that has it."""
    found = {}
    for table in reported["tables"]:
        for row in table["rows"]:
            if "accuracy" in row:
                found.setdefault(row["row"], (row["accuracy"], table["title"]))
    return found


def _name(reported: dict[str, Any], row: str) -> str:
    """Return a row's label in the table of models, else in any table."""
    tables = sorted(reported["tables"], key=lambda table: table["key"] != "models")
    return next(r["label"] for table in tables for r in table["rows"] if r["row"] == row)


def _sums(reported: dict[str, Any]) -> list[str]:
    found = []
    for row, (accuracy, title) in _accuracies(reported).items():
        for what in ("confusion", "recalls"):
            if row not in reported.get(what, {}):
                continue
            values = reported[what][row]
            right = sum(values[i][i] for i in range(len(values))) if what == "confusion" else sum(values)
            images = reported["images"]
            if abs(right / images - accuracy) > ROUNDING:
                name = "the diagonal of its confusion matrix is" if what == "confusion" else "its recalls by class are"
                found.append(
                    f"{_name(reported, row)}: {name} {right:,} of {images:,} = {right / images:.2%}, not the "
                    f'{accuracy:.1%} of its table "{title}".'
                )
    return found


def _half(value: float) -> float:
    """Return the largest error of a share that is printed with as many digits as this one, in percent or not."""
    digits = len(f"{value:.12f}".rstrip("0").partition(".")[2])
    return 0.5000001 * 10.0**-digits


def _counts(reported: dict[str, Any]) -> list[str]:
    """Note accuracies that no whole number of images gives; those of means over seeds need not be."""
    images, found = reported["images"], []
    for table in reported["tables"]:
        for row in table["rows"]:
            if "accuracy" not in row or row.get("seeds", 1) > 1:
                continue
            nearest = round(row["accuracy"] * images) / images
            if abs(nearest - row["accuracy"]) > _half(row["accuracy"]):
                text = f"{row['label']}: no number of {images:,} images is {100 * row['accuracy']:.12g}%"
                found.append(f"{text}; the nearest is {nearest:.4%}.")
    return list(dict.fromkeys(found))


def _predictions(measured: dict[str, list[Measured]]) -> list[str]:
    """Note rows whose stated accuracy is neither that of their predictions nor that of any one file of them."""
    found = []
    for rows in measured.values():
        for m in rows:
            if m.accuracy is None or "accuracy" not in m.row.reported:
                continue
            stated = m.row.reported["accuracy"]
            each = [run.result.last["accuracy"] for run in m.row.done]
            if min(abs(stated - value) for value in [*each, m.accuracy.value]) > _half(stated):
                which = f"the mean of its {len(each)} files" if len(each) > 1 else "its file"
                text = f"{m.row.label}: {which} of predictions has {m.accuracy.value:.2%}"
                found.append(f"{text}, not the {stated:.2%} that is stated.")
    return list(dict.fromkeys(found))


def _averages(reported: dict[str, Any]) -> list[str]:
    found = []
    for row, classes in reported.get("per_class", {}).items():
        for i, name in enumerate(("precision", "recall", "F1")):
            mean = sum(each[i] for each in classes) / len(classes)
            if abs(mean - reported["macro"][row][i]) > 2e-6:
                stated = reported["macro"][row][i]
                found.append(f"{_name(reported, row)}: the mean of its {name}s is {mean:.6f}, not {stated:.6f}.")
    return found


def _agreement(measured: dict[str, list[Measured]]) -> float:
    """Return the median correlation of what two networks of the report have right, measured here; 0 without any."""
    found = []
    for rows in measured.values():
        done = [m for m in rows if m.done_by_network and not m.row.view]
        answers = [right(m.row.done[0], "last") for m in done]
        found += [np.corrcoef(a, b)[0, 1] for a, b in pairwise(answers) if _told(a, b)]
    return float(np.median(found)) if found else 0.0


def _told(a: np.ndarray, b: np.ndarray) -> bool:
    return len(a) == len(b) and 0 < a.mean() < 1 and 0 < b.mean() < 1


def _intervals(reported: dict[str, Any], phi: float) -> list[str]:
    """Note how many of the claimed differences could come from the choice of the images alone."""
    images, inside, total = reported["images"], [], 0
    for table in reported["tables"]:
        reference = next((r for r in table["rows"] if r["row"] == table["reference"]), {})
        for row in table["rows"]:
            if row is reference or "accuracy" not in row or "accuracy" not in reference:
                continue
            total += 1
            low, high = interval_of_values(row["accuracy"], reference["accuracy"], images, phi)
            if low < 0 < high:
                values = f"{row['accuracy']:.1%} / {reference['accuracy']:.1%}"
                inside.append(f"{row['label']} / {reference['label']} ({values})")
    if not total:
        return []
    top = max(a for a, _ in _accuracies(reported).values())
    low, high = wilson_interval(top, images)
    text = (
        f"The report's best accuracy, {top:.1%} of {images:,} images, has a 95 % interval of {low:.1%} to {high:.1%} "
        "from the choice of the images alone, before any noise of seeds. "
    )
    alike = f"two networks that agree as much as those trained here (correlation {phi:.2f})" if phi else "two samples"
    if not inside:
        text += f"All {total} of its differences are larger than the images alone let {alike} differ by."
    else:
        few = "; ".join(inside)
        text += (
            f"{len(inside)} of its {total} differences are within what the images alone let {alike} differ by: {few}."
        )
    return [text + " A sharper test would need to know which images each of its networks had right."]


def _architecture(reported: dict[str, Any]) -> list[str]:
    found = []
    for row, layers in reported.get("architecture", {}).items():
        conv = nn.Conv2d(1, 1, layers["kernel"], layers["stride"], layers["padding"])
        for before, printed in zip(layers["sides"], layers["sides"][1:], strict=False):
            side = conv(torch.zeros(1, 1, before, before)).shape[-1]
            if side != printed:
                kernel, stride, padding = layers["kernel"], layers["stride"], layers["padding"]
                found.append(
                    f"{_name(reported, row)}: a {kernel}x{kernel} convolution of stride {stride} and padding {padding} "
                    f"takes {before}x{before} to {side}x{side}, not to the {printed}x{printed} that it prints."
                )
    return found


def _one_cycle(reported: dict[str, Any]) -> list[str]:
    found = []
    for row, claim in reported.get("one_cycle", {}).items():
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=claim["max_lr"])
        start = torch.optim.lr_scheduler.OneCycleLR(optimizer, claim["max_lr"], total_steps=100).get_last_lr()[0]
        if abs(start - claim["claimed_initial_lr"]) > 1e-9:
            found.append(
                f"{_name(reported, row)}: torch's OneCycleLR with a peak of {claim['max_lr']:g} starts at {start:g}, "
                f"not at {claim['claimed_initial_lr']:g}."
            )
    return found


def _preprocessings(measured: list[Measured]) -> list[str]:
    """Note which of two preprocessings a table of k comes from."""
    claims = {m.row.k: m.row.reported["accuracy"] for m in measured if "accuracy" in m.row.reported}
    matching: dict[str, list[int]] = {}
    for m in measured:
        name, k = m.row.baseline, m.row.k
        if m.accuracy is not None and k in claims:
            matching.setdefault(name, [])
            if abs(m.accuracy.value - claims[k]) <= ROUNDING:
                matching[name].append(k)
    if len(matching) < 2:
        return []
    parts = [
        f"{name} gives {len(ks)} of its {len(claims)} values" + (f" (k = {', '.join(map(str, ks))})" if ks else "")
        for name, ks in matching.items()
    ]
    return [f"The table of k against both preprocessings: {'; '.join(parts)}."]


def _alpha(alpha: dict[str, Any], channels: list[Measured]) -> str:
    text = re.sub(r"^a", "A", alpha["verdict"])
    if alpha["opaque"] < alpha["images"]:
        return f"{text}."
    difference = next((m.difference for m in channels if m.difference), None)
    text += ": the fourth plane is the same everywhere, so a gain from RGBA cannot come from transparency"
    if difference is None:
        return f"{text}."
    low, high = difference.interval
    claimed = "" if difference.claimed is None else f" Claimed: {100 * difference.claimed:+.1f}."
    return (
        f"{text}. Measured: {100 * difference.value:+.1f} points, 95 % {100 * low:+.1f} to {100 * high:+.1f}, "
        f"{difference.seeds} seeds.{claimed}"
    )


def _selection(measured: dict[str, list[Measured]], stated: str) -> list[str]:
    """Note what a selection that the report states is worth here."""
    gaps = [(m.best - m.accuracy.value, m.row.label) for m in each_row(measured) if m.accuracy and m.done_by_network]
    if not gaps:
        return []
    mean, (most, row) = sum(gap for gap, _ in gaps) / len(gaps), max(gaps)
    text = f"{stated} Here that is worth "
    if len(gaps) == 1:
        return [f"{text}{_points(mean)} points ({row})."]
    return [f"{text}{_points(mean)} points in the mean of {len(gaps)} rows, {_points(most)} at most ({row})."]


def _points(share: float) -> str:
    return f"{round(100 * share, 2) + 0.0:+.2f}"
