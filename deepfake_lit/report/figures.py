"""Plots of a page as SVG text. The colours suit a light and a dark page; text has the page's own colour."""

import io
import re
import textwrap
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from deepfake_lit.core.detection import risk_by_coverage
from deepfake_lit.core.plots import shortened
from deepfake_lit.report.answers import distinct, which
from deepfake_lit.report.claims import Claim
from deepfake_lit.report.measure import Measured
from deepfake_lit.report.rows import Run, Table
from deepfake_lit.results.family import LEVEL
from deepfake_lit.results.statistics import wilson_interval

INK = "#010203"  # stands for the page's text colour
# Okabe and Ito's palette for colour-blind readers, without black and yellow
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
LINES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "deepfake_lit",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    # the first six differ in colour, in line style and in marker
    "axes.prop_cycle": cycler(color=COLOURS * 2)
    + cycler(linestyle=[*LINES, *LINES[3:], *LINES[:3]])
    + cycler(marker=[*"osD^vX", *"XosD^v"], markersize=[3] * 12),
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # labels are settings and class names
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "grid.color": INK,
}
WIDTH, HEIGHT = 5.6, 3.4  # inches
MOST = 100  # rows in a plot that has a line for each
SMALL = 0.1  # a difference in accuracy
FIRST_SHARE = 0.05  # of the images, from which on accuracies over coverage are drawn: one error among few is no curve
ROOM = 60  # characters of all classes' names that fit below an axis side by side
LONG = 36  # characters: two labels of this length do not fit side by side


def _axes(**settings):
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    axes.set(**settings)
    return figure, axes


