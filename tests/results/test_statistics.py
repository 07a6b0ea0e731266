"""Paired comparisons against scipy and statsmodels' formulas, and by simulation."""

import numpy as np
import pandas
import pytest
from scipy.special import expit
from scipy.stats import binomtest, ttest_1samp
from scipy.stats import t as student_t
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from deepfake_lit.results.statistics import (
    SeedNoise,
    holm,
    mean_over,
    newcombe,
    paired,
    pooled_noise,
    seeds_needed,
    wilson_interval,
)


def table(both, gained, lost, neither):
    first = np.repeat([True, True, False, False], [both, gained, lost, neither])
    second = np.repeat([True, False, True, False], [both, gained, lost, neither])
    return first, second


def test_mcnemar_is_the_sign_test_on_the_images_that_differ():
    found = paired(*table(900, 40, 20, 40))
    assert found.p == pytest.approx(binomtest(40, 60).pvalue)
    assert (found.gained, found.lost, found.difference) == (40, 20, pytest.approx(0.02))
    assert paired(*table(5, 0, 0, 5)).p == 1.0


def test_the_interval_is_turned_round_with_the_order():
    first, second = table(900, 40, 20, 40)
    low, high = paired(first, second).interval
    assert paired(second, first).interval == pytest.approx((-high, -low))
    assert low < 0.02 < high


def test_without_correlation_it_is_the_interval_of_independent_proportions():
    """Newcombe's method 10 for unpaired data, where phi is 0."""
    both, gained, lost, neither = 40, 40, 10, 10  # p1 0.8, p2 0.5, phi 0
    (l1, u1), (l2, u2) = wilson_interval(0.8, 100), wilson_interval(0.5, 100)
    expected = (0.3 - np.hypot(0.8 - l1, u2 - 0.5), 0.3 + np.hypot(u1 - 0.8, 0.5 - l2))
    assert newcombe(both, gained, lost, neither) == pytest.approx(expected)


@pytest.mark.parametrize("shares", [(0.88, 0.05, 0.03, 0.04), (0.6, 0.2, 0.1, 0.1), (0.97, 0.02, 0.005, 0.005)])
def test_it_covers_the_truth_in_95_of_100_samples(shares):
    counts = np.random.default_rng(0).multinomial(1250, shares, 4000)
    truth = shares[1] - shares[2]
    covered = [low <= truth <= high for low, high in (newcombe(*row.tolist()) for row in counts)]
    assert 0.94 < np.mean(covered) < 0.965


@pytest.mark.parametrize("counts", [(10, 0, 0, 0), (0, 10, 0, 0), (0, 0, 0, 10), (5, 0, 0, 5)])
def test_extreme_tables_have_an_interval(counts):
    low, high = newcombe(*counts)
    assert -1 <= low <= (counts[1] - counts[2]) / 10 <= high <= 1


def anova(values):
    """Mean squares (seeds, images, rest) of the two-way layout, by statsmodels."""
    seeds, images = np.indices(values.shape)
    frame = pandas.DataFrame({"y": values.ravel().astype(float), "s": seeds.ravel(), "i": images.ravel()})
    table = anova_lm(ols("y ~ C(s) + C(i)", frame).fit())
    return table["mean_sq"]["C(s)"], table["mean_sq"]["C(i)"], table["mean_sq"]["Residual"]


def test_components_are_those_of_the_analysis_of_variance():
    values = np.random.default_rng(3).random((3, 40)) < np.linspace(0.4, 0.95, 40)
    values[0, :8] = True
    ms_seeds, ms_images, ms_rest = anova(values)
    between_seeds, between_images, rest = mean_over(values).components
    assert rest == pytest.approx(ms_rest)
    assert between_seeds == pytest.approx(max(ms_seeds - ms_rest, 0) / 40)
    assert between_images == pytest.approx(max(ms_images - ms_rest, 0) / 3)


def test_with_seeds_alone_it_is_student_s_interval():
    """Where all images answer alike there is nothing between them: the t interval of the seeds' means."""
    values = np.repeat([[0.2], [0.5], [0.8]], 50, axis=1)
    found = mean_over(values)
    low, high = student_t.interval(0.95, 2, loc=0.5, scale=0.3 / np.sqrt(3))
    assert found.interval == pytest.approx((max(low, 0), min(high, 1)))
    single = student_t.interval(0.95, 2, loc=0.5, scale=0.3 * np.sqrt(1 / 3 + 1))  # of one more training
    assert found.single == pytest.approx((max(single[0], 0), min(single[1], 1)))
    assert found.p == pytest.approx(ttest_1samp([0.2, 0.5, 0.8], 0).pvalue)


