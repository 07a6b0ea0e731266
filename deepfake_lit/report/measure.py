"""Figures and verdicts of a table's rows, computed from stored predictions."""

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.metrics import METRICS
from deepfake_lit.report.rows import Row, Run, Table
from deepfake_lit.report.verdict import MARGIN, Verdict, claimed, judge
from deepfake_lit.results.comparison import (
    Estimate,
    Family,
    Noise,
    accuracy_noise,
    estimate,
    of_pair,
    paired_estimate,
    row_noise,
)
from deepfake_lit.results.result import Result


@dataclass
class Difference:
    """The difference of a row from the table's reference row, after the last epoch."""

    value: float
    interval: tuple[float, float]
    p: float  # corrected for the comparisons that it is read with, as is the interval
    seeds: int
    claimed: float | None  # the same difference between the reported values
    verdict: Verdict
    estimate: Estimate
    reference: float  # the reference row's accuracy

    @property
    def errors_removed(self) -> float | None:
        """Return the share of the reference row's errors that the row does not make."""
        return self.value / (1 - self.reference) if self.reference < 1 else None

    @property
    def in_other_words(self) -> str:
        """Return it as a share of the reference's errors, and the chance that one more pair of trainings agrees."""
        share, chance = self.errors_removed, self.estimate.chance_of_more()
        words = []
        if share is not None:
            words.append(f"{abs(share):.0%} {'fewer' if share > 0 else 'more'} errors than the reference")
        if self.seeds > 1:
            words.append(f"one more pair of trainings has this sign with probability {max(chance, 1 - chance):.2f}")
        return "; ".join(words)


@dataclass(frozen=True)
class Problem:
    text: str
    alarming: bool = False  # whether it makes the row's figures doubtful or leaves it without any

    def __str__(self) -> str:
        return self.text


class OtherImages(UserError):
    """An attempt to put answers for different images together."""


@dataclass
class Measured:
    """A row's figures; None if no run of it is done. Shares are of the validation images."""

    row: Row
    seeds: int = 0
    accuracy: Estimate | None = None  # of the last epoch: nothing was selected on the images that it is measured on
    best: float | None = None  # of the best epoch, selected on them
    metrics: dict[str, float | None] = field(default_factory=dict)  # those that have a column, after the last epoch
    seconds: float | None = None
    images_per_second: float | None = None
    hardware: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)  # hashes
    problems: list[Problem] = field(default_factory=list)  # failed, missing, mixed
    difference: Difference | None = None

    @property
    def deterministic(self) -> bool:
        return _deterministic(self.row)

    @property
    def done_by_network(self) -> bool:
        return any(not run.is_baseline for run in self.row.done)


def measure(tables: list[Table], scale: str | None = None, margin: float = MARGIN) -> dict[str, list[Measured]]:
    """Measure the rows of a report's or a sweep's tables, and judge their differences from the reference rows.

    The noise of a training is pooled over all tables. All claims of a report are read together, so they are one family
    of comparisons; the other differences of a table are another one.

    Args:
        scale: of a report; verdicts on networks hold for it alone. None: a sweep, or runs of neither.

    Returns:
        The measured rows, by the key of the table.
    """
    noises = _noises([row for table in tables for row in table.rows])
    found = {table.key: [_measured(row, noises) for row in table.rows] for table in tables}
    compared: list[tuple[Measured, Measured, Estimate, tuple[float, float] | None, str]] = []
    for table in tables:
        reference = next((m for m in found[table.key] if m.row.key == table.reference), None)
        for m in found[table.key]:
            if reference is None or m is reference or m.accuracy is None or reference.accuracy is None:
                continue
            try:
                difference = _compared(m.row, reference.row, noises)
                m.problems += _doubts(m, reference)
            except UserError as error:
                m.problems.append(Problem(str(error), isinstance(error, OtherImages)))
                continue
            compared.append((m, reference, difference, claimed(m.row.reported, reference.row.reported), table.key))
    # Without randomness a claim is right to the digits or not, which is no test.
    tested = [each for each in compared if each[3] is None or not (each[0].deterministic and each[1].deterministic)]
    claims = {(m.row.key, reference.row.key) for m, reference, _, claim, _ in tested if claim is not None}
    others = Counter(key for _, _, _, claim, key in tested if claim is None)
    one_reference = len({reference for _, reference in claims}) == 1
    for m, reference, difference, claim, key in compared:
        family = Family(others[key]) if claim is None else Family(len(claims), one_reference)
        other_size = scale not in (None, "full") and (m.done_by_network or reference.done_by_network)
        deterministic = m.deterministic and reference.deterministic
        verdict = judge(
            difference, family, claim, deterministic=deterministic, scale=scale if other_size else None, margin=margin
        )
        if other_size and scale == "smoke":
            verdict = Verdict("none")
        m.difference = Difference(
            difference.value,
            difference.interval(family.level()),
            family.adjusted(difference.p()),
            difference.seeds,
            None if claim is None else sum(claim) / 2,
            verdict,
            difference,
            reference.accuracy.value,
        )
    return found


