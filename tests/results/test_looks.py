"""Looks: the bounds against published ones, and how often any look errs, by simulation."""

import numpy as np
import pytest
from helpers.experiments import REPEATS, compared, experiment
from scipy.stats import norm

from deepfake_lit.results.family import LEVEL, Family
from deepfake_lit.results.looks import Looks, exceeded, levels


def test_the_bounds_are_the_published_ones():
    """Five looks: Lan-DeMets bounds of O'Brien-Fleming type, as in Jennison and Turnbull, Group Sequential Methods."""
    bounds = norm.isf(np.array(levels([0.2, 0.4, 0.6, 0.8, 1.0])) / 2)
    assert bounds == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=0.001)
    assert levels([1.0]) == [pytest.approx(LEVEL)]


def test_looking_five_times_without_paying_errs_as_often_as_armitage_says():
    assert exceeded([0.2, 0.4, 0.6, 0.8, 1.0], [0.05] * 5) == pytest.approx(0.142, abs=0.001)  # JRSS A 132, 1969


def test_one_look_costs_nothing():
    assert (Looks((3,), 3).level(), Looks((3,), 3).text, Looks((3,), 1).level()) == (pytest.approx(LEVEL), "", LEVEL)
    assert Looks((1,), 3).level() == pytest.approx(LEVEL)  # a plan of one seed has no verdicts to look at


def test_looks_are_counted_and_paid_for():
    look = Looks((3, 6, 10), 6)
    assert look.taken == (3, 6)
    assert look.level() == pytest.approx(levels([0.3, 0.6, 1.0])[1])
    assert "Look 2, at 6 of 10 declared seeds" in look.text
    assert Looks((3, 6, 10), 4).taken == (3, 4)  # a page of a plan that is not done
    assert Looks((10,), 4).level() < 0.001


def test_undeclared_looks_are_told():
    look = Looks((3,), 10)
    assert look.level() == pytest.approx(LEVEL)
    assert look.error() == pytest.approx(exceeded([0.3, 1.0], [0.05, 0.05]))
    assert "not in 5 %" in look.text
    assert f"{look.error():.1%}" == "8.9%"


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_any_look_errs_as_seldom_as_one(noise):
    if not REPEATS and noise == 0.3:
        pytest.skip("make test-statistics simulates it")
    random, looks, repeats = np.random.default_rng(11), (3, 6, 10), REPEATS or 60
    paid, unpaid = 0, 0
    for _ in range(repeats):
        answers = experiment(random, 4, 10, noise, images=600)
        found = {n: [d.p() for d in compared(answers[:, :n])] for n in looks}
        paid += any(Family(3, True, Looks(looks, n).level() / LEVEL).adjusted(min(p)) < LEVEL for n, p in found.items())
        unpaid += any(Family(3).adjusted(min(p)) < LEVEL for p in found.values())
    print(f"\nlooks at 3, 6, 10 seeds, noise {noise}: any errs {paid / repeats:.3f}, unpaid {unpaid / repeats:.3f}")
    assert paid / repeats < 0.055 + 3 * np.sqrt(0.05 * 0.95 / repeats)
    assert paid <= unpaid
