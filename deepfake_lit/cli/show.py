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
from deepfake_lit.core.metrics import AGAINST_REST, METRICS, PER_CLASS, SHOWN_CLASSES, worst
from deepfake_lit.data.history import said
from deepfake_lit.data.problems import SHOWN, printable
from deepfake_lit.results.result import Result, Results
from deepfake_lit.settings.choices import PROBLEMS


def new_table(title: str, *columns: str) -> Table:
    """Return an empty table whose cells are folded where they do not fit, and never cut."""
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    return table


def _accuracy(figures: dict[str, Any]) -> str:
    low, high = figures["interval"]
    return f"{figures['accuracy']:.4f}   95 % over images: {low:.4f} to {high:.4f}"


def _counted(counts: dict[str, int]) -> str:
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
        out.print(f"  {name:16} {_accuracy(getattr(result, key))}")
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
    out.print(_per_class(f"{result.name}: validation, {figures['images']:,} images", figures, class_names))
    shown = len(class_names) <= SHOWN_CLASSES
    matrix = "; confusion matrix, rows true:" if shown else ""
    out.print(f"accuracy {_accuracy(figures)}, {_right(figures)} right{matrix}")
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


def _per_class(title: str, figures: dict[str, Any], class_names: list[str]) -> Table:
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


def _against_rest(title: str, figures: dict[str, Any], class_names: list[str]) -> Table:
    """Return a table of what the probability of each class alone tells, whatever the answer is."""
    table = new_table(title, "class", *(metric.label for metric in AGAINST_REST.values()))
    for i in worst(figures["confusion"], SHOWN_CLASSES):
        values = [figures[name][i] for name in AGAINST_REST]
        table.add_row(class_names[i], *("-" if value is None else f"{value:.4f}" for value in values))
    means = [figures[name.removesuffix("_of")] for name in AGAINST_REST]
    table.add_row("macro", *("-" if value is None else f"{value:.4f}" for value in means))
    return table


def _by_group(groups: dict[str, Any], class_names: list[str]) -> Table:
    title, named = "by group", class_names if len(class_names) <= SHOWN_CLASSES else []
    if len(groups) > SHOWN_CLASSES:
        title += f"; the {SHOWN_CLASSES} with the least accuracy, of {len(groups):,}"
        groups = dict(sorted(groups.items(), key=lambda group: group[1]["accuracy"])[:SHOWN_CLASSES])
    table = new_table(title, "group", "images", "accuracy", "95 % over images", *(f"recall {n}" for n in named))
    for name, figures in groups.items():
        images = [sum(row) for row in figures["confusion"]]
        recalls = [f"{recall:.4f}" if n else "-" for recall, n in zip(figures["recall_of"], images, strict=True)]
        low, high = figures["interval"]
        accuracy = (f"{figures['accuracy']:.4f}", f"{low:.4f} to {high:.4f}")
        table.add_row(name or "(none)", f"{figures['images']:,}", *accuracy, *recalls[: len(named)])
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


def evaluation(report: dict[str, Any], output: Path) -> None:
    """Print the figures of checkpoints on a labelled split, by class and overall."""
    plain = report["plain"]
    out.print(_per_class(f"{report['data']['split']}, {plain['images']:,} images", plain, report["class_names"]))
    out.print(_against_rest("each class against the rest", plain, report["class_names"]))
    if together := report["together"]:
        images = f"{together['images']:,} images, accuracy {_accuracy(together)}"
        out.print(_against_rest(f"classes put together: {images}", together, together["names"]))
    if report["groups"]:
        out.print(_by_group(report["groups"], report["class_names"]))
    out.print(f"accuracy            {_accuracy(plain)}")
    out.print(f"accuracy with TTA   {_accuracy(report['tta'])}   views: {', '.join(report['views'])}")
    out.print(", ".join(f"{metric.label} {plain[name]:.4f}" for name, metric in METRICS.items() if metric.column))
    further = ("adaptive_calibration_error", "brier", "risk_area")
    out.print(", ".join(f"{METRICS[name].label} {plain[name]:.4f}" for name in further))
    if "coverage" in plain:
        out.print(_guarantees(report["tta"]) + " (with TTA)")
    if report["unknown"]:
        out.print(_unknown(report["unknown"], report["class_names"]))
    out.print(f"written to {output}: evaluation.json predictions.npz confusion.png", markup=False)


