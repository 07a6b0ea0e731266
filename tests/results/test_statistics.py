"""Paired comparisons against scipy and statsmodels' formulas, and by simulation."""

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar

from deepfake_lit.results.statistics import newcombe, paired, wilson_interval


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


def test_mcnemar_is_statsmodels_s():
    assert paired(*table(900, 40, 20, 40)).p == pytest.approx(mcnemar([[900, 40], [20, 40]], exact=True).pvalue)
