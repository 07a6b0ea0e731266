"""Rows beside each other: their runs in pairs of a seed or fold, the noise of their trainings, their differences."""

import contextlib
from dataclasses import dataclass, field

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.report.answers import OtherImages, by_fold, distinct, same, stacked, values, which
from deepfake_lit.report.rows import Row, Run
from deepfake_lit.report.verdict import Verdict
from deepfake_lit.results.comparison import Estimate, estimate, fold_estimate, paired_estimate
from deepfake_lit.results.family import Family
from deepfake_lit.results.noise import Noise, accuracy_noise, of_pair, row_noise

SHARES = ("accuracy", "recall")  # metrics that count images that are right


@dataclass
class Further:
    """The difference of a row from the reference row in another figure than accuracy.

    The interval and p are corrected for the differences that it is read with.
    """

    value: float
    interval: tuple[float, float]
    p: float


@dataclass
class Difference:
    """The difference of a row from the table's reference row, after the last epoch."""

    value: float
    interval: tuple[float, float]
    p: float  # corrected for the comparisons that it is read with, as is the interval
    seeds: int
    claimed: float | None  # the same difference between the reported values; None: no size is claimed
    verdict: Verdict
    estimate: Estimate
    reference: float  # the reference row's accuracy or recall
    metrics: dict[str, Further] = field(default_factory=dict)  # those that are means over images
    family: Family | None = None  # the comparisons that it is read with, at one look

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
    """The noise of a training in one figure: of the differences of rows, and of the rows' own values; by row's key."""

    metric: str = "accuracy"
    label: int | None = None  # of the class, of a recall or precision
    of_differences: dict[str, Noise] = field(default_factory=dict)
    of_values: dict[str, Noise] = field(default_factory=dict)


def noises_of(rows: list[Row], metric: str = "accuracy", label: int | None = None) -> Noises:
    """Pool the noise of the trainings of networks; over folds, that of all that a fold changes.

    Rows with a view share other rows' trainings, and ensembles those of their members, so they are left out.
    """
    shares: dict[str, dict[int, float]] = {}
    for row in rows:
        done = [run for run in row.done if not deterministic_run(run) and run.result.kind != "ensemble"]
        if row.view or len(done) < 2 or row.key in shares:
            continue
        with contextlib.suppress(UserError, KeyError, ValueError, IndexError):  # `measure` says what is wrong
            found: dict[int, list[float]] = {}
            for run in distinct(done):
                found.setdefault(run.block, []).append(float(values(run, which(row, "last"), metric, label).mean()))
            shares[row.key] = {block: float(np.mean(each)) for block, each in found.items()}
    blocks = sorted({block for own in shares.values() for block in own}, key=str)
    table = np.array([[own.get(block, np.nan) for block in blocks] for own in shares.values()], float).reshape(
        len(shares), len(blocks)
    )
    found = {key: noise for key, noise in zip(shares, row_noise(table), strict=True) if noise and noise.freedom > 0}
    pooled = [i for i, key in enumerate(shares) if key in found and found[key].rows > 1]
    whole = table[pooled][:, np.isfinite(table[pooled]).all(0)] if pooled else table[:0]
    if whole.shape[0] < 2 or whole.shape[1] < 2:
        return Noises(metric, label, found)
    keys = list(shares)
    return Noises(metric, label, found, {keys[i]: accuracy_noise(found[keys[i]], whole) for i in pooled})


def deterministic_run(run: Run) -> bool:
    """Return whether another seed or fold would give the same result."""
    return run.is_baseline and not run.is_random and run.fold is None


def deterministic(row: Row) -> bool:
    """Return whether a row is a baseline whose result does not depend on the seed."""
    return bool(row.done) and all(map(deterministic_run, row.done))


