"""Terminal output: the tables that commands print of their results."""

import shlex
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from deepfake_lit.core.console import duration, out, warn
from deepfake_lit.core.metrics import METRICS, PER_CLASS, SHOWN_CLASSES, worst
from deepfake_lit.data.problems import SHOWN
from deepfake_lit.results.result import Result, Results
from deepfake_lit.settings.choices import PROBLEMS


def new_table(title: str, *columns: str) -> Table:
    """Return an empty table whose cells are folded where they do not fit, and never cut."""
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    return table


def accuracy_of(figures: dict[str, Any]) -> str:
    """Return an accuracy with its interval, in words."""
    low, high = figures["interval"]
    return f"{figures['accuracy']:.4f}   95 % over images: {low:.4f} to {high:.4f}"


def counted(counts: dict[str, int]) -> str:
    """Return what was counted with its numbers, in words; one thing alone needs no number."""
    if len(counts) == 1:
        return next(iter(counts))
    more = f" and {len(counts) - SHOWN:,} more" if len(counts) > SHOWN else ""
    return ", ".join(f"{key} ({n:,})" for key, n in list(counts.items())[:SHOWN]) + more


def results(results: Results) -> None:
    """Print the results of one run: its baselines, then its network; and what can be done with it."""
    by_name: dict[str, list[Result]] = {}
    for each in results.baselines:
        by_name.setdefault(each.name, []).append(each)
    for several in by_name.values():
        if len(several) == 1:
            _baseline(several[0])
        else:
            _neighbours(several)
    if results.network:
        _network(results.network)
        checkpoint = shlex.quote(f"{results.network.folder}/best.ckpt")
        out.print("next:", markup=False)
        out.print(f"  deepfake-lit predict {checkpoint} images=FOLDER", markup=False)
        out.print(f"  deepfake-lit evaluate {checkpoint} data.root=OTHER_IMAGES", markup=False)


def _network(result: Result) -> None:
    names = {"best": "best epoch", "best_tta": "best epoch, TTA", "last": "last epoch", "last_tta": "last epoch, TTA"}
    machine = result.hardware
    out.print(f"{result.name} (seed {result.seed}): validation accuracy")
    for key, name in names.items():
        out.print(f"  {name:16} {accuracy_of(getattr(result, key))}")
    if result.members:
        _members(result)
    out.print(
        f"  {result.images_per_second:.0f} training images/s on {machine['name']} "
        f"({machine['device']}, {machine['precision']}{', compiled' if machine.get('compiled') else ''}), "
        f"{result.wall_seconds / 60:.1f} minutes"
    )
    out.print(f"  {result.folder}", markup=False)


FITTED_ON = {
    None: "nothing is fitted",
    "train": "fitted on the training images, which the members know by heart",
    "out_of_fold": "fitted on the training images, each answered by networks that had not seen it",
    "validation": "fitted on the validation images themselves: the figures say nothing about new ones",
}


def _members(result: Result) -> None:
    model = result.config["model"]
    title = f"{model['combine']}, {FITTED_ON[model['fit_on']]}; against each member, last epoch without TTA"
    table = new_table(title, "member", "accuracy", "gain", "95 % over images", "images", "McNemar's p")
    for member in result.members:
        gain = member["gain"]
        interval = "{:+.4f} to {:+.4f}".format(*gain["interval"])
        figures = (f"{member['accuracy']:.4f}", f"{gain['difference']:+.4f}", interval)
        name = "/".join(member[key] for key in ("name", "fingerprint") if key in member)
        table.add_row(name, *figures, f"+{gain['gained']} -{gain['lost']}", f"{gain['p']:.3g}")
    out.print(table)


def _baseline(result: Result) -> None:
    figures, class_names = result.best, result.data["class_names"]
    out.print(class_table(f"{result.name}: validation, {figures['images']:,} images", figures, class_names))
    shown = len(class_names) <= SHOWN_CLASSES
    matrix = "; confusion matrix, rows true:" if shown else ""
    out.print(f"accuracy {accuracy_of(figures)}, {_right(figures)} right{matrix}")
    for row in figures["confusion"] if shown else ():
        out.print("  " + " ".join(f"{n:5d}" for n in row))
    _where(result)