def calibrations(reports: list[dict[str, Any]]) -> None:
    """Print what each calibration has come to on images that it was not fitted on."""
    for report in reports:
        on, before, after = report["fitted_on"], report["before"], report["figures"]
        out.print(
            f"{report['checkpoint']}: {report['method']} fitted on {on['images']:,} images ({on['split']}); "
            f"measured on {report['measured_on']}",
            markup=False,
        )
        shown = [name for name, metric in METRICS.items() if metric.column and name in before]
        table = new_table("", "", "accuracy", *(METRICS[name].label for name in shown))
        for name, figures in (("before", before), ("calibrated", after)):
            table.add_row(name, f"{figures['accuracy']:.4f}", *(f"{figures[metric]:.4f}" for metric in shown))
        out.print(table)
        low, high = after["coverage_interval"]
        low_rejected, high_rejected = after["rejected_interval"]
        out.print(
            f"prediction sets hold the truth in {after['coverage']:.1%} ({low:.1%} to {high:.1%}; "
            f"{report['coverage']:.0%} asked) and have {after['set_size']:.2f} classes in the mean; "
            f"{after['empty']:.1%} are empty"
        )
        out.print(
            f"{after['rejected']:.1%} of the known images are rejected ({low_rejected:.1%} to {high_rejected:.1%}; "
            f"{report['rejected']:.0%} asked), by {report['score']}"
        )
        if report["unknown"]:
            out.print(_unknown(report["unknown"], report["class_names"]))
        out.print(f"written to {report['output']}, with a .json of these figures beside it", markup=False)
    if len(reports) > 1:
        names = ("calibration_error", "coverage", "set_size", "rejected")
        means = [f"{name} {sum(r['figures'][name] for r in reports) / len(reports):.4f}" for name in names]
        out.print(f"means of {len(reports)} checkpoints: {', '.join(means)}")


def open_set(report: dict[str, Any], output: Path) -> None:
    """Print how well each score tells unknown images, and what these are taken for."""
    several = [", ".join(each["left_out"]) for each in report["hold_outs"]]
    table = new_table("AUROC by the class that is left out", "score", *several, "mean", "95 %", "FPR95", "OSCR")
    for name, score in report["scores"].items():
        own, mean = [each["scores"][name]["auroc"]["value"] for each in report["hold_outs"]], report["mean"][name]
        low, high = mean["auroc"]["interval"]
        figures = [*own, *(mean[metric]["value"] for metric in ("auroc", "fpr95", "oscr"))]
        cells = [f"{figure:.3f}" for figure in figures]
        table.add_row(score["label"], *cells[: len(own) + 1], f"{low:.3f} to {high:.3f}", *cells[len(own) + 1 :])
    out.print(table)
    for name, row in report["compared"].items():
        low, high = row["interval"]
        out.print(
            f"{report['scores'][report['best']]['label']} beside {report['scores'][name]['label']}: AUROC "
            f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f}), p {row['p_holm']:.3g} (Holm)"
        )
    names = report["class_names"] if len(report["class_names"]) <= SHOWN_CLASSES else []
    taken = new_table("what is taken for what, %", "images", *names, "rejected", "AUROC")
    for row in report["taken"]:
        shares = [f"{100 * share:.0f}" for share in row["taken_for"][: len(names)]]
        taken.add_row(row["what"], *shares, f"{100 * row['rejected']:.0f}", f"{row['auroc']:.3f}")
    out.print(taken)
    out.print(f"written to {output}: open_set.json", markup=False)


def _guarantees(figures: dict[str, Any]) -> str:
    return (
        f"prediction sets hold the truth in {figures['coverage']:.1%}, {figures['set_size']:.2f} classes in the mean; "
        f"{figures['rejected']:.1%} rejected"
    )


