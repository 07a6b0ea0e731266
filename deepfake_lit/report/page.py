"""The page of all runs in an output folder, its Markdown twin, and a CSV file per table."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from scipy.stats import kendalltau

from deepfake_lit.core.console import duration, warn
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import atomic
from deepfake_lit.core.metrics import METRICS, SHOWN_CLASSES, Metric
from deepfake_lit.data.images import ImageData, cache_dir, open_data
from deepfake_lit.report import beside, figures, images
from deepfake_lit.report.claims import claims
from deepfake_lit.report.classes import by_class
from deepfake_lit.report.detection import detection
from deepfake_lit.report.measure import Measured, each_row, looks, measure
from deepfake_lit.report.notes import notes
from deepfake_lit.report.open_set import open_sets_of
from deepfake_lit.report.overview import all_rows
from deepfake_lit.report.robustness import robustness_of
from deepfake_lit.report.rows import Row, Section, Table, command_line
from deepfake_lit.report.searches import monitored, rows_of, said
from deepfake_lit.report.sections import sections
from deepfake_lit.report.summary import in_short, other_images
from deepfake_lit.report.tables import write_csv
from deepfake_lit.report.unchecked import unchecked
from deepfake_lit.report.verdict import MARGIN
from deepfake_lit.results.looks import Sequential
from deepfake_lit.results.provenance import code_version, now
from deepfake_lit.settings.commands import ReportConfig
from deepfake_lit.settings.identity import READS
from deepfake_lit.settings.report_file import DIRECTIONS
from deepfake_lit.settings.schema import DataConfig

DRAWN = 12  # most rows in a plot
UNFOLDED = 8  # rows of a sweep; of more, those without a real difference are folded away
SCALES = {
    "full": "the settings are as the report states them; where it states none, they are this project's choice",
    "cpu": "slimmer networks and fewer epochs, for two CPU cores, with settings that suit these; else as at full scale",
    "smoke": "each network trains for seconds, only to check that everything runs; the accuracies mean nothing",
}


def report(cfg: ReportConfig) -> Path:
    """Write `index.html`, `report.md` and `tables/*.csv`, and return the path of `index.html`.

    Raises:
        UserError: there are no runs.
    """
    output = Path(cfg.output_dir)
    found = sections(output)
    if not found:
        raise UserError(f"there are no runs in {output}; train some, or name another output_dir")
    target = Path(cfg.output or output / "report")
    measured = [measure(s.tables, s.scale, s.reported.get("margin", MARGIN), s.looks, s.sequential) for s in found]
    data = _images(cfg, measured)
    context = {
        "made": now(),
        "code": code_version(),
        "scales": SCALES,
        "metrics": {name: metric for name, metric in METRICS.items() if metric.column},
        "sections": [_section(s, m, data, cfg) for s, m in zip(found, measured, strict=True)],
        "in_short": [s.key for s in found if s.key != "runs" or len(found) == 1],
        "all_rows": all_rows(found, measured),
        "robustness": robustness_of(output),
        "open_sets": open_sets_of(output),
        "ranks": _ranks(found, measured),
        "spectra": images.spectra(data) if data and cfg.images else None,
        "states": _states(found),
    }
    environment = Environment(
        loader=PackageLoader("deepfake_lit.report"),
        autoescape=lambda name: name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "points": _points,
        "duration": duration,
        "short": _short,
        "figure": _figure,
        "change": _change,
        "ends": _ends,
        "range": _range,
    }
    for name in ("index.html", "report.md"):
        with atomic(target / name) as file:
            file.write(environment.get_template(f"{name}.j2").render(context))
    for section in context["sections"]:
        if section["claims_plot"]:
            with atomic(target / "figures" / f"{section['key']}.svg") as file:
                file.write(figures.alone(section["claims_plot"]))
    for section, tables in zip(found, measured, strict=True):
        for key, rows in tables.items():
            write_csv(
                target / "tables" / (f"{section.key}.csv" if key == section.key else f"{section.key}-{key}.csv"), rows
            )
    return target / "index.html"


def _percent(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{100 * value:.{digits}f}"


def _figure(value: float | None, metric: Metric) -> str:
    return _percent(value) if metric.percent or value is None else f"{value:.4f}"


def _change(value: float, metric: Metric) -> str:
    return _points(value) if metric.percent else f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _ends(interval: tuple[float, float], metric: Metric) -> str:
    ends = [max(end, 0.0) for end in interval]  # no metric is below 0
    return " to ".join(_percent(end) if metric.percent else f"{end:.3f}" for end in ends)


def _points(value: float | None) -> str:
    return "" if value is None else f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _range(ends: tuple[float, float]) -> str:
    first, last = map(_points, ends)
    return DIRECTIONS.get(tuple(ends), first if first == last else f"{first} to {last}")


def _states(found: list[Section]) -> Counter:
    """Count the runs in each state, each run once even if it is in several tables."""
    runs = {}
    for section in found:
        for table in section.tables:
            for row in table.rows:
                runs |= {run.folder or (section.key, row.key, run.seed): run.state for run in row.runs}
    return Counter(runs.values())


def _short(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _images(cfg: ReportConfig, measured: list[dict[str, list[Measured]]]) -> ImageData | None:
    """Open the data set of most runs; None if it is not at hand or has changed."""
    done = [run for tables in measured for rows in tables.values() for m in rows for run in m.row.done]
    hashes = Counter(run.result.data["hash"] for run in done)
    if not hashes:
        return None
    wanted = hashes.most_common(1)[0][0]
    settings = [r.result.config["data"] for r in done if r.result.data["hash"] == wanted]
    roots = [cfg.data_root, *(s.get("root") for s in settings)]
    root = next((root for root in roots if root and Path(root).exists()), None)
    if root is None:
        return None
    named = next((s for s in settings if "layout" in s), {})
    kept = [name.removeprefix("data.") for name in (*READS, "data.cache_dir")]
    data_cfg = DataConfig(root=root, **{key: named[key] for key in kept if key in named})
    try:
        data = open_data(data_cfg, cache_dir(data_cfg, cfg.output_dir))
    except UserError as error:
        warn(f"the page shows no images: {error}")
        return None
    if data.hash != wanted:
        warn(f"the page shows no images: those in {root} are not the ones that the runs were on")
        return None
    return data


def _section(
    section: Section, measured: dict[str, list[Measured]], data: ImageData | None, cfg: ReportConfig
) -> dict[str, Any]:
    reported, groups = section.reported, cfg.groups
    every = each_row(measured)
    main = _main_row(section, every)
    networks = [m for m in every if m.done_by_network]
    told = [m for m in networks if m.estimates]
    claimed = claims(section, measured)
    drawn: set[frozenset[str]] = set()
    rows = [row for table in section.tables for row in table.rows]
    found: dict[str, Any] = {
        "key": section.key,
        "claims": claimed,
        "claims_plot": figures.claimed_differences(claimed),
        "title": section.title,
        "scale": section.scale,
        "command": section.command,
        "tables": [_table(table, measured[table.key], drawn, rows, groups) for table in section.tables],
        "looks": Sequential(
            section.looks, tuple(m.difference.seeds for m in every if m.difference and not m.deterministic)
        )
        if section.sequential
        else looks(section.looks, [m.difference.seeds for m in every if m.difference and not m.deterministic]),
        "notes": notes(reported, measured, section.alpha, section.scale is None) if reported else [],
        "unchecked": unchecked(claimed, reported),
        "remarks": reported.get("remarks", []),
        "over_time": figures.over_time(every, reported["elsewhere"]) if "elsewhere" in reported else None,
        "data": _data(every),
        "in_short": said(section.search, measured) if section.search else in_short(section, measured, claimed),
        "search": section.search and {"rows": rows_of(section.search), "by": monitored(section.search)},
        "other_images": other_images(section, every),
        "classes": [
            by_class(m, reported) for m in every if m.row.done and (m is main or m.row.key in _detailed(reported))
        ],
        "confused": [],
        "cams": [],
        "reliability": figures.reliability(_best(told, DRAWN // 2)),
        "risk_coverage": figures.risk_coverage(_best(told, DRAWN // 2)),
        "reliability_of": (min(len(told), DRAWN // 2), len(told)),
    }
    if main is None:
        return found
    class_names = main.row.done[0].result.data["class_names"]
    split = data.splits["validation"] if data and cfg.images else None
    if split and set(main.row.done[0].predictions["ids"].tolist()) != set(split.ids):
        split = None  # its run was on a fold of the training images
    try:
        if main.row.done[0].fold is None:
            found["confused"] = images.most_confused(main, class_names, split)
        if split is not None and main.row.done[-1].result.kind == "network":
            found["cams"] = images.grad_cams(main, class_names, split)
    except (UserError, ValueError) as error:  # ValueError: the runs are on other images
        warn(f"{section.title}: some pictures are missing: {error}")
    found["main"] = main.row.label
    return found


def _data(every: list[Measured]) -> str:
    """Describe the images that the rows were measured on."""
    results = [run.result for m in every for run in m.row.done]
    if not results:
        return ""
    folds = {
        run.folds: len({r.fold for m in every for r in m.row.done}) for m in every for run in m.row.done if run.folds
    }
    texts = []
    for r in results:
        fold = r.config.get("data", {}).get("fold")
        count = f"{r.best['images']:,}"
        which = (
            r.data.get("what", "validation images") if fold is None else f"held-out training images (data.fold={fold})"
        )
        if folds:
            ((of, there),) = folds.items()
            count, which = "the training images", f"in {there} of {of} folds, each by networks trained on the others,"
        names = ", ".join(r.data["class_names"][:SHOWN_CLASSES])
        if (more := len(r.data["class_names"]) - SHOWN_CLASSES) > 0:
            names += f" and {more:,} more"
        warned = "".join(f"; {line}" for line in r.data.get("shortcuts", ()))
        texts.append(f"{count} {which} of the classes {names} (data {r.data['hash'][:8]}){warned}")
    return "Measured on " + "; and on ".join(dict.fromkeys(texts))


def _best(rows: list[Measured], count: int, reference: str | None = None) -> list[Measured]:
    """Return the `count` best rows, in the table's order; the reference row is always among them."""
    ranked = sorted(rows, key=lambda m: (m.row.key != reference, -m.accuracy.value if m.accuracy else 1.0))
    kept = {m.row.key for m in ranked[:count]}
    return [m for m in rows if m.row.key in kept]