def _neighbours(results: list[Result]) -> None:
    """Print one baseline with several numbers of neighbours, all from one search."""
    title = f"{results[0].name}: validation, {results[0].best['images']:,} images"
    shown = len(results[0].best["confusion"]) <= SHOWN_CLASSES
    table = new_table(title, "k", "right", "accuracy", *(["confusion matrix, row by true class"] if shown else []))
    for each in results:
        figures = each.best
        rows = " ".join(f"[{' '.join(map(str, row))}]" for row in figures["confusion"]) if shown else ""
        cells = [str(each.neighbours), str(_right(figures)), f"{figures['accuracy']:.4f}", escape(rows)]
        table.add_row(*cells[: len(table.columns)])
    out.print(table)
    _where(results[-1])


def _where(result: Result) -> None:
    seconds, machine = result.seconds, result.hardware
    parts = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    out.print(f"{parts}; {result.features:,} features an image, {machine['name']} ({machine['device']})")
    out.print(f"{result.folder}\n", markup=False)


def _right(figures: dict[str, Any]) -> int:
    return sum(row[i] for i, row in enumerate(figures["confusion"]))


def class_table(title: str, figures: dict[str, Any], class_names: list[str]) -> Table:
    """Return a table of the metrics of each class, and of their means over classes that have images."""
    shown = worst(figures["confusion"], SHOWN_CLASSES)
    if len(shown) < len(class_names):
        title += f"; the {len(shown)} classes with the least recall, of {len(class_names):,}"
    table = new_table(title, "class", "images", *(metric.label for metric in PER_CLASS.values()))
    images = [sum(row) for row in figures["confusion"]]
    there = [i for i, count in enumerate(images) if count]
    for i in shown:
        values = (f"{figures[key][i]:.6f}" if images[i] else "-" for key in PER_CLASS)
        table.add_row(class_names[i], f"{images[i]:,}", *values)
    means = (f"{sum(figures[key][i] for i in there) / len(there):.6f}" for key in PER_CLASS)
    table.add_row("macro", f"{sum(images):,}", *means)
    return table


HEAD = 6  # lines of a table without its rows, and one below


def status(
    runs: list[Any], sweeps: dict[str, dict[str, int]], differing: dict[str, list[str]], most: int | None = None
) -> Group:
    """Return the picture of runs and sweeps that `status` prints or redraws.

    Args:
        most: the most lines of it; runs beyond them are counted. None: all.
    """
    if not runs and not sweeps:
        return Group(Text("no runs yet"))
    runs = sorted(runs, key=lambda run: run.state != "running")
    table = new_table("", "run", "differs in", "state", "epochs", "accuracy", "time left")
    shown = runs if most is None else runs[: max(1, most - len(sweeps) - HEAD)]
    for run in shown:
        settings = ", ".join(f"{key}={run.settings.get(key)}" for key in differing[run.name])
        left = duration(run.seconds_left) if run.state == "running" and run.seconds_left is not None else ""
        table.add_row(
            f"{run.name}/{run.fingerprint}",
            escape(settings),
            run.state,
            f"{run.epochs}/{run.max_epochs}" if run.max_epochs else "",
            "" if run.accuracy is None else f"{run.accuracy:.4f}",
            left,
        )
    lines: list[Any] = [table]
    if len(shown) < len(runs):
        lines.append(Text(f"and {len(runs) - len(shown)} more"))
    for run in runs if most is None else ():
        if run.reason:
            lines.append(Text(f"{run.name}/{run.fingerprint}: {run.reason}"))
    for name, counts in sweeps.items():
        lines.append(Text(f"{name}: " + ", ".join(f"{n} {state}" for state, n in counts.items())))
    return Group(*lines)


def sweep(rows: list[dict[str, Any]], folder: Path) -> None:
    """Print one row per trial, and below them why the failed ones failed."""
    names = list(rows[0]["settings"])
    table = new_table("", "trial", *names, "state", "best epoch", "95 % over images", "last epoch")
    for row in rows:
        figures = ["", "", ""]
        if row["state"] == "done":
            figures = [f"{row['best']:.4f}", f"{row['low']:.4f} to {row['high']:.4f}", f"{row['last']:.4f}"]
        table.add_row(str(row["trial"]), *map(escape, row["settings"].values()), row["state"], *figures)
    out.print(table)
    _sweep_by_class(rows, names)
    for row in rows:
        if row["state"] == "failed":
            warn(f"trial {row['trial']} failed: {row['reason']}; retry_failed=true tries it again")
    out.print(f"written to {folder}/table.csv", markup=False)