def _svg(figure, description: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for number, colour in enumerate(COLOURS):
        text = text.replace(colour, f"var(--c{number}, {colour})")  # the page has lighter ones for dark ground
    label = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return re.sub(r"<svg ", f'<svg role="img" aria-label="{label}" ', text, count=1)


def alone(svg: str) -> str:
    """Return a plot of a page as a file of its own: black on white, whatever surrounds it."""
    svg = re.sub(r"var\(--c\d, (#\w+)\)", r"\1", svg).replace("currentColor", "black")
    return re.sub(r"(<svg [^>]*>)", r'\1<rect width="100%" height="100%" fill="white"/>', svg, count=1)


def in_style(function):
    """Make a plotting function draw under `STYLE`, whatever matplotlib's settings are otherwise."""

    def drawn(*arguments, **named):
        with matplotlib.rc_context(STYLE):
            return function(*arguments, **named)

    drawn.__doc__ = function.__doc__
    return drawn


def _legend_below(figure: Figure) -> None:
    longest = max(len(text) for text in figure.axes[0].get_legend_handles_labels()[1])
    figure.legend(fontsize=8, loc="outside lower center", ncols=2 if longest < LONG else 1)


def epochs_of(m: Measured) -> int:
    """Return the number of epochs that all runs of a row with a history have; 0 if none has one."""
    return min((len(run.result.history) for run in m.row.done if run.result.history), default=0)


@in_style
def learning_curves(rows: list[Measured]) -> str | None:
    """Draw validation accuracy over epochs: each row's mean over seeds, and the band from its worst to its best seed.

    Args:
        rows: networks with at least one of `epochs_of`.
    """
    if not rows:
        return None
    figure, axes = _axes(xlabel="epoch of this training", ylabel="validation accuracy")
    for m in rows:
        histories = [[r["val/accuracy"] for r in run.result.history] for run in m.row.done if run.result.history]
        length = epochs_of(m)
        values = np.array([h[:length] for h in histories])
        epochs = np.arange(1, length + 1)
        (line,) = axes.plot(epochs, values.mean(0), label=m.row.label, linewidth=1.5, markevery=max(1, length // 10))
        if len(values) > 1:
            axes.fill_between(epochs, values.min(0), values.max(0), color=line.get_color(), alpha=0.18, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _legend_below(figure)
    return _svg(figure, "Validation accuracy over epochs: " + ", ".join(m.row.label for m in rows))


@in_style
def along_axis(table: Table, rows: list[Measured]) -> str | None:
    """Draw measured accuracies with 95 % intervals, and reported ones, over the setting that a table varies.

    Returns:
        None if the table has no axis or fewer than two measured rows on it.
    """
    placed = [m for m in rows if m.row.x is not None and m.accuracy is not None]
    if not table.axis or len(placed) < 2:
        return None
    figure, axes = _axes(xlabel=table.axis["label"], ylabel="validation accuracy")
    x = [m.row.x for m in placed]
    if table.axis["log"]:
        axes.set_xscale("log")
        axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.xaxis.set_minor_formatter(NullFormatter())
    values = np.array([m.accuracy.value for m in placed])
    ends = np.array([m.accuracy.interval() for m in placed]).T
    errors = np.maximum(np.abs(ends - values), 0)
    axes.errorbar(x, values, errors, marker="o", capsize=4, linewidth=1.4, label="measured, 95 % interval")
    reported = [
        (m.row.x, m.row.reported["accuracy"]) for m in rows if "accuracy" in m.row.reported and m.row.x is not None
    ]
    if reported:
        axes.plot(*zip(*reported, strict=True), marker="s", fillstyle="none", linestyle="--", label="reported")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _legend_below(figure)
    return _svg(figure, f"{table.title}: validation accuracy with 95 % intervals")


@in_style
def over_time(rows: list[Measured], elsewhere: list[dict[str, Any]]) -> str | None:
    """Draw the accuracy after the last epoch, with its 95 % interval, over the minutes of a training.

    Args:
        elsewhere: what others state: `label`, `accuracy`, and `minutes` if they state it.
    """
    drawn = [m for m in rows if m.accuracy is not None and m.seconds]
    if not drawn:
        return None
    figure, axes = _axes(xlabel="minutes of training", ylabel="validation accuracy", xscale="log")
    for m in drawn:
        value, (low, high) = m.accuracy.value, m.accuracy.interval()
        ends = [[max(value - low, 0.0)], [max(high - value, 0.0)]]
        axes.errorbar(m.seconds / 60, value, ends, capsize=4, markersize=5, label=m.row.label)
    others = {"color": INK, "alpha": 0.7}
    for entry in elsewhere:
        if "minutes" in entry:
            style = {"marker": "s", "linestyle": "none", "fillstyle": "none", "markersize": 5}
            axes.plot(entry["minutes"], entry["accuracy"], label=entry["label"], **style, **others)
        else:
            axes.axhline(entry["accuracy"], linestyle=":", linewidth=1, label=entry["label"], **others)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _legend_below(figure)
    return _svg(figure, "Validation accuracy over minutes of training")


def _of_one_seed(m: Measured) -> bool:
    return m.difference.seeds == 1 and not m.deterministic


def _a_row_each(axes: Axes, labels: list[str]) -> None:
    """Set up axes for differences, one per line, beside their labels."""
    axes.set(xlabel="difference in accuracy, percentage points", ylim=(len(labels) - 0.4, -0.6))
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


@in_style
def claimed_differences(found: list[Claim]) -> str | None:
    """Draw claimed and measured differences, one per line. Claims of `SMALL` or more are left out: they would squeeze
    the others."""
    drawn = [c for c in found if c.difference is not None and abs(c.middle) < SMALL][:MOST]
    if not drawn:
        return None
    figure = Figure(figsize=(WIDTH, 1.1 + 0.42 * len(drawn)), layout="constrained")
    axes = figure.subplots()
    for single in (False, True):
        rows = [(i, c.difference) for i, c in enumerate(drawn) if _of_one_seed(c.m) is single]
        if rows:
            values = 100 * np.array([d.value for _, d in rows])
            ends = 100 * np.array([d.interval for _, d in rows]).T
            style = {"fmt": "o", "capsize": 3, "color": COLOURS[0], "markersize": 5}
            label = "measured, one seed" if single else "measured"
            fill = {"markerfacecolor": "none"} if single else {}
            axes.errorbar(values, [i for i, _ in rows], xerr=np.abs(ends - values), label=label, **style, **fill)
    middles = [100 * c.middle for c in drawn]
    claimed = {"color": COLOURS[1], "marker": "D", "linestyle": "none", "markersize": 6, "fillstyle": "none"}
    axes.plot(middles, range(len(drawn)), label="claimed", **claimed)
    _a_row_each(axes, [f"{c.what}\nfrom {c.reference}" for c in drawn])
    _legend_below(figure)
    return _svg(figure, "Claimed and measured differences")


@in_style
def differences(rows: list[Measured], reference: str) -> str | None:
    """Draw differences from a table's reference row with 95 % intervals, the largest first; None for fewer than 3.

    Args:
        reference: the label of that row.
    """
    drawn = sorted((m for m in rows if m.difference is not None), key=lambda m: -m.difference.value)
    if len(drawn) < 3:
        return None
    if len(drawn) > MOST:  # of a sweep of a thousand trials the ends say most
        drawn = drawn[: MOST // 2] + drawn[-MOST // 2 :]
    labels = [textwrap.fill(m.row.label, LONG) for m in drawn]
    lines = max(label.count("\n") + 1 for label in labels)
    figure = Figure(figsize=(WIDTH, 1 + (0.06 + 0.14 * lines) * len(drawn)), layout="constrained")
    axes = figure.subplots()
    for i, m in enumerate(drawn):
        value, ends = 100 * m.difference.value, 100 * np.array(m.difference.interval)
        style = {"fmt": "o", "capsize": 2, "markersize": 4}
        style |= {"color": COLOURS[0]} if m.difference.p < LEVEL else {"color": INK, "alpha": 0.55}
        style |= {"markerfacecolor": "none"} if _of_one_seed(m) else {}
        axes.errorbar(value, i, xerr=np.abs(ends - value)[:, None], **style)
    _a_row_each(axes, labels)
    return _svg(figure, f"Differences from {reference} with 95 % intervals")


@in_style
def recalls(measured: Measured, reported: list[float] | None, class_names: list[str], chosen: list[int]) -> str:
    """Draw the recall of the chosen classes, the mean over seeds, beside the reported one. Bars span the lowest to the
    highest seed; those of a single run are Wilson's 95 % interval over the images."""
    results = [run.result.figures("last", measured.row.view) for run in distinct(measured.row.done)]
    values = np.array([result["recall_of"] for result in results])[:, chosen]
    figure, axes = _axes(xlabel="class", ylabel="recall", ylim=(0, 1.02))
    places = np.arange(len(chosen))
    width = 0.38 if reported else 0.6
    mean = values.mean(0)
    ends = np.stack([values.min(0), values.max(0)])
    if len(values) == 1:
        images = np.sum(results[0]["confusion"], 1)[chosen]
        ends = np.array([wilson_interval(*each) for each in zip(mean, images, strict=True)]).T
    errors = np.maximum(np.abs(ends - mean), 0)
    shown = {"yerr": errors, "capsize": 3, "ecolor": INK, "label": "measured", "color": COLOURS[0]}
    axes.bar(places - (width / 2 if reported else 0), mean, width, **shown)
    if reported:
        axes.bar(places + width / 2, reported, width, label="reported", color=COLOURS[1], alpha=0.75, hatch="//")
        axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    names = [shortened(class_names[i]) for i in chosen]
    axes.set_xticks(places, names, rotation=0 if sum(map(len, names)) < ROOM else 90)
    axes.grid(axis="x", visible=False)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return _svg(figure, f"Recall by class: {measured.row.label}")


@in_style
def reliability(rows: list[Measured], bins: int = 15) -> str | None:
    """Draw accuracy over the top probability in equal bins, all seeds together (Guo et al. 2017, arXiv 1706.04599)."""
    figure, axes = _axes(xlabel="top probability", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    axes.plot((0, 1), (0, 1), color=INK, linewidth=0.8, linestyle=":", marker="", markersize=0)
    for m in rows:
        confidence, correct = _confidence(m.row.done, which(m.row, "last"))
        if not len(confidence):
            continue
        place = np.minimum((confidence * bins).astype(int), bins - 1)
        counts = np.bincount(place, minlength=bins)
        used = counts >= 10  # fewer images say nothing
        means = [np.bincount(place, v, bins)[used] / counts[used] for v in (confidence, correct)]
        axes.plot(*means, linewidth=1.3, label=m.row.label)
    if len(axes.lines) < 2:
        return None
    _legend_below(figure)
    return _svg(figure, "Reliability: accuracy over the top probability")


@in_style
def risk_coverage(rows: list[Measured]) -> str | None:
    """Draw the accuracy among the surest images over their share, the mean of each row's runs."""
    figure, axes = _axes(xlabel="share of the images that are answered", ylabel="accuracy among them", xlim=(0, 1))
    for m in rows:
        key = which(m.row, "last")
        risks = [risk_by_coverage(run.probabilities(key), run.predictions["labels"]) for run in m.row.done]
        if not risks or len({len(risk) for risk in risks}) > 1:
            continue
        risk = np.mean(risks, 0)
        share = np.arange(1, len(risk) + 1) / len(risk)
        drawn = share >= FIRST_SHARE
        axes.plot(share[drawn], 1 - risk[drawn], linewidth=1.3, marker="", label=f"{m.row.label} ({risk.mean():.4f})")
    if not axes.lines:
        return None
    _legend_below(figure)
    return _svg(figure, "Accuracy over the share of images that are answered")


def _confidence(runs: list[Run], key: str) -> tuple[np.ndarray, np.ndarray]:
    found = [(run.probabilities(key), run.predictions["labels"]) for run in runs]
    if not found:
        return np.zeros(0), np.zeros(0)
    confidence = np.concatenate([p.max(1) for p, _ in found])
    return confidence, np.concatenate([p.argmax(1) == labels for p, labels in found]).astype(float)
