"""Terminal output: what checkpoints say of images, and how far to trust it."""

from collections import Counter
from pathlib import Path
from typing import Any

from rich.table import Table

from deepfake_lit.cli.show import accuracy_of, class_table, counted, new_table
from deepfake_lit.core.console import out, warn
from deepfake_lit.core.metrics import AGAINST_REST, METRICS, SHOWN_CLASSES, worst
from deepfake_lit.data.history import said
from deepfake_lit.data.problems import SHOWN, printable


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


def evaluation(report: dict[str, Any], output: Path) -> None:
    """Print the figures of checkpoints on a labelled split, by class and overall."""
    plain = report["plain"]
    out.print(class_table(f"{report['data']['split']}, {plain['images']:,} images", plain, report["class_names"]))
    out.print(_against_rest("each class against the rest", plain, report["class_names"]))
    if together := report["together"]:
        images = f"{together['images']:,} images, accuracy {accuracy_of(together)}"
        out.print(_against_rest(f"classes put together: {images}", together, together["names"]))
    if report["groups"]:
        out.print(_by_group(report["groups"], report["class_names"]))
    out.print(f"accuracy            {accuracy_of(plain)}")
    out.print(f"accuracy with TTA   {accuracy_of(report['tta'])}   views: {', '.join(report['views'])}")
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
        mean, least, most = after["error_of_perfect"]
        out.print(
            f"perfect probabilities would show a calibration error of {mean:.4f} on {after['images']:,} images "
            f"({least:.4f} to {most:.4f} in 9 of 10 cases)"
        )
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
    formats = counted(dict(Counter(named).most_common()))
    out.print(f"files: {formats}; pixels: {counted(dict(traces.most_common()))}: {output}/files.csv", markup=False)