def own(row: Row, runs: list[Run], several: list[np.ndarray], noises: Noises) -> Estimate:
    """Return the mean of a row's own figure over its runs, and how sure it is.

    Args:
        several: the figure of each image, for every run.
    """
    noise = None if row.view else noises.of_values.get(row.key)
    kind = "share" if noises.metric in SHARES else "measure"
    if runs[0].fold is None:
        return estimate(stacked(runs, several), noise, kind)
    means = by_fold(runs, several)
    if len(means) == 1:
        return estimate(stacked(runs, several), kind=kind)
    return fold_estimate(means, runs[0].folds, sum(map(len, several)), noise, kind)


def run_pairs(row: Row, reference: Row) -> list[tuple[Run, Run]]:
    """Return the pairs of runs of each seed that both rows have; a row without randomness pairs with every seed."""
    if deterministic(row) and deterministic(reference):
        return [(row.done[0], reference.done[0])]
    if deterministic(row):
        return [(row.done[0], run) for run in reference.done]
    if deterministic(reference):
        return [(run, reference.done[0]) for run in row.done]
    ensembles = {run.fold: run for run in row.done if run.result.kind == "ensemble"}
    if len(ensembles) == len(row.done) < len(reference.done):  # one of all seeds is of none of them
        return [(ensembles[run.fold], run) for run in reference.done if run.fold in ensembles]
    its = {(run.fold, run.seed): run for run in reference.done}
    mine = {(run.fold, run.seed): run for run in row.done}
    return [(run, its[block]) for block, run in mine.items() if block in its]


def compared(row: Row, reference: Row, noises: Noises) -> Estimate:
    """Return the mean difference over the pairs of runs, and how sure it is.

    Raises:
        UserError: there is no pair, or not of the same images, or of one fold alone.
    """
    pairs = run_pairs(row, reference)
    if not pairs:
        raise UserError("it shares no seed with the reference row")
    first, second = [], []
    for a, b in pairs:
        if not same(a.predictions["ids"], b.predictions["ids"]):
            raise OtherImages("it was evaluated on other images than the reference row")
        first.append(values(a, which(row, "last"), noises.metric, noises.label))
        second.append(values(b, which(reference, "last"), noises.metric, noises.label))
    of_shares, over_folds = noises.metric in SHARES, pairs[0][0].fold is not None
    if len(pairs) == 1 and of_shares and not over_folds:
        return paired_estimate(first[0], second[0])
    known = [noises.of_differences.get(each.key) for each in (row, reference)]
    paired = not row.view and not reference.view and all(known)
    noise = of_pair(known, known[0] is known[1]) if paired else None
    kind = "difference" if of_shares else "measure"
    differences = [a.astype(float) - b for a, b in zip(first, second, strict=True)]
    if not over_folds:
        return estimate(np.stack(differences), noise, kind)
    runs = [run for run, _ in pairs]
    means = by_fold(runs, differences)
    if len(means) == 1:
        raise UserError("it shares one fold alone with the reference row")
    return fold_estimate(means, runs[0].folds, sum(map(len, differences)), noise, kind)


def further_differences(rows: list[Row], reference: Row, noises: Noises, share: float = 1.0) -> list[Further]:
    """Return the differences of rows from the reference row in one figure. They are one family.

    Args:
        share: of the error, as of `Family`.
    """
    family = Family(len(rows), share=share)
    return [_further(compared(row, reference, noises), family) for row in rows]


def class_differences(rows: list[Row], reference: Row, every: list[Row]) -> dict[str, dict[str, list[Further]]]:
    """Return the differences of recall and precision of all classes, by the key of the row. They are one family."""
    labels = range(len(reference.done[0].result.data["class_names"]))
    family = Family(2 * len(rows) * len(labels), one_reference=False)
    found = {}
    for metric in ("recall", "precision"):
        noises = [noises_of(every, metric, label) for label in labels]
        found[metric] = {row.key: [_further(compared(row, reference, each), family) for each in noises] for row in rows}
    return found


def _further(found: Estimate, family: Family) -> Further:
    return Further(found.value, found.interval(family.level()), family.adjusted(found.p()))
