"""Figures of results and data, written as PNG files."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure  # not pyplot, which would change a notebook's way of showing figures
from PIL import Image

from deepfake_lit.core.files import atomic
from deepfake_lit.core.metrics import worst

WORST = 30  # most classes in a confusion matrix
FIRST = 12  # most classes in a figure of images or spectra
LONGEST = 24  # characters of a class's name
SHEET_SIDE = 256  # pixels; larger images of a contact sheet are shrunk


def confusion_matrix(path: Path, counts: np.ndarray, class_names: list[str], title: str) -> None:
    """Draw a confusion matrix: counts in the cells, shaded by their share of the true class.

    Of more than `WORST` classes those with the least recall are drawn, and a column for all other answers.

    Args:
        counts: int (K, K), rows are true classes, columns are predicted ones.
    """
    counts, names = np.asarray(counts), _short(class_names)
    columns, k = names, min(len(names), WORST)
    if len(names) > WORST:
        chosen = worst(counts, WORST)
        rows = counts[chosen]
        counts = np.column_stack([rows[:, chosen], rows.sum(1) - rows[:, chosen].sum(1)])
        title += f"\nthe {WORST} classes with the least recall, of {len(names):,}"
        names = [names[i] for i in chosen]
        columns = [*names, "others"]
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(4.2, 0.55 * k + 1.5)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(*counts.shape):
        colour = "white" if share[i, j] > 0.55 else "black"
        axes.text(j, i, counts[i, j], ha="center", va="center", color=colour, fontsize=10 if k <= 12 else 6)
    turned = {} if max(map(len, columns)) < 4 else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(columns)), columns, **turned)
    axes.set_yticks(range(k), names)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    _save(figure, path)


def contact_sheet(path: Path, rows: Iterable[list[np.ndarray]], class_names: list[str]) -> None:
    """Draw a row of images for each of the first `FIRST` classes, enlarged without interpolation so that single pixels
    are visible. Images of more than `SHEET_SIDE` pixels are shrunk.

    Args:
        rows: the images of each class, uint8 (H, W, 3); no more of them than needed are taken.
    """
    names = _short(class_names[:FIRST])
    sheet = [[shrunk(image, SHEET_SIDE) for image in images] for _, images in zip(names, rows, strict=False)]
    columns = max(map(len, sheet))
    figure = Figure(figsize=(1.25 * columns + 0.8, 1.3 * len(sheet) + 0.2), layout="constrained")
    grid = figure.subplots(len(sheet), columns, squeeze=False)
    for axes_row, images, name in zip(grid, sheet, names, strict=True):
        for i, axes in enumerate(axes_row):
            axes.set(xticks=[], yticks=[])
            axes.set_frame_on(False)
            if i < len(images):
                axes.imshow(images[i], interpolation="nearest")
        axes_row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
    if len(class_names) > FIRST:
        figure.suptitle(_first_of(class_names))
    _save(figure, path, dpi=150)


def spectra(path: Path, mean_log: np.ndarray, mean: np.ndarray, class_names: list[str]) -> None:
    """Draw each class's mean log-spectrum, its difference from the mean of all classes, and that one's radial average.

    Args:
        mean_log: float (k, H, W), mean log10 of the power of the first k classes, zero frequency in the centre.
        mean: float (H, W), the same of all classes.
    """
    k, names = len(mean_log), _short(class_names)
    beyond = mean_log - mean
    limit = np.nanmax(np.abs(beyond)) or 1
    figure = Figure(figsize=(2.2 * k + 1, 7.4), layout="constrained")
    grid = figure.add_gridspec(3, k, height_ratios=(1, 1, 1.15))
    low, high = np.nanpercentile(mean_log, (1, 99.8))
    for row, (images, style, label) in enumerate(
        (
            (mean_log, {"cmap": "magma", "vmin": low, "vmax": high}, "log10 power"),
            (beyond, {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}, "beyond the mean of classes"),
        )
    ):
        axes_row = [figure.add_subplot(grid[row, i]) for i in range(k)]
        for i, axes in enumerate(axes_row):
            shown = axes.imshow(images[i], extent=(-0.5, 0.5, 0.5, -0.5), **style)
            axes.set(xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5) if i == 0 else ())
            axes.tick_params(labelsize=7)
            if row == 0:
                axes.set_title(f"class {names[i]}", fontsize=12 if max(map(len, names)) <= 12 else 8)
        figure.colorbar(shown, ax=axes_row, label=label, shrink=0.85)
    axes = figure.add_subplot(grid[2, :])
    for name, image in zip(names, beyond, strict=False):
        axes.plot(*radial_average(image), label=f"class {name}", linewidth=1.6)
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set(xlabel="spatial frequency (cycles a pixel)", ylabel="log10 power beyond the mean", xlim=(0, 0.5))
    axes.legend(ncols=k, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.22), frameon=False)
    if len(class_names) > k:
        figure.suptitle(_first_of(class_names))
    _save(figure, path, dpi=130)


def accuracy_over_strength(path: Path, report: dict[str, Any]) -> None:
    """Draw accuracy over the strength of each kind of distortion, a line a checkpoint, with bands of 95 % over images.

    Kinds of a single strength share the last plot.

    Args:
        report: as `prediction.robustness.robustness` returns it.
    """
    conditions, results = report["conditions"], report["results"]
    kinds: dict[str, list[int]] = {}
    for i, condition in enumerate(conditions[1:], 1):
        kinds.setdefault(condition["kind"], []).append(i)
    scales = {kind: rows for kind, rows in kinds.items() if len(rows) > 1}
    single = [0, *(rows[0] for rows in kinds.values() if len(rows) == 1)]
    columns = 3
    lines = -(-(len(scales) + 1) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.7 * lines + 0.6), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True).flat
    for (kind, rows), axes in zip([*scales.items(), ("", single)], grid, strict=False):
        for name, figures in zip(_short(apart(report["checkpoints"])), results, strict=True):
            chosen = [figures[i] for i in ([0, *rows] if kind else rows)]
            x = (
                [conditions[rows[0]]["nothing"], *(conditions[i]["strength"] for i in rows)]
                if kind
                else range(len(rows))
            )
            accuracy = np.array([f["accuracy"] for f in chosen])
            ends = np.array([f["interval"] for f in chosen]).T
            if kind:
                [line] = axes.plot(x, accuracy, marker="o", markersize=3, linewidth=1.3, label=name)
                axes.fill_between(x, *ends, color=line.get_color(), alpha=0.15, linewidth=0)
            else:
                axes.errorbar(x, accuracy, np.abs(ends - accuracy), fmt="o", capsize=3, markersize=4, label=name)
        if kind:
            axes.set_xlabel(f"{kind}: {conditions[rows[0]]['unit']}")
            if conditions[rows[0]]["nothing"] > conditions[rows[-1]]["strength"]:
                axes.invert_xaxis()  # from the weakest on
        else:
            axes.set_xticks(x, [conditions[i]["kind"] for i in rows], rotation=20)
        axes.grid(alpha=0.25)
    for axes in grid:  # those that are left
        axes.set_axis_off()
    figure.supylabel("accuracy")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    _save(figure, path)


def apart(paths: list[str]) -> list[str]:
    """Return names of checkpoints by what differs in their paths."""
    parts = [Path(path).parts for path in paths]
    if len(parts) == 1:
        return ["/".join(parts[0][-3:])]
    longest = max(map(len, parts))
    padded = [(("",) * (longest - len(p))) + p for p in parts]
    differing = [i for i in range(longest) if len({p[i] for p in padded}) > 1]
    return ["/".join(p[i] for i in differing if p[i]) for p in padded]


def shortened(name: str, most: int = LONGEST) -> str:
    """Return a name of at most `most` characters; names differ at their ends, so its middle is left out."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}...{name[2 - (most + 1) // 2 :]}"