def _sweep_by_class(rows: list[dict[str, Any]], names: list[str]) -> None:
    classes = [key.removeprefix("recall_") for key in max(rows, key=len) if key.startswith("recall_")]
    if not classes:
        return
    shown = {metric.column: metric.label for metric in METRICS.values() if metric.column}
    title = "best epoch, recall / precision by class"
    if len(classes) > SHOWN_CLASSES:
        title += f"; the {SHOWN_CLASSES} classes with the least recall in the first done trial, of {len(classes):,}"
        first = next(row for row in rows if row["state"] == "done")
        least = sorted(classes, key=lambda name: first[f"recall_{name}"])[:SHOWN_CLASSES]
        classes = [name for name in classes if name in least]
    by_class = new_table(title, "trial", *names, *classes)
    over_all = new_table("best epoch", "trial", *names, *shown.values())
    for row in rows:
        if row["state"] == "done":
            trial = (str(row["trial"]), *map(escape, row["settings"].values()))
            by_class.add_row(*trial, *(f"{row[f'recall_{n}']:.3f} / {row[f'precision_{n}']:.3f}" for n in classes))
            over_all.add_row(*trial, *("" if row[column] is None else f"{row[column]:.4f}" for column in shown))
    out.print(by_class)
    out.print(over_all)


def bench(rows: list[Any], output: Path) -> None:
    """Print one row per comparison, with its note below."""
    machines = ", ".join(dict.fromkeys(row.machine for row in rows))
    table = new_table(f"on {machines}", "bench", "ours, s", "plain, s", "ratio", "GiB", "same answers")
    for row in rows:
        figures = (f"{row.seconds:.4g}", f"{row.reference_seconds:.4g}", f"{row.ratio:.1f}x")
        memory = " / ".join(f"{gib:.2f}" for gib in (row.gib, row.reference_gib) if gib is not None)
        table.add_row(f"{row.bench}: {row.case}", *figures, memory, "yes" if row.same else "NO")
        if row.note:
            table.add_row(f"  {row.note}")
    out.print(table)
    out.print(f"medians; written to {output}: bench.json bench.md", markup=False)


def audit(found, tolerate: list[str]) -> None:
    """Print what is in a data set, and its problems, with those that `tolerate` lets pass marked."""
    f = found.findings
    names = f["class_names"]
    many = len(names) > SHOWN_CLASSES
    columns = ["images a class"] if many else names
    table = new_table(f"{f['root']}  (content {f['data_hash']})", "split", "images", *columns, "sizes", "modes")
    for name, split in f["splits"].items():
        per_class = ["-"] * len(columns)
        if (counts := split["per_class"]) is not None:
            per_class = (
                [f"{len(names):,} classes, {min(counts):,} to {max(counts):,}"] if many else map("{:,}".format, counts)
            )
        amounts = [counted(split[what]) for what in ("sizes", "modes")]
        table.add_row(name, f"{split['images']:,}", *per_class, *amounts)
    out.print(table)
    title = "training pixels in [0, 1]" + (f", the first {SHOWN_CLASSES} of {len(names):,} classes" if many else "")
    statistics = new_table(title, "class", "mean R", "G", "B", "std R", "G", "B")
    own = list(zip(names, f["train_pixels"]["per_class"], strict=True))[:SHOWN_CLASSES]
    for name, row in [*own, ("all", f["train_pixels"]["all"])]:
        statistics.add_row(name, *(f"{v:.4f}" for v in row["mean"] + row["std"]))
    out.print(statistics)
    out.print(f["alpha"]["verdict"], markup=False)
    rules = new_table("what the files tell of the class, without the image", "", "most often", "right", "chance")
    for name, rule in f["shortcuts"].items():
        values = sum((Counter(counts) for counts in rule["values"].values()), Counter())
        rules.add_row(name, counted(dict(values.most_common())), f"{rule['accuracy']:.1%}", f"{rule['chance']:.1%}")
    out.print(rules)
    for warning in f["shortcut_warnings"]:
        warn(f"{warning}. A network learns this instead of the image")
    if copies := f["turned_copies"]:
        shown = "; ".join(" = ".join(pair) for pair in copies[:SHOWN])
        warn(f"{len(copies):,} images are turned or mirrored copies of images in another split: {shown}")
    if f["other_files"]:
        out.print(f"files that are no images: {counted(f['other_files'])}", markup=False)
    if not f["problems"]:
        out.print("no problems found")
    for kind, entries in f["problems"].items():
        state = "tolerated" if kind in tolerate else "a run would stop"
        shown = "; ".join(entries[:SHOWN]) + (f" and {len(entries) - SHOWN:,} more" if len(entries) > SHOWN else "")
        warn(f"{kind} ({len(entries):,}, {state}): {PROBLEMS[kind].meaning}\n      {shown}")
    out.print(f"written to {found.folder}: audit.json contact_sheet.png spectra.png", markup=False)
