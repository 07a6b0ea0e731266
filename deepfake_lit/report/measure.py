"""From a table's rows to figures and a verdict, out of stored predictions."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepfake_lit.compare import Mean, holm, mean_over, newcombe, paired, seeds_needed
from deepfake_lit.errors import UserError
from deepfake_lit.report.rows import Row, Run, Table

LEVEL = 0.05


@dataclass
class Difference:
    """Of a row from the table's reference row, after the last epoch."""

    value: float
    interval: tuple[float, float]
    p: float  # corrected for the number of the table's comparisons
    seeds: int
    claimed: float | None  # the same difference between the reported values
    verdict: str
    reason: str


@dataclass
class Measured:
    """A row's figures; None where no run of it is done. Shares are of the validation images."""

    row: Row
    seeds: int = 0
    accuracy: Mean | None = None  # of the last epoch: nothing was selected on the images that it is measured on
    best: float | None = None  # of the best epoch, selected on them
    f1: float | None = None
    calibration: float | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    hardware: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # failed, missing, mixed
    difference: Difference | None = None

    @property
    def done_by_network(self) -> bool:
        return any(not run.is_baseline for run in self.row.done)


def measure(table: Table, scale: str | None = None) -> list[Measured]:
    found = [_measured(row) for row in table.rows]
    reference = next((m for m in found if m.row.key == table.reference), None)
    compared = []
    for m in found:
        if reference is None or m is reference or m.accuracy is None or reference.accuracy is None:
            continue
        try:
            compared.append((m, _compared(m.row, reference.row)))
        except UserError as error:
            m.problems.append(str(error))
    corrected = holm([mean.p for _, mean in compared])
    for (m, mean), p in zip(compared, corrected, strict=True):
        claimed = _claimed(m.row.reported, reference.row.reported)
        verdict, reason = judge(mean, p, claimed, _deterministic(m.row) and _deterministic(reference.row))
        if m.done_by_network and scale == "smoke":
            verdict = "none at this scale"
        elif verdict == "contradicted" and scale not in (None, "full"):
            verdict = f"contradicted at scale {scale}"
        m.difference = Difference(mean.value, mean.interval, p, mean.seeds, claimed, verdict, reason)
    return found


def which(row: Row, epoch: str) -> str:
    """The key of a result's figures: of the best or the last epoch, in the row's view."""
    return f"{epoch}_{row.view}" if row.view else epoch


def _measured(row: Row) -> Measured:
    found = Measured(row)
    done = []
    for run in row.runs:
        if run.state == "done":
            try:
                done.append((run, right(run, which(row, "last"))))
                continue
            except UserError as error:
                run.state, run.reason = "damaged", str(error)
        name = "a run" if run.seed is None else f"seed {run.seed}"
        found.problems.append(f"{name} {run.state}" + (f": {run.reason}" if run.reason else ""))
    if not row.runs:
        found.problems.append("not run")
    found.seeds = len(done)
    if not done:
        return found
    try:
        found.accuracy = mean_over(_stack([r for _, r in _distinct(done)]))
    except UserError as error:
        found.problems.append(str(error))
        return found
    results = [run.result for run, _ in done]
    figures = [result.get(which(row, "last"), result["last"]) for result in results]
    found.best = _mean(result.get(which(row, "best"), result["best"])["accuracy"] for result in results)
    found.f1 = _mean(f["f1"] for f in figures)
    found.calibration = _mean(f["calibration_error"] for f in figures)
    found.seconds = _mean(result["wall_seconds"] for result in results)
    found.images_per_second = _mean(result["images_per_second"] for result in results)
    found.hardware = sorted({f"{r['hardware']['name']} ({r['hardware']['precision']})" for r in results})
    found.commits = sorted({_commit(result["code"]) for result in results})
    if len(found.hardware) > 1:
        found.problems.append("runs of several machines")
    if len(found.commits) > 1:
        found.problems.append("runs of several commits")
    return found


def _commit(code: dict[str, Any]) -> str:
    name = code["commit"][:7] if code.get("commit") else f"version {code['version']}"
    return f"{name}, modified" if code.get("modified") else name


def _mean(values) -> float:
    return float(np.mean(list(values)))


def right(run: Run, key: str) -> np.ndarray:
    """bool (N,), in the order of the run's images."""
    return run.probabilities(key).argmax(1) == run.predictions["labels"]