def _unknown(unknown: dict[str, Any], class_names: list[str]) -> Table:
    """Return a table of what images of unknown classes are taken for, and how many of them are rejected."""
    table = new_table("unknown classes", "class", "images", "rejected", "AUROC", "most often taken for")
    for name, row in unknown.items():
        counts = Counter(dict(zip(class_names, row["taken_for"], strict=True))).most_common(SHOWN)
        taken = ", ".join(f"{other} {count / row['images']:.0%}" for other, count in counts if count)
        figures = [f"{row[key]:{form}}" if key in row else "" for key, form in (("rejected", ".1%"), ("auroc", ".3f"))]
        table.add_row(name, f"{row['images']:,}", *figures, taken)
    return table


def robustness(report: dict[str, Any], output: Path) -> None:
    """Print the accuracies of each checkpoint under each condition, and the summaries; a checkpoint is a letter."""
    letters = [chr(ord("A") + i) if i < 26 else str(i) for i in range(len(report["checkpoints"]))]
    for letter, checkpoint in zip(letters, report["checkpoints"], strict=True):
        out.print(f"{letter}: {checkpoint}", markup=False)
    data = report["data"]
    table = new_table(f"accuracy on {data['images']:,} {data['split']} images after", "", *letters)
    for i, condition in enumerate(report["conditions"]):
        table.add_row(condition["name"], *(f"{results[i]['accuracy']:.4f}" for results in report["results"]))
    out.print(table)
    for letter, results in zip(letters, report["results"], strict=True):
        if "coverage" in results[0]:
            out.print(_left_of_guarantees(letter, report["conditions"], results))
    for letter, s in zip(letters, report["summaries"], strict=True):
        low, high = s["interval"]
        out.print(
            f"{letter}: clean {s['clean']:.4f}; mean {s['mean']:.4f} ({low:.4f} to {high:.4f}); "
            f"worst {s['worst']:.4f} ({s['worst_condition']})"
        )
        reached = ", ".join(f"{kind} {strength:.3g}" for kind, strength in s["half"].items() if strength is not None)
        out.print(f"   half of the advantage over chance is lost at: {reached or 'no strength of the grid'}")
    for letter, each in zip(letters[1:], report["compared"], strict=True):
        low, high = each["interval"]
        sure = sum(row["p_holm"] < 0.05 for row in each["conditions"])
        out.print(
            f"{letter} beside A: mean {each['mean']:+.4f} ({low:+.4f} to {high:+.4f}); "
            f"different in {sure} of {len(each['conditions'])} conditions (p < 0.05, Holm)"
        )
    out.print(f"written to {output}: robustness.json robustness.csv robustness.png", markup=False)


def _left_of_guarantees(letter: str, conditions: list[dict[str, Any]], results: list[dict[str, Any]]) -> Table:
    columns = {"calibration_error": "calibration error", "coverage": "truth in set", "set_size": "classes in set"}
    columns |= {"rejected": "rejected"}
    table = new_table(f"{letter}: what is left of its calibration after", "", *columns.values())
    for condition, figures in zip(conditions, results, strict=True):
        table.add_row(condition["name"], *(f"{figures[name]:.3f}" for name in columns))
    return table


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


def explanation(found, output: Path) -> None:
    """Print what is told of one image, without the pictures."""
    answer = "none of these; the most probable class is " if found.rejected else ""
    out.print(f"{found.name}: {answer}{found.answer}, probability {found.sure:.3f}", markup=False)
    if found.among is not None and not found.rejected:
        out.print(f"  prediction set: {', '.join(found.among) or 'empty'}", markup=False)
    out.print(f"  {' '.join(found.through)}", markup=False)
    for row in found.accuracy:
        ends = f"{100 * row.low:.1f} to {100 * row.high:.1f} %"
        figure = ends if row.accuracy is None else f"{100 * row.accuracy:.1f} % ({ends})"
        out.print(f"  the network's accuracy after {row.after}: {figure}", markup=False)
    out.print(f"written: {output}", markup=False)


