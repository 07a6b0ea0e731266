"""The page's section on images of unknown classes: what `deepfake-lit open_set` has left in an output folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_lit.core.console import warn
from deepfake_lit.core.files import read_json
from deepfake_lit.core.metrics import SHOWN_CLASSES


@dataclass
class OpenSet:
    """One `open_set.json` as the page shows it."""

    title: str
    summary: str
    hold_outs: list[dict[str, Any]]
    scores: list[tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any], dict[str, Any] | None]]
    class_names: list[str]  # those that have a column
    taken: list[dict[str, Any]]


def open_sets_of(output: Path) -> list[OpenSet]:
    """Return what lies in the folders directly below an output folder; a damaged file is left out with a warning."""
    found = []
    for path in sorted(output.glob("*/open_set.json")):
        try:
            found.append(_shown(read_json(path)))
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            warn(f"{path} is left out: {type(error).__name__}: {error}")
    return found


def _shown(report: dict[str, Any]) -> OpenSet:
    data, best, several = report["data"], report["best"], report["hold_outs"]
    own = [(each["scores"][best]["auroc"]["value"], ", ".join(each["left_out"])) for each in several]
    mean = report["mean"][best]["auroc"]
    low, high = mean["interval"]
    summary = (
        f"The best single score is {report['scores'][best]['label']}: an AUROC of {mean['value']:.3f} ({low:.3f} to "
        f"{high:.3f}) in the mean over {len(several)} classes that are left out. The weakest of these is class "
        f"{min(own)[1]}, with {min(own)[0]:.3f}. The score was picked on these images."
    )
    scores = [
        (score, [each["scores"][name] for each in several], report["mean"][name], report["compared"].get(name))
        for name, score in report["scores"].items()
    ]
    names = report["class_names"] if len(report["class_names"]) <= SHOWN_CLASSES else []
    title = f"None of these: {data['images']:,} {data['split']} images"
    return OpenSet(title, summary, several, scores, names, report["taken"])
