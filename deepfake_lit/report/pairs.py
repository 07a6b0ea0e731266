"""Rows beside each other: their runs in pairs of a seed, the noise of their trainings, their differences."""

import contextlib
from dataclasses import dataclass, field

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.report.answers import OtherImages, distinct, right, which
from deepfake_lit.report.rows import Row, Run, Table
from deepfake_lit.report.verdict import Verdict
from deepfake_lit.results.comparison import Estimate, estimate, paired_estimate
from deepfake_lit.results.family import Family
from deepfake_lit.results.noise import Noise, accuracy_noise, of_pair, row_noise


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


@dataclass
class Noises:
    """The noise of a training: of the differences of rows, and of the accuracies of rows; by the key of the row."""

    of_differences: dict[str, Noise] = field(default_factory=dict)
    of_accuracies: dict[str, Noise] = field(default_factory=dict)


def noises_of(rows: list[Row], label: int | None = None) -> Noises:
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
        with contextlib.suppress(UserError, KeyError, ValueError, IndexError):  # `measure` says what is wrong
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


def deterministic(row: Row) -> bool:
    """Return whether a row is a baseline whose result does not depend on the seed."""
    runs = row.done
    return bool(runs) and all(run.is_baseline and not run.is_random for run in runs)


def _pairs(row: Row, reference: Row) -> list[tuple[Run, Run]]:
    """Return the pairs of runs of each seed that both rows have; a row without randomness pairs with every seed."""
    if deterministic(row) and deterministic(reference):
        return [(row.done[0], reference.done[0])]
    if deterministic(row):
        return [(row.done[0], run) for run in reference.done]
    if deterministic(reference):
        return [(run, reference.done[0]) for run in row.done]
    if len(row.done) == 1 and row.done[0].result.kind == "ensemble" and len(reference.done) > 1:
        return [(row.done[0], run) for run in reference.done]  # an ensemble of all seeds is of none of them
    its = {run.seed: run for run in reference.done}
    return [(run, its[seed]) for seed, run in {run.seed: run for run in row.done}.items() if seed in its]


def compared(row: Row, reference: Row, noises: Noises, label: int | None = None) -> Estimate:
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


@dataclass
class RecallDifference:
    """The difference of a class's recall from the reference row's. All rows and classes of a table are one family."""

    value: float
    interval: tuple[float, float]
    p: float


def recall_differences(table: Table, rows: list[Row], every: list[Row]) -> dict[str, list[RecallDifference]]:
    """Return the differences of the recalls of all classes, by the key of the row.

    Args:
        rows: of the table, those that have a difference from its reference.
        every: the rows of all tables, which tell the noise of a training.
    """
    reference = next((row for row in table.rows if row.key == table.reference), None)
    if reference is None or not rows:
        return {}
    labels = range(len(reference.done[0].result.data["class_names"]))
    noises = [noises_of(every, label) for label in labels]
    family = Family(len(rows) * len(labels), one_reference=False)
    found = {}
    for row in rows:
        each = [compared(row, reference, noises[label], label) for label in labels]
        level = family.level()
        found[row.key] = [RecallDifference(e.value, e.interval(level), family.adjusted(e.p())) for e in each]
    return found