def _short(names: list[str]) -> list[str]:
    return [shortened(name).replace("$", r"\$") for name in names]  # a dollar sign would begin a formula


def _first_of(class_names: list[str]) -> str:
    return f"the first {FIRST} of {len(class_names):,} classes"


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """Return an image uint8 (H, W, 3) with sides of at most so many pixels, means of whole blocks of its own."""
    factor = -(-max(image.shape[:2]) // side)
    return image if factor == 1 else np.asarray(Image.fromarray(image).reduce(factor))


def radial_average(image: np.ndarray, bins: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Return (frequencies in cycles per pixel, mean over each ring) of an (H, W) spectrum, zero frequency central."""
    fy, fx = (np.fft.fftshift(np.fft.fftfreq(n)) for n in image.shape)
    radius = np.hypot(fy[:, None], fx[None, :])
    edges = np.linspace(0, 0.5, bins + 1)
    which = np.digitize(radius.ravel(), edges[1:-1])
    inside = radius.ravel() <= 0.5
    sums = np.bincount(which[inside], image.ravel()[inside], bins)
    counts = np.bincount(which[inside], minlength=bins)
    centres = (edges[:-1] + edges[1:]) / 2
    return centres[counts > 0], sums[counts > 0] / counts[counts > 0]


def _save(figure, path: Path, dpi: int = 130) -> None:
    with atomic(path, "wb") as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # names in a script that the font lacks
        figure.savefig(file, format="png", dpi=dpi)
