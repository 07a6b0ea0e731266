"""Seeds until it is settled: what a look is worth, and by simulation how often it errs and how much it saves."""

import numpy as np
import pytest
from helpers.experiments import REPEATS, experiment

from deepfake_lit.results.comparison import Estimate, estimate
from deepfake_lit.results.family import LEVEL, Family
from deepfake_lit.results.noise import of_pair, row_noise
from deepfake_lit.results.sequential import Open, chance_of_verdict, level_of, next_look
from deepfake_lit.studies.plan import LOOKS

MARGIN = 0.01
# Points that the rows are better than the reference: as large as report B's claims, and two rows that are not better.
TRUE = (0.0, 0.0, 1.2, 1.5, 2.2, 2.8, 3.1)
FIXED = 10  # seeds of every row, in the plan that is compared


def found(value: float, training=1e-5, images=1e-5, rest=1e-6, seeds=3) -> Estimate:
    parts = {"training": training, "images": images, "rest": rest}
    return Estimate(value, sum(parts.values()), 20.0, seeds, 1250, parts=parts)


def test_a_look_is_worth_what_it_may_settle():
    chances = [chance_of_verdict(found(value), 10, 0.05, MARGIN) for value in (0.0, 0.006, 0.02, 0.05)]
    assert chances[3] > 0.99
    assert chances[1] < chances[2] < chances[3]
    assert chance_of_verdict(found(0.006, training=1e-7, images=9e-5), 10, 0.05, MARGIN) < 0.01  # the images decide
    assert chance_of_verdict(found(0.006, training=0, rest=0), 10, 0.05, MARGIN) == 0
    assert chance_of_verdict(found(0.0, images=1e-7), 100, 0.05, MARGIN) > 0.9  # it will be the same


def test_the_likeliest_verdict_for_the_money_comes_first():
    near, far = (Open((name, "reference"), found(value), Family(2)) for name, value in (("near", 0.012), ("far", 0.03)))
    assert next_look([near, far], LOOKS, MARGIN, lambda rows, seeds: seeds)[0] is far
    dear = next_look([near, far], LOOKS, MARGIN, lambda rows, seeds: 1 if "near" in rows else 1000)
    assert dear[0] is near
    assert next_look([Open(("a", "b"), found(0.005, 1e-7, 9e-5), Family(2))], LOOKS, MARGIN, lambda *_: 1) is None
    assert next_look([], LOOKS, MARGIN, lambda *_: 1) is None


def measured(answers: np.ndarray, seeds: np.ndarray) -> list[Estimate]:
    """The differences of the rows from the first one, over the seeds that both have."""
    shares = np.where(np.arange(answers.shape[1]) < seeds[:, None], answers.mean(2), np.nan)
    noises = row_noise(shares)
    pairs = np.minimum(seeds[1:], seeds[0])
    return [
        estimate(row[:n] - answers[0, :n], of_pair([noise, noises[0]], noise is noises[0]))
        for row, n, noise in zip(answers[1:], pairs, noises[1:], strict=True)
    ]


def verdict(each: Estimate, level: float) -> str:
    if each.p() < level:
        return "real"
    return "same" if each.p_of_margin(MARGIN) < level else ""


def until_settled(answers: np.ndarray) -> tuple[list[str], int]:
    """The verdicts, and how many trainings they took."""
    family, seeds = Family(len(answers) - 1), np.full(len(answers), LOOKS[0])
    verdicts = [""] * (len(answers) - 1)
    while True:
        every = measured(answers, seeds)
        for i, each in enumerate(every):  # a claim that has its verdict is not looked at again
            if not verdicts[i] and each.seeds in LOOKS:
                verdicts[i] = verdict(each, level_of(each, family, LOOKS, each.seeds))
        left = [Open((str(i + 1), "0"), each, family) for i, each in enumerate(every) if not verdicts[i]]

        def cost(rows, look, seeds=seeds):
            return max(sum(look - seeds[int(row)] for row in rows), 1)

        found = next_look(left, LOOKS, MARGIN, cost)
        if found is None:
            return verdicts, int(seeds.sum())
        for row in found[0].rows:
            seeds[int(row)] = max(seeds[int(row)], found[1])


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_it_errs_as_seldom_and_takes_fewer_trainings(noise):
    """`make test-statistics` simulates 1,000 studies."""
    if not REPEATS and noise == 1.0:
        pytest.skip("make test-statistics simulates it")
    random, repeats = np.random.default_rng(5), REPEATS or 40
    wrong, power, trainings = np.zeros(2), np.zeros(2), np.zeros(2)
    for _ in range(repeats):
        answers = experiment(random, len(TRUE) + 1, FIXED, noise, np.array(TRUE))
        family = Family(len(TRUE))
        fixed = [verdict(each, family.level()) for each in measured(answers, np.full(len(answers), FIXED))]
        for i, (verdicts, number) in enumerate(((fixed, len(answers) * FIXED), until_settled(answers))):
            trainings[i] += number
            wrong[i] += any(v == "real" and not true for v, true in zip(verdicts, TRUE, strict=True)) or any(
                v == "same" and true >= 1 for v, true in zip(verdicts, TRUE, strict=True)
            )
            power[i] += np.mean([v == "real" for v, true in zip(verdicts, TRUE, strict=True) if true])
    wrong, power, saved = wrong / repeats, power / repeats, 1 - trainings[1] / trainings[0]
    print(
        f"\nnoise {noise}, fixed at {FIXED} seeds / until settled: any errs {wrong[0]:.3f} / {wrong[1]:.3f}, "
        f"power {power[0]:.3f} / {power[1]:.3f}, trainings saved {saved:.0%}"
    )
    assert wrong[1] < LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) / repeats)
    assert power[1] > power[0] - 0.03 - 1 / repeats
    assert saved > 0.28