def weights() -> None:
    """Print the weights that come with the package: name, size, and what their cards say in short."""
    from deepfake_lit.prediction import published
    from deepfake_lit.prediction.card import accuracy_in_words, card_of
    from deepfake_lit.prediction.checkpoint import read_checkpoint

    for name in published.names():
        file = published.file_of(name)
        card = card_of(file, read_checkpoint(file))
        out.print(f"{name}  ({file.stat().st_size / 1e6:.1f} MB)", style="bold", markup=False)
        said = (card.get("about"), accuracy_in_words(card), f"Card: {file.with_suffix('.md')}")
        for line in filter(None, said):
            out.print(f"  {line}", markup=False)
    if not published.names():
        out.print("this version comes without weights; deepfake-lit train makes some")


def predictions(predictions, output: Path) -> None:
    """Print what was predicted, how often each class, and which files have no answer."""
    out.print(f"{len(predictions.ids):,} images predicted: {output}/submission.csv, probabilities.csv", markup=False)
    counts = Counter(predictions.answers.names(predictions.class_names)).most_common()
    named = ", ".join(f"{name} {n:,}" for name, n in counts[:SHOWN_CLASSES])
    more = f", and {len(counts) - SHOWN_CLASSES:,} more" if len(counts) > SHOWN_CLASSES else ""
    if counts:
        out.print(f"classes: {named}{more}", markup=False)
    if predictions.histories:
        _histories(predictions.histories, output)
    if predictions.resized:
        warn(f"{predictions.resized:,} images have another size than the training images and were resized")
    for files, what, (one, several) in (
        (predictions.unreadable, "image", ("could not be read and is", "could not be read and are")),
        (predictions.skipped, "file", ("was left out and is", "were left out and are")),
    ):
        if not files:
            continue
        count = f"{len(files):,} {what} {one}" if len(files) == 1 else f"{len(files):,} {what}s {several}"
        shown = "; ".join(printable(f"{i or file} ({reason})") for i, file, reason in files[:SHOWN])
        more = " ..." if len(files) > SHOWN else ""
        warn(f"{count} NOT in the submission: {shown}{more}; all of them are in {output}/unreadable.csv")


def _histories(histories: list[Any], output: Path) -> None:
    """Print what the files have been through."""
    known = [history for history in histories if history]
    named = (h.format if h.quality is None else f"{h.format} of quality {h.quality}" for h in known)
    traces = Counter(said(h.grid, h.period) for h in known)
    counted = _counted(dict(Counter(named).most_common()))
    out.print(f"files: {counted}; pixels: {_counted(dict(traces.most_common()))}: {output}/files.csv", markup=False)


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
        counted = [_counted(split[what]) for what in ("sizes", "modes")]
        table.add_row(name, f"{split['images']:,}", *per_class, *counted)
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
        rules.add_row(name, _counted(dict(values.most_common())), f"{rule['accuracy']:.1%}", f"{rule['chance']:.1%}")
    out.print(rules)
    for warning in f["shortcut_warnings"]:
        warn(f"{warning}. A network learns this instead of the image")
    if copies := f["turned_copies"]:
        shown = "; ".join(" = ".join(pair) for pair in copies[:SHOWN])
        warn(f"{len(copies):,} images are turned or mirrored copies of images in another split: {shown}")
    if f["other_files"]:
        out.print(f"files that are no images: {_counted(f['other_files'])}", markup=False)
    if not f["problems"]:
        out.print("no problems found")
    for kind, entries in f["problems"].items():
        state = "tolerated" if kind in tolerate else "a run would stop"
        shown = "; ".join(entries[:SHOWN]) + (f" and {len(entries) - SHOWN:,} more" if len(entries) > SHOWN else "")
        warn(f"{kind} ({len(entries):,}, {state}): {PROBLEMS[kind].meaning}\n      {shown}")
    out.print(f"written to {found.folder}: audit.json contact_sheet.png spectra.png", markup=False)