@pytest.mark.parametrize(("seed_noise", "seeds"), [(0.0, 3), (0.15, 3), (0.15, 5), (0.4, 5)])
def test_the_interval_over_seeds_and_images_covers_the_truth(seed_noise, seeds):
    random = np.random.default_rng(0)
    truth = expit(random.normal(2.2, np.hypot(1, seed_noise), 1_000_000)).mean()
    covered = []
    for _ in range(300):
        score = random.normal(2.2, seed_noise, (seeds, 1)) + random.normal(0, 1, (1, 600))
        low, high = mean_over(random.random((seeds, 600)) < expit(score)).interval
        covered.append(low <= truth <= high)
    assert np.mean(covered) > 0.91


def test_two_seeds_a_row_find_differences_by_the_noise_of_all_rows():
    random = np.random.default_rng(2)
    covered, lengths = [], []
    for _ in range(100):
        images = random.normal(0, 1, (1, 600))
        scores = [2.2 + random.normal(0, 0.15, (2, 1)) + images for _ in range(12)]
        rows = [random.random((2, 600)) < expit(score) for score in scores]
        noise, counted = pooled_noise(rows)
        assert noise.freedom == sum(counted) >= 10
        difference = rows[0].astype(int) - rows[1].astype(int)
        found = mean_over(difference, SeedNoise(2 * noise.variance, noise.freedom))
        covered.append(found.interval[0] <= 0 <= found.interval[1])
        lengths.append([m.interval[1] - m.interval[0] for m in (found, mean_over(difference))])
    assert 0.9 < np.mean(covered) <= 1
    assert np.median(lengths, 0)[0] < 0.8 * np.median(lengths, 0)[1]
    # Student's t of the seeds' means alone, with twelve rows' degrees of freedom
    values = np.repeat([[0.2], [0.4]], 50, axis=1)
    low, high = student_t.interval(0.95, 12, loc=0.3, scale=0.1 / np.sqrt(2))
    found = mean_over(values, SeedNoise(0.01, 12))
    assert (found.interval, found.rows) == (pytest.approx((low, high)), 12)


def test_a_row_with_a_failed_training_does_not_count_for_the_others():
    random = np.random.default_rng(5)
    rows = [random.random((2, 1000)) < 0.9 for _ in range(10)]
    alone, _ = pooled_noise(rows)
    failed = np.stack([random.random(1000) < 0.9, random.random(1000) < 0.2])
    noise, counted = pooled_noise([*rows, failed])
    assert counted == [True] * 10 + [False]
    assert noise == alone
    weighted, _ = pooled_noise([random.random((seeds, 1000)) < 0.9 for seeds in (2, 3, 5)])
    assert weighted.freedom == 7


def test_one_seed_has_the_interval_over_images_and_none_over_seeds():
    values = np.repeat([[True, False]], [60, 40], axis=1)
    found = mean_over(values)
    assert (found.interval, found.components) == (tuple(wilson_interval(0.6, 100)), None)


def test_more_seeds_are_needed_for_smaller_differences_and_more_noise():
    random = np.random.default_rng(0)
    noisy = mean_over((random.random((3, 500)) < np.array([[0.80], [0.84], [0.88]])).astype(int))
    calm = mean_over((random.random((3, 500)) < 0.84).astype(int))
    assert seeds_needed(noisy, 0.05) > seeds_needed(noisy, 0.2) >= 2
    assert seeds_needed(noisy, 0.08) > (seeds_needed(calm, 0.08) or 0)
    images = mean_over(np.repeat(random.random((1, 100)) < 0.5, 3, axis=0).astype(int))
    assert seeds_needed(images, 0.001) is None  # all seeds are alike: only more images would help


def test_the_number_of_seeds_has_the_power_that_it_says():
    """At that number 4 of 5 experiments find the difference."""
    random = np.random.default_rng(1)

    def difference(seeds):
        a = random.random((seeds, 400)) < np.clip(random.normal(0.85, 0.02, (seeds, 1)), 0, 1)
        b = random.random((seeds, 400)) < np.clip(random.normal(0.81, 0.02, (seeds, 1)), 0, 1)
        return mean_over(a.astype(int) - b.astype(int))

    needed = int(np.median([seeds_needed(difference(4), 0.04) or 1000 for _ in range(60)]))
    found = np.mean([difference(needed).p < 0.05 for _ in range(200)])
    assert 0.6 < found < 0.97


def test_holm_is_statsmodels_s():
    p = np.random.default_rng(0).random(9) ** 3
    np.testing.assert_allclose(holm(p.tolist()), multipletests(p, method="holm")[1])
    assert holm([]) == []


def test_mcnemar_is_statsmodels_s():
    assert paired(*table(900, 40, 20, 40)).p == pytest.approx(mcnemar([[900, 40], [20, 40]], exact=True).pvalue)


@pytest.mark.parametrize("count", [1, 3, 10, 97, 1250, 100_000])
def test_an_interval_does_not_pass_the_ends(count):
    for share in (0.0, 1.0):
        low, high = wilson_interval(share, count)
        assert 0.0 <= low < high <= 1.0
        assert "-" not in f"{low:.4f} {high:.4f}"
