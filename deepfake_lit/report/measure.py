"""Figures and verdicts of a table's rows, computed from stored predictions."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepfake_lit.core.errors import UserError, did_you_mean
from deepfake_lit.core.metrics import METRICS
from deepfake_lit.report.answers import OtherImages, right, values, which
from deepfake_lit.report.pairs import (
    Difference,
    Noises,
    compared,
    deterministic,
    further_differences,
    noises_of,
    own,
    run_pairs,
)
from deepfake_lit.report.rows import Row, Run, Table
from deepfake_lit.report.verdict import MARGIN, Verdict, claimed, judge
from deepfake_lit.results.comparison import Estimate
from deepfake_lit.results.family import LEVEL, Family
from deepfake_lit.results.looks import Looks
from deepfake_lit.results.result import Result
from deepfake_lit.results.sequential import at_look, noise_ratio
from deepfake_lit.settings.report_file import DIRECTIONS


@dataclass(frozen=True)
class Problem:
    text: str
    alarming: bool = False  # whether it makes the row's figures doubtful or leaves it without any

    def __str__(self) -> str:
        return self.text


OF_IMAGES = [name for name, metric in METRICS.items() if metric.column and metric.of_images]


@dataclass
class Measured:
    """A row's figures; None if no run of it is done. Shares are of the validation images."""

    row: Row
    seeds: int = 0
    accuracy: Estimate | None = None  # of the last epoch: nothing was selected on the images that it is measured on
    best: float | None = None  # of the best epoch, selected on them
    metrics: dict[str, float | None] = field(default_factory=dict)  # those that have a column, after the last epoch
    estimates: dict[str, Estimate] = field(default_factory=dict)  # of those that are means over images
    seconds: float | None = None
    images_per_second: float | None = None
    hardware: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)  # hashes
    problems: list[Problem] = field(default_factory=list)  # failed, missing, mixed
    difference: Difference | None = None
    recall_differences: dict[str, Difference] = field(default_factory=dict)  # of the classes that a claim is about

    @property
    def deterministic(self) -> bool:
        return deterministic(self.row)

    @property
    def blocks(self) -> str:
        """Return over what its figures are means, besides images."""
        return "folds" if any(run.fold is not None for run in self.row.runs) else "seeds"

    @property
    def done_by_network(self) -> bool:
        return any(not run.is_baseline for run in self.row.done)


@dataclass(frozen=True)
class _Compared:
    """A difference before it is judged."""

    m: Measured
    reference: Measured
    table: str  # key
    difference: Estimate
    claim: tuple[float, float] | None
    of_reference: float  # accuracy, or recall
    recall_of: str = ""  # the class; empty: it is a difference in accuracy

    @property
    def exact(self) -> bool:
        return self.m.deterministic and self.reference.deterministic


def measure(
    tables: list[Table],
    scale: str | None = None,
    margin: float = MARGIN,
    declared: tuple[int, ...] = (),
    sequential: bool = False,
) -> dict[str, list[Measured]]:
    """Measure the rows of a report's or a sweep's tables, and judge their differences from the reference rows.

    The noise of a training is pooled over all tables. All claims of a report are read together, so they are one family
    of comparisons; the other differences of a table are another one.

    Args:
        scale: of a report; verdicts on networks hold for it alone. None: a sweep, or runs of neither.
        declared: numbers of seeds at which the verdicts of a plan are read; empty: once, whatever there is.
        sequential: each difference is looked at by itself, until it is settled.

    Returns:
        The measured rows, by the key of the table.
    """
    every = [row for table in tables for row in table.rows]
    noises = [noises_of(every, metric) for metric in ("accuracy", *OF_IMAGES)]
    found = {table.key: [_measured(row, noises) for row in table.rows] for table in tables}
    differences = _compare(tables, found, noises[0])
    # Without randomness a claim is right to the digits or not, which is no test.
    tested = [each for each in differences if each.claim is None or not each.exact]
    claims = {(e.m.row.key, e.reference.row.key, e.recall_of) for e in tested if e.claim is not None}
    others = Counter(each.table for each in tested if each.claim is None)
    one_reference = len({(reference, recall_of) for _, reference, recall_of in claims}) == 1
    look = looks(declared, [each.difference.seeds for each in tested])
    share = look.level() / LEVEL if look else 1.0
    strictest = share
    for each in differences:
        m, reference, difference, claim = each.m, each.reference, each.difference, each.claim
        size, one = (others[each.table], True) if claim is None else (len(claims), one_reference)
        at_once = Family(size, one)
        family = Family(size, one, share)
        if sequential and difference.seeds > 1:
            family = at_look(at_once, declared, difference.seeds, noise_ratio(difference))
            strictest = min(strictest, family.share)
        other_size = scale not in (None, "full") and (m.done_by_network or reference.done_by_network)
        verdict = judge(
            difference, family, claim, deterministic=each.exact, scale=scale if other_size else None, margin=margin
        )
        if other_size and scale == "smoke":
            verdict = Verdict("none")
        judged = Difference(
            difference.value,
            difference.interval(family.level()),
            family.adjusted(difference.p()),
            difference.seeds,
            None if claim is None or claim in DIRECTIONS else sum(claim) / 2,
            verdict,
            difference,
            each.of_reference,
            family=at_once,
        )
        if each.recall_of:
            m.recall_differences[each.recall_of] = judged
        else:
            m.difference = judged
    for table in tables:
        _add_metrics(table, found[table.key], noises[1:], strictest)
    return found


