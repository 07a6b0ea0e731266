"""What the commands print about their results: tables for a terminal."""

from pathlib import Path
from typing import Any

from rich.table import Table

from deepfake_lit.console import out, warn
from deepfake_lit.data.problems import KINDS, SHOWN


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    return table


def _accuracy(figures: dict[str, Any]) -> str:
    low, high = figures["interval"]
    return f"{figures['accuracy']:.4f}   95 % over images: {low:.4f} to {high:.4f}"


def _counted(counts: dict[str, int]) -> str:
    return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{key} ({n:,})" for key, n in counts.items())


def result(result: dict[str, Any]) -> None:
    names = {"best": "best epoch", "best_tta": "best epoch, TTA", "last": "last epoch", "last_tta": "last epoch, TTA"}
    machine = result["hardware"]
    out.print(f"{result['name']} (seed {result['seed']}): validation accuracy")
    for key, name in names.items():
        out.print(f"  {name:16} {_accuracy(result[key])}")
    out.print(
        f"  {result['images_per_second']:.0f} training images/s on {machine['name']} "
        f"({machine['device']}, {machine['precision']}), {result['wall_seconds'] / 60:.1f} minutes"
    )
    out.print(f"  {result['folder']}", markup=False)


def evaluation(report: dict[str, Any], output: Path) -> None:
    plain = report["plain"]
    table = _table(f"{report['data']['split']}, {plain['images']:,} images", "class", "precision", "recall", "F1")
    for i, name in enumerate(report["class_names"]):
        table.add_row(name, *(f"{plain[key][i]:.4f}" for key in ("precision_of", "recall_of", "f1_of")))
    out.print(table)
    out.print(f"accuracy            {_accuracy(plain)}")
    out.print(f"accuracy with TTA   {_accuracy(report['tta'])}   views: {', '.join(report['views'])}")
    out.print(f"macro F1 {plain['f1']:.4f}, calibration error {plain['calibration_error']:.4f}")
    out.print(f"written to {output}: evaluation.json predictions.npz confusion.png", markup=False)


def predictions(predictions, output: Path) -> int:
    """Exit status: 1 when images could not be read."""
    out.print(f"{len(predictions.ids):,} images predicted: {output}/submission.csv, probabilities.csv", markup=False)
    if predictions.resized:
        warn(f"{predictions.resized:,} images have another size than the training images and were resized")
    if not predictions.unreadable:
        return 0
    shown = "; ".join(f"{i} ({reason})" for i, _, reason in predictions.unreadable[:SHOWN])
    warn(
        f"{len(predictions.unreadable):,} images could not be read and are NOT in the submission: {shown}"
        f"{' ...' if len(predictions.unreadable) > SHOWN else ''}; all of them are in {output}/unreadable.csv"
    )
    return 1


def audit(found, tolerate: list[str]) -> None:
    f = found.findings
    table = _table(f"{f['root']}  (content {f['data_hash']})", "split", "images", *f["class_names"], "sizes", "modes")
    for name, split in f["splits"].items():
        per_class = split["per_class"] or ["-"] * len(f["class_names"])
        counted = [_counted(split[what]) for what in ("sizes", "modes")]
        table.add_row(name, f"{split['images']:,}", *(f"{n:,}" if n != "-" else n for n in per_class), *counted)
    out.print(table)
    statistics = _table("training pixels in [0, 1]", "class", "mean R", "G", "B", "std R", "G", "B")
    rows = zip([*f["class_names"], "all"], [*f["train_pixels"]["per_class"], f["train_pixels"]["all"]], strict=True)
    for name, row in rows:
        statistics.add_row(name, *(f"{v:.4f}" for v in row["mean"] + row["std"]))
    out.print(statistics)
    out.print(f["alpha"]["verdict"], markup=False)
    if not f["problems"]:
        out.print("no problems found")
    for kind, entries in f["problems"].items():
        state = "tolerated" if kind in tolerate else "a run would stop"
        shown = "; ".join(entries[:SHOWN]) + (f" and {len(entries) - SHOWN:,} more" if len(entries) > SHOWN else "")
        warn(f"{kind} ({len(entries):,}, {state}): {KINDS[kind].meaning}\n      {shown}")
    out.print(f"written to {found.folder}: audit.json contact_sheet.png spectra.png", markup=False)