@dataclass
class RecallDifference:
    """The difference of a class's recall from the reference row's. All rows and classes of a table are one family."""

    value: float
    interval: tuple[float, float]
    p: float


def recall_differences(table: Table, measured: list[Measured], every: list[Row]) -> dict[str, list[RecallDifference]]:
    """Return the differences of the recalls of all classes, by the key of the row, for the rows that have a difference.

    Args:
        measured: the rows of the table, as `measure` returns them.
        every: the rows of all tables, which tell the noise of a training.
    """
    reference = next((row for row in table.rows if row.key == table.reference), None)
    rows = [m.row for m in measured if m.difference]
    if reference is None or not rows:
        return {}
    labels = range(len(reference.done[0].result.data["class_names"]))
    noises = [_noises(every, label) for label in labels]
    family = Family(len(rows) * len(labels), one_reference=False)
    found = {}
    for row in rows:
        each = [_compared(row, reference, noises[label], label) for label in labels]
        level = family.level()
        found[row.key] = [RecallDifference(e.value, e.interval(level), family.adjusted(e.p())) for e in each]
    return found


def which(row: Row, epoch: str) -> str:
    """Return the key of a result's figures for the "best" or "last" epoch, in the row's view."""
    return f"{epoch}_{row.view}" if row.view else epoch


@dataclass
class Noises:
    """The noise of a training: of the differences of rows, and of the accuracies of rows; by the key of the row."""

    of_differences: dict[str, Noise] = field(default_factory=dict)
    of_accuracies: dict[str, Noise] = field(default_factory=dict)


def _noises(rows: list[Row], label: int | None = None) -> Noises:
    """Pool the noise of the trainings of networks. Rows with a view share other rows' trainings, and ensembles those of
    their members, so they are left out.

    Args:
        label: of the images that count; None: all.
    """
    shares: dict[str, dict[int, float]] = {}
    for row in rows:
        done = [run for run in row.done if run.is_random and run.result.kind != "ensemble"]
        if row.view or len(done) < 2 or row.key in shares:
            continue
        with contextlib.suppress(UserError, KeyError, ValueError, IndexError):  # `_measured` says what is wrong
            shares[row.key] = {r.seed: float(right(r, which(row, "last"), label).mean()) for r in distinct(done)}
    seeds = sorted({seed for own in shares.values() for seed in own}, key=str)
    table = np.array([[own.get(seed, np.nan) for seed in seeds] for own in shares.values()], float).reshape(
        len(shares), len(seeds)
    )
    found = {key: noise for key, noise in zip(shares, row_noise(table), strict=True) if noise and noise.freedom > 0}
    pooled = [i for i, key in enumerate(shares) if key in found and found[key].rows > 1]
    whole = table[pooled][:, np.isfinite(table[pooled]).all(0)] if pooled else table[:0]
    if whole.shape[0] < 2 or whole.shape[1] < 2:
        return Noises(found)
    keys = list(shares)
    return Noises(found, {keys[i]: accuracy_noise(found[keys[i]], whole) for i in pooled})


def _measured(row: Row, noises: Noises) -> Measured:
    found = Measured(row)
    done = []
    for run in row.runs:
        if run.state == "done":
            try:
                done.append((run, right(run, which(row, "last"))))
                continue
            except (UserError, KeyError, ValueError, IndexError) as error:
                run.state, run.reason = "damaged", str(error)
        name = "a run" if run.seed is None else f"seed {run.seed}"
        text = f"{name} {run.state}" + (f": {run.reason}" if run.reason else "")
        found.problems.append(Problem(text, run.state in ("failed", "damaged")))
    if not row.runs:
        found.problems.append(Problem("not run"))
    found.seeds = len(_distinct(done))
    if not done:
        return found
    try:
        noise = None if row.view else noises.of_accuracies.get(row.key)
        found.accuracy = estimate(_stack(_distinct(done)), noise, lowest=0.0)
    except UserError as error:
        found.problems.append(Problem(str(error), alarming=True))
        return found
    results = [run.result for run, _ in done]
    found.best = _mean(result.figures("best", row.view)["accuracy"] for result in results)
    found.metrics = {name: _of_all(results, name, row.view) for name, metric in METRICS.items() if metric.column}
    # An ensemble's own time and speed are those of its head on logits, without the training of its members.
    timed = [r for r in results if r.kind != "ensemble" and None not in (r.wall_seconds, r.images_per_second)]
    if len(timed) == len(results):
        found.seconds = _mean(result.wall_seconds for result in results)
        found.images_per_second = _mean(result.images_per_second for result in results)
    found.hardware = sorted({f"{r.hardware['name']} ({r.hardware['precision']})" for r in results})
    found.commits = sorted({_commit(result.code) for result in results})
    found.data = sorted({result.data["hash"] for result in results})
    for values, what in ((found.hardware, "machines"), (found.commits, "commits"), (found.data, "data sets")):
        if len(values) > 1:
            found.problems.append(Problem(f"runs of several {what}", alarming=what == "data sets"))
    if any(result.config.get("model", {}).get("fit_on") == "validation" for result in results):
        found.problems.append(Problem("fitted on the very images that it is measured on", alarming=True))
    return found


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


