"""Figures and verdicts of a table's rows, computed from stored predictions."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.metrics import METRICS
from deepfake_lit.report.rows import Row, Run, Table
from deepfake_lit.report.verdict import Verdict, claimed, judge
from deepfake_lit.results.result import Result
from deepfake_lit.results.statistics import Mean, SeedNoise, holm, mean_over, newcombe, paired, pooled_noise


@dataclass
class Difference:
    """The difference of a row from the table's reference row, after the last epoch."""

    value: float
    interval: tuple[float, float]
    p: float  # corrected for the number of the table's comparisons
    seeds: int
    claimed: float | None  # the same difference between the reported values
    verdict: Verdict


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
    accuracy: Mean | None = None  # of the last epoch: nothing was selected on the images that it is measured on
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


def measure(table: Table, scale: str | None = None) -> list[Measured]:
    """Measure the rows of a table and judge their differences from the reference row.

    Args:
        scale: of a report; verdicts on networks hold for it alone. None: a sweep, or runs of neither.
    """
    # Only a sweep's rows share their noise: they are one recipe with small changes.
    noise = _noise(table.rows) if scale is None and table.reference else {}
    found = [_measured(row, noise.get(row.key)) for row in table.rows]
    reference = next((m for m in found if m.row.key == table.reference), None)
    compared = []
    for m in found:
        if reference is None or m is reference or m.accuracy is None or reference.accuracy is None:
            continue
        try:
            compared.append((m, _compared(m.row, reference.row, noise)))
            m.problems += _doubts(m, reference)
        except UserError as error:
            m.problems.append(Problem(str(error), isinstance(error, OtherImages)))
    corrected = holm([mean.p for _, mean in compared])
    for (m, mean), p in zip(compared, corrected, strict=True):
        claim = claimed(m.row.reported, reference.row.reported)
        verdict = judge(mean, p, claim, _deterministic(m.row) and _deterministic(reference.row), len(compared))
        if (m.done_by_network or reference.done_by_network) and scale not in (None, "full"):
            if scale == "smoke":
                verdict = dataclasses.replace(verdict, kind="undecided", text="none at this scale")
            else:
                verdict = dataclasses.replace(verdict, text=f"{verdict.text}, at scale {scale}")
        middle = None if claim is None else sum(claim) / 2
        m.difference = Difference(mean.value, mean.interval, p, mean.seeds, middle, verdict)
    return found


POOLED = 3  # rows at least, for a common noise between seeds


def which(row: Row, epoch: str) -> str:
    """Return the key of a result's figures for the "best" or "last" epoch, in the row's view."""
    return f"{epoch}_{row.view}" if row.view else epoch


def _noise(rows: list[Row]) -> dict[str, SeedNoise]:
    """Return by row key the noise between seeds that rows have in common. Rows with a view are left out: they share
    other rows' trainings, and differ by less."""
    several = {}
    for row in rows:
        try:
            done = distinct(row.done)
            if len(done) > 1 and not row.view and all(run.is_random for run in done):
                several[row.key] = _stack([(run, right(run, which(row, "last"))) for run in done])
        except (UserError, KeyError, ValueError, IndexError):
            continue  # `_measured` says what is wrong with it
    if len(several) < POOLED:
        return {}
    noise, counted = pooled_noise(list(several.values()))
    keys = [key for key, is_counted in zip(several, counted, strict=True) if is_counted]
    return dict.fromkeys(keys, noise) if len(keys) >= POOLED else {}


def _measured(row: Row, noise: SeedNoise | None = None) -> Measured:
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
        found.accuracy = mean_over(_stack(_distinct(done)), noise)
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


def right(run: Run, key: str) -> np.ndarray:
    """Return whether each image is right: bool (N,), in the order of the run's images."""
    return run.answers(key) == run.predictions["labels"]


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


def _compared(row: Row, reference: Row, noise: dict[str, SeedNoise]) -> Mean:
    """Return the mean difference over the pairs of runs, its intervals and its p."""
    pairs = _pairs(row, reference)
    if not pairs:
        raise UserError("it shares no seed with the reference row")
    first, second = [], []
    for a, b in pairs:
        if not np.array_equal(a.predictions["ids"], b.predictions["ids"]):
            raise OtherImages("it was evaluated on other images than the reference row")
        first.append(right(a, which(row, "last")))
        second.append(right(b, which(reference, "last")))
    if len(pairs) == 1:
        alone = paired(first[0], second[0])
        return Mean(alone.difference, alone.interval, alone.p, 1, len(first[0]))
    random = [r for r in (row, reference) if not _deterministic(r)]
    both = None
    if all(r.key in noise for r in random):  # a difference has the noise of both
        one = noise[random[0].key]
        both = SeedNoise(len(random) * one.variance, one.freedom)
    mean = mean_over(np.stack(first).astype(int) - np.stack(second).astype(int), both)
    # With few differing answers the t interval is too narrow: it is at least Newcombe's for a pair with mean counts.
    counts = [np.mean([(x & y).sum() for x, y in both]) for both in _tables(first, second)]
    low, high = newcombe(*counts)
    widened = {
        name: (min(interval[0], low), max(interval[1], high))
        for name, interval in (("interval", mean.interval), ("single", mean.single))
    }
    return dataclasses.replace(mean, **widened)


def _tables(first: list[np.ndarray], second: list[np.ndarray]):
    """Yield for all pairs the masks of both right, only the first, only the second, neither."""
    for a, b in ((True, True), (True, False), (False, True), (False, False)):
        yield [(x == a, y == b) for x, y in zip(first, second, strict=True)]
