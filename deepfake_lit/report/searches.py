"""A search on the page: its trials, the winner where it was chosen and where it was not, and what lies between."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_lit.core.console import warn
from deepfake_lit.core.metrics import METRICS
from deepfake_lit.report.beside import best_of
from deepfake_lit.report.measure import Measured
from deepfake_lit.report.rows import Row, Section, Table, command_line, run_at

TRIALS, WINNER = "trials", "winner"


@dataclass
class SearchRow:
    """A trial as the page lists it."""

    number: int
    label: str
    state: str
    epochs: int
    value: float | None
    reason: str | None


def section_of_search(folder: Path) -> Section | None:
    """Return a search's finished trials and its winner as tables; None if there is nothing yet, or it is damaged."""
    try:
        record = json.loads((folder / "search.json").read_text(encoding="utf-8"))
        finished = [t for t in record["trials"] if t["state"] == "done"]
        best = record["winner"]
        rows = [Row(f"trial {t['number']}", _label(t), [run_at(beside(folder, t["folder"]), None)]) for t in finished]
        tables = []
        if rows:
            reference = f"trial {best['number']}" if best else rows[0].key
            tables.append(Table(TRIALS, f"The finished trials, {images_of(record)}", rows, reference))
        if best:
            runs = [run_at(beside(folder, f), seed) for f, seed in zip(best["folders"], best["seeds"], strict=True)]
            label = _label(record["trials"][best["number"]])
            row = Row(WINNER, label, runs)
            tables.append(Table(WINNER, "The winner, trained again, on the validation images", [row], ""))
        command = command_line([*record["fixed"], *record["searched"], *_own(record["settings"])], "search")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        warn(f"{folder} is left out: {type(error).__name__}: {error}")
        return None
    return Section(folder.name, f"Search {folder.name}", tables, command=command, search=record)


def _own(settings: dict[str, Any]) -> list[str]:
    shown = {"trials", "pruner", "sampler"}
    return [f"{name}={value}" for name, value in settings.items() if name in shown]


def _label(trial: dict[str, Any]) -> str:
    return ", ".join(f"{n}={v:.3g}" if isinstance(v, float) else f"{n}={v}" for n, v in trial["params"].items())


def runs_of_search(folder: Path, record: dict[str, Any]) -> list[str]:
    """Return the folders of the runs of all trials and of the winner."""
    winners = (record["winner"] or {}).get("folders", ())
    return [beside(folder, run) for run in [*(t["folder"] for t in record["trials"]), *winners] if run]


def beside(folder: Path, run: str) -> str:
    """Return a run's folder, beside the search's if the output folder was moved or copied."""
    here = folder / ".." / ".." / "runs" / Path(run).parent.name / Path(run).name
    return os.path.normpath(here) if here.exists() else run


def images_of(record: dict[str, Any]) -> str:
    """Return on which images the trials were measured, in words."""
    given = [*record["held_out"], *record["fixed"]]
    folds = next((o.partition("=")[2] for o in given if o.startswith("data.folds=")), None)
    return f"on a held-out fold, one of {folds}, of the training images" if folds else "on the validation images"


def rows_of(record: dict[str, Any]) -> list[SearchRow]:
    """Return the trials: those that came furthest first, of these the best."""
    sign = 1 if record["direction"] == "minimize" else -1
    kept = ("state", "epochs", "value", "reason")
    found = [SearchRow(t["number"], _label(t), *(t[name] for name in kept)) for t in record["trials"]]
    return sorted(found, key=lambda row: (-row.epochs, sign * (row.value or 0), row.number))


def spent(record: dict[str, Any]) -> tuple[int, int]:
    """Return how many epochs the trials were trained for, and how many all of them in full would have taken."""
    return sum(t["epochs"] for t in record["trials"]), len(record["trials"]) * record["rungs"][-1]


def said(record: dict[str, Any], measured: dict[str, list[Measured]]) -> list[str]:
    """Return what the search has found in sentences: its cost, the winner on both kinds of images, the optimism.

    Args:
        measured: by the key of the table.
    """
    epochs, whole = spent(record)
    states = [t["state"] for t in record["trials"]]
    named = {"done": "finished", "paused": "paused", "going": "not over", "failed": "failed"}
    counted = ", ".join(f"{states.count(s)} {word}" for s, word in named.items() if s in states)
    sentences = [
        f"{len(states)} trials ({counted}) took {epochs:,} epochs, {epochs / max(whole, 1):.0%} of the {whole:,} that "
        "all of them take in full."
    ]
    best = next((m for m in measured.get(TRIALS, ()) if record["winner"] and m.row.key == _winner(record)), None)
    again = next(iter(measured.get(WINNER, ())), None)
    if best is None or best.accuracy is None:
        return [*sentences, "No trial is the winner yet."]
    corrected = best_of(measured[TRIALS])
    without = f" ({_percent(corrected.corrected)} without what the choice among them adds)" if corrected else ""
    sentences.append(
        f"The winner of {len(measured[TRIALS])} finished ones, {best.row.label}, has {_percent(best.accuracy.value)} "
        f"where it was chosen{without}, {images_of(record)}."
    )
    if again is None or again.accuracy is None:
        return [*sentences, "It is not trained again yet."]
    low, high = again.accuracy.interval()
    seeds = f"{again.seeds} seed{'s' if again.seeds != 1 else ''}"
    text = f"Trained again on all training images with {seeds} it has {_percent(again.accuracy.value)} "
    text += f"({100 * low:.1f} to {100 * high:.1f}) on the validation images"
    gap = 100 * (best.accuracy.value - again.accuracy.value)
    if "on the validation" in images_of(record):
        return [*sentences, f"{text}, on which it was also chosen, so that this is too high."]
    return [*sentences, f"{text}. The optimism of the search is {gap:+.1f} points; the other images are part of it."]


def _winner(record: dict[str, Any]) -> str:
    return f"trial {record['winner']['number']}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def monitored(record: dict[str, Any]) -> str:
    """Return what the trials are chosen by, in words."""
    name = record["monitor"].removeprefix("val/")
    return METRICS[name].label if name in METRICS else name