def _compare(tables: list[Table], found: dict[str, list[Measured]], noises: Noises) -> list[_Compared]:
    """Return the differences of all rows from their reference rows; note at the rows why one cannot be had."""
    every = [row for table in tables for row in table.rows]
    of_class: dict[int, Noises] = {}
    differences: list[_Compared] = []
    for table in tables:
        reference = next((m for m in found[table.key] if m.row.key == table.reference), None)
        for m in found[table.key]:
            if reference is None or m is reference or m.accuracy is None or reference.accuracy is None:
                continue
            claims = claimed(m.row.reported, reference.row.reported)
            try:
                difference = compared(m.row, reference.row, noises)
                claim = claims.pop("", None)
                differences.append(_Compared(m, reference, table.key, difference, claim, reference.accuracy.value))
                m.problems += _doubts(m, reference)
                for name, claim in claims.items():
                    label = _number_of_class(m.row, name)
                    if label not in of_class:
                        of_class[label] = noises_of(every, "recall", label)
                    difference = compared(m.row, reference.row, of_class[label])
                    recall = _recall(reference.row, label)
                    differences.append(_Compared(m, reference, table.key, difference, claim, recall, name))
            except UserError as error:
                m.problems.append(Problem(str(error), isinstance(error, OtherImages)))
    return differences


def _number_of_class(row: Row, name: str) -> int:
    names = row.done[0].result.data["class_names"]
    if name not in names:
        raise UserError(f"its images have no class {name}, of which a claim is{did_you_mean(name, names)}")
    return names.index(name)


def _recall(row: Row, label: int) -> float:
    return _mean(values(run, which(row, "last"), "recall", label).mean() for run in row.done)


def _add_metrics(table: Table, measured: list[Measured], noises: list[Noises], share: float) -> None:
    """Add to the differences of a table those of the other metrics. Those of one metric are read together."""
    reference = next((row for row in table.rows if row.key == table.reference), None)
    reference_tells = any(m.row is reference and m.estimates for m in measured)
    rows = [m for m in measured if m.difference and m.estimates and reference_tells]
    for each in noises:
        for m, further in zip(rows, further_differences([m.row for m in rows], reference, each, share), strict=True):
            m.difference.metrics[each.metric] = further


def each_row(measured: dict[str, list[Measured]]) -> list[Measured]:
    """Return every row once, without those of views, with the label that the table of models has for it."""
    found: dict[str, Measured] = {}
    for key in sorted(measured, key=lambda key: key != "models"):
        for m in measured[key]:
            if not m.row.view:
                found.setdefault(m.row.key, m)
    return list(found.values())


def looks(declared: tuple[int, ...], seeds: list[int]) -> Looks | None:
    """Return the looks at a plan's verdicts, given the seeds of its differences; None if there was no look."""
    now = max(seeds, default=0)
    return Looks(declared, now) if declared and now > 1 else None