def _detailed(reported: dict[str, Any]) -> set[str]:
    """Return the keys of the rows for which a report states more than the accuracy."""
    return {row for what in ("confusion", "per_class", "recalls") for row in reported.get(what, {})}


def _main_row(section: Section, every: list[Measured]) -> Measured | None:
    """Return the row whose details are shown: the last network with reported details, else the best network, else the
    best row."""
    done = [m for m in every if m.accuracy is not None]
    networks = [m for m in done if m.done_by_network]
    if detailed := [m for m in networks if m.row.key in _detailed(section.reported)]:
        return detailed[-1]
    return max(networks or done, key=lambda m: m.accuracy.value, default=None)


def _table(
    table: Table, measured: list[Measured], drawn: set[frozenset[str]], every: list[Row], groups: dict[str, Any] | None
) -> dict[str, Any]:
    """Return what the templates show of a table.

    Args:
        drawn: the rows of each plot of curves that the page has already, extended by this table's; none is drawn twice.
        every: the rows of all tables.
        groups: classes that are put together.
    """
    rows = []
    has_reported = any({"accuracy", "gain", "recall_gain"} & m.row.reported.keys() for m in measured)
    axis = figures.along_axis(table, measured)
    fold = not has_reported and not axis and len(measured) > UNFOLDED
    if fold:
        by_effect = sorted(measured, key=lambda m: -m.difference.value if m.difference else 0)
        measured = sorted(by_effect, key=lambda m: m.row.key != table.reference)
    for m in measured:
        ensemble = [run.result for run in m.row.done if run.result.kind == "ensemble"]
        settled = m.difference is None or m.difference.verdict.kind not in ("unsettled", "same")
        commands = dict.fromkeys(command_line(run.overrides) for run in m.row.runs if run.overrides)
        rows.append(
            {
                "m": m,
                "label": m.row.label,
                "reference": m.row.key == table.reference,
                "commands": list(commands),
                "members": len(ensemble[0].members or ()) if len(ensemble) == 1 else 0,
                "folded": fold and settled is False,
            }
        )
    trained = [m for m in measured if m.done_by_network and not m.row.view and figures.epochs_of(m) > 1]
    keys = frozenset(m.row.key for m in trained)
    fitting = _best(trained, DRAWN, table.reference)
    curves = None if any(keys <= earlier for earlier in drawn) else figures.learning_curves(fitting)
    drawn.add(keys)
    reference = next((m.row.label for m in measured if m.row.key == table.reference), None)
    return {
        "key": table.key,
        "title": table.title,
        "reference": reference,
        "has_reported": has_reported,
        "rows": rows,
        "axis": axis,
        "differences": None if axis or has_reported else figures.differences(measured, reference),
        "curves": curves,
        "variance": beside.variance(measured),
        "best_of": beside.best_of(measured),
        "detection": detection(_best(measured, DRAWN, table.reference), groups),
        "metric_differences": beside.metric_differences(measured),
        "pooled": max((m.difference.estimate.rows for m in measured if m.difference), default=1),
        "several_seeds": any(len(m.row.done) > 1 for m in trained),
        "by_class": beside.by_class(table, measured, every, DRAWN),
        "left_out": max(len(trained) - DRAWN, 0),
    }


