"""The page's section on distorted images: what `deepfake-lit robustness` has left in an output folder."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_lit.core.console import warn
from deepfake_lit.core.files import read_json
from deepfake_lit.core.plots import apart


@dataclass
class Robustness:
    """One `robustness.json` as the page shows it. Names are those of checkpoints."""

    title: str
    names: list[str]
    rows: list[tuple[str, list[dict[str, Any]]]]  # condition, and its figures for each checkpoint
    summaries: list[dict[str, Any]]
    compared: list[dict[str, Any] | None]  # with the first one
    plot: str | None  # data URI
    calibrated: list[int]  # which of them have guarantees, of which it says what is left


def robustness_of(output: Path) -> list[Robustness]:
    """Return what lies in the folders directly below an output folder; a damaged file is left out with a warning."""
    found = []
    for path in sorted(output.glob("*/robustness.json")):
        try:
            found.append(_shown(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            warn(f"{path} is left out: {type(error).__name__}: {error}")
    return found


def _shown(path: Path) -> Robustness:
    report = read_json(path)
    data, picture = report["data"], path.with_suffix(".png")
    by_condition = zip(*report["results"], strict=True)
    rows = [(c["name"], list(each)) for c, each in zip(report["conditions"], by_condition, strict=True)]
    compared = [None, *report["compared"]]
    for i, other in enumerate(compared):
        if other:
            other["different"] = sum(row["p_holm"] < 0.05 for row in other["conditions"])
            for row, (_, figures) in zip(other["conditions"], rows, strict=True):
                figures[i]["beside"] = row
    plot = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode() if picture.exists() else None
    title = f"Distorted images: {data['images']:,} {data['split']} images"
    calibrated = [i for i, figures in enumerate(rows[0][1]) if "coverage" in figures]
    return Robustness(title, apart(report["checkpoints"]), rows, report["summaries"], compared, plot, calibrated)