def _stack(several: list[np.ndarray]) -> np.ndarray:
    if len({len(each) for each in several}) > 1:
        raise UserError("its runs are on different images and cannot be put together")
    return np.stack(several)


def _distinct(done: list[tuple[Run, np.ndarray]]) -> list[tuple[Run, np.ndarray]]:
    """A baseline without randomness is one run, whatever seeds it was asked for with."""
    return list({run.folder: (run, values) for run, values in done}.values())


def _deterministic(row: Row) -> bool:
    return all(run.is_baseline for run in row.done) and len({run.folder for run in row.done}) == 1


def _compared(row: Row, reference: Row) -> Mean:
    """The mean difference over the seeds that both have; a row without randomness stands beside every seed."""
    own, other = ({run.seed: run for run in r.done} for r in (row, reference))
    if _deterministic(row) and _deterministic(reference):
        pairs = [(row.done[0], reference.done[0])]
    elif _deterministic(row):
        pairs = [(row.done[0], run) for run in reference.done]
    elif _deterministic(reference):
        pairs = [(run, reference.done[0]) for run in row.done]
    else:
        pairs = [(own[seed], other[seed]) for seed in own if seed in other]
    if not pairs:
        raise UserError("it shares no seed with the reference row")
    first, second = [], []
    for a, b in pairs:
        if not np.array_equal(a.predictions["ids"], b.predictions["ids"]):
            raise UserError("it was evaluated on other images than the reference row")
        first.append(right(a, which(row, "last")))
        second.append(right(b, which(reference, "last")))
    if len(pairs) == 1:
        alone = paired(first[0], second[0])
        return Mean(alone.difference, alone.interval, alone.p, 1, len(first[0]))
    mean = mean_over(np.stack(first).astype(int) - np.stack(second).astype(int))
    if mean.interval[0] < mean.interval[1]:
        return mean
    # Every pair differs alike, as where none learned anything: one pair's interval, which is never of width 0.
    return dataclasses.replace(mean, interval=paired(first[0], second[0]).interval)


def _claimed(reported: dict[str, Any], reference: dict[str, Any]) -> float | None:
    if "gain" in reported:  # "+0.3-0.5 %"
        return float(np.mean(reported["gain"]))
    if "accuracy" not in reported or "accuracy" not in reference:
        return None
    return reported["accuracy"] - reference["accuracy"]


def judge(difference: Mean, p: float, claimed: float | None, deterministic: bool) -> tuple[str, str]:
    """A verdict in a word or two, and why."""
    low, high = difference.interval
    measured = f"{100 * difference.value:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}), p {p:.2g}"
    seeds = "no randomness" if deterministic else f"{difference.seeds} seed{'s' if difference.seeds > 1 else ''}"
    outside = claimed is not None and not low <= claimed <= high
    real = p < LEVEL and (low > 0 or high < 0)
    if real and (claimed is None or claimed == 0 or (difference.value > 0) == (claimed > 0)):
        size = f"; the claimed {100 * claimed:+.1f} is outside the interval" if outside else ""
        only = "" if deterministic or difference.seeds > 1 else "; of this one training: seed noise is not in it"
        return "real", f"{measured}, {seeds}{size}{only}"
    if outside:
        return "contradicted", f"claimed {100 * claimed:+.1f}, measured {measured}, {seeds}"
    if deterministic:
        return "not distinguishable from chance", f"{measured}: these images are too few for it"
    if difference.components is None:
        return "not distinguishable with 1 seed", f"{measured}; seed noise is unknown: at least 2 more would be needed"
    wanted = claimed or difference.value
    needed = seeds_needed(difference, wanted) if wanted else None
    noise = f"not distinguishable from seed noise with {difference.seeds} seeds"
    if needed is None:
        return noise, f"{measured}; no number of seeds would do: more images would be needed"
    more = max(needed - difference.seeds, 1)
    return noise, f"{measured}; about {more} more would be needed for a difference of {100 * wanted:+.1f}"


def independent_interval(first: float, second: float, images: int) -> tuple[float, float]:
    """95 % interval of the difference of two accuracies of which nothing but their values is known: that of two
    independent samples (Newcombe's method 10 with phi 0)."""
    a, b = round(first * images), round(second * images)
    both = a * b / images
    low, high = newcombe(both, a - both, b - both, images - a - b + both)
    return low, high