def _ranks(found: list[Section], measured: list[dict[str, list[Measured]]]) -> list[str]:
    """Compare how a table's networks rank at one scale with their rank at another, or in the report: Kendall's tau."""
    lines = []
    for i, (section, tables) in enumerate(zip(found, measured, strict=True)):
        if section.scale is None:
            continue
        for key, rows in tables.items():
            networks = [m for m in rows if m.accuracy and m.done_by_network]
            own = {m.row.key: m.accuracy.value for m in networks}
            others = {
                "in the report": {m.row.key: m.row.reported["accuracy"] for m in rows if "accuracy" in m.row.reported}
            }
            for other, its in zip(found[i + 1 :], measured[i + 1 :], strict=True):
                if other.scale and other.title == section.title:
                    others[f"at scale {other.scale}"] = {
                        m.row.key: m.accuracy.value for m in its.get(key, []) if m.accuracy
                    }
            title = next(table.title for table in section.tables if table.key == key)
            for name, values in others.items():
                shared = [row for row in own if row in values]
                if len(shared) < 4:
                    continue  # with three rows every order is likely by chance
                rank = kendalltau([own[row] for row in shared], [values[row] for row in shared])
                if not math.isnan(rank.statistic):
                    where = f"{len(shared)} networks at scale {section.scale} and {name}"
                    lines.append(f"{title}: {where}: Kendall's tau {rank.statistic:+.2f}, p {rank.pvalue:.2g}")
    return lines