def right(run: Run, key: str, label: int | None = None) -> np.ndarray:
    """Return whether each image, or each with a label, is right: bool (N,), in the order of the run's images."""
    labels = run.predictions["labels"]
    found = run.answers(key) == labels
    return found if label is None else found[labels == label]


def _stack(several: list[tuple[Run, np.ndarray]]) -> np.ndarray:
    first = several[0][0].predictions["ids"]
    if not all(np.array_equal(run.predictions["ids"], first) for run, _ in several):
        raise OtherImages("its runs are on different images and cannot be put together")
    return np.stack([values for _, values in several])


def distinct(runs: list[Run]) -> list[Run]:
    """Return each run once: a baseline without randomness is one run for every seed."""
    return list({run.folder: run for run in runs}.values())


def _distinct(done: list[tuple[Run, np.ndarray]]) -> list[tuple[Run, np.ndarray]]:
    return list({run.folder: (run, values) for run, values in done}.values())


def _deterministic(row: Row) -> bool:
    """Return whether a row is a baseline whose result does not depend on the seed."""
    runs = row.done
    return bool(runs) and all(run.is_baseline and not run.is_random for run in runs)


def _pairs(row: Row, reference: Row) -> list[tuple[Run, Run]]:
    """Return the pairs of runs of each seed that both rows have; a row without randomness pairs with every seed."""
    if _deterministic(row) and _deterministic(reference):
        return [(row.done[0], reference.done[0])]
    if _deterministic(row):
        return [(row.done[0], run) for run in reference.done]
    if _deterministic(reference):
        return [(run, reference.done[0]) for run in row.done]
    if len(row.done) == 1 and row.done[0].result.kind == "ensemble" and len(reference.done) > 1:
        return [(row.done[0], run) for run in reference.done]  # an ensemble of all seeds is of none of them
    its = {run.seed: run for run in reference.done}
    return [(run, its[seed]) for seed, run in {run.seed: run for run in row.done}.items() if seed in its]


def _doubts(m: Measured, other: Measured) -> list[Problem]:
    """Return why a difference is not one over all seeds of both rows, or not of the same commits and machines."""
    found = []
    own, its = ([run.seed for run in each.row.done] for each in (m, other))
    if not (m.deterministic or other.deterministic or set(own) == set(its)):
        seeds = ", ".join(str(seed) for seed in dict.fromkeys(own) if seed in its)
        found.append(Problem(f"the difference is over the shared seeds {seeds} alone"))
    for what in ("hardware", "commits"):
        if getattr(m, what) != getattr(other, what) and m.done_by_network and other.done_by_network:
            found.append(Problem(f"other {what} than the reference row"))
    return found


def _compared(row: Row, reference: Row, noises: Noises, label: int | None = None) -> Estimate:
    """Return the mean difference over the pairs of runs, and how sure it is; with a label, of its images alone."""
    pairs = _pairs(row, reference)
    if not pairs:
        raise UserError("it shares no seed with the reference row")
    first, second = [], []
    for a, b in pairs:
        if not np.array_equal(a.predictions["ids"], b.predictions["ids"]):
            raise OtherImages("it was evaluated on other images than the reference row")
        first.append(right(a, which(row, "last"), label))
        second.append(right(b, which(reference, "last"), label))
    if len(pairs) == 1:
        return paired_estimate(first[0], second[0])
    known = [noises.of_differences.get(each.key) for each in (row, reference)]
    paired = not row.view and not reference.view and all(known)
    noise = of_pair(known, known[0] is known[1]) if paired else None
    return estimate(np.stack(first).astype(int) - np.stack(second).astype(int), noise)