def _measured(row: Row, noises: list[Noises]) -> Measured:
    """Return a row's figures.

    Args:
        noises: of accuracy, and of the metrics that are means over images.
    """
    found = Measured(row)
    done, key = {}, which(row, "last")
    for run in row.runs:
        if run.state == "done":
            try:
                done[run.folder] = run, right(run, key)  # without randomness it is one run for every seed
                continue
            except (UserError, KeyError, ValueError, IndexError) as error:
                run.state, run.reason = "damaged", str(error)
        text = f"{_named(run)} {run.state}" + (f": {run.reason}" if run.reason else "")
        found.problems.append(Problem(text, run.state in ("failed", "damaged")))
    if not row.runs:
        found.problems.append(Problem("not run"))
    found.seeds = len(done)
    if not done:
        return found
    runs = [run for run, _ in done.values()]
    try:
        found.accuracy = own(row, runs, [answers for _, answers in done.values()], noises[0])
    except UserError as error:
        found.problems.append(Problem(str(error), alarming=True))
        return found
    # Of labels alone there is no calibration and no log loss.
    told = [each for each in noises[1:] if all(run.has_probabilities for run in runs)]
    found.estimates = {each.metric: own(row, runs, [values(r, key, each.metric) for r in runs], each) for each in told}
    results = [run.result for run in runs]
    found.best = _mean(result.figures("best", row.view)["accuracy"] for result in results)
    shown = [name for name, m in METRICS.items() if m.column and (not m.of_images or name in found.estimates)]
    found.metrics = {name: _of_all(results, name, row.view) for name in shown}
    # An ensemble's own time and speed are those of its head on logits, without the training of its members.
    timed = [r for r in results if r.kind != "ensemble" and None not in (r.wall_seconds, r.images_per_second)]
    if len(timed) == len(results):
        found.seconds = _mean(result.wall_seconds for result in results)
        found.images_per_second = _mean(result.images_per_second for result in results)
    found.hardware = sorted({f"{r.hardware['name']} ({r.hardware['precision']})" for r in results})
    found.commits = sorted({_commit(result.code) for result in results})
    found.data = sorted({result.data["hash"] for result in results})
    for several, what in ((found.hardware, "machines"), (found.commits, "commits"), (found.data, "data sets")):
        if len(several) > 1:
            found.problems.append(Problem(f"runs of several {what}", alarming=what == "data sets"))
    if any(result.config.get("model", {}).get("fit_on") == "validation" for result in results):
        found.problems.append(Problem("fitted on the very images that it is measured on", alarming=True))
    return found


def _named(run: Run) -> str:
    parts = [f"{name} {number}" for name, number in (("seed", run.seed), ("fold", run.fold)) if number is not None]
    return ", ".join(parts) or "a run"


def _commit(code: dict[str, Any]) -> str:
    name = code["commit"][:7] if code.get("commit") else f"version {code['version']}"
    return f"{name}, modified" if code.get("modified") else name


def _of_all(results: list[Result], metric: str, view: str) -> float | None:
    """Return the mean of a metric over runs; None if a run is older than the metric and has no predictions left."""
    try:
        return _mean(result.value(metric, "last", view) for result in results)
    except UserError:
        return None


def _mean(values) -> float:
    return float(np.mean(list(values)))


def _doubts(m: Measured, other: Measured) -> list[Problem]:
    """Return why a difference is not one over all seeds of both rows, or not of the same commits and machines."""
    found = []
    pairs = run_pairs(m.row, other.row)
    left = {run.folder for row in (m.row, other.row) for run in row.done} - {
        run.folder for pair in pairs for run in pair
    }
    if left and not (m.deterministic or other.deterministic):
        shared = ", ".join(dict.fromkeys(str(run.block) for run, _ in pairs))
        found.append(Problem(f"the difference is over the shared {m.blocks} {shared} alone"))
    for what in ("hardware", "commits"):
        if getattr(m, what) != getattr(other, what) and m.done_by_network and other.done_by_network:
            found.append(Problem(f"other {what} than the reference row"))
    return found
