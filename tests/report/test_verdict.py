"""Verdicts as values: what a measured difference says about a claimed one."""

import numpy as np
import pytest
from helpers.made_up_runs import N

from deepfake_lit.report.verdict import judge
from deepfake_lit.results.comparison import Estimate, estimate
from deepfake_lit.results.family import Family
from deepfake_lit.settings.report_file import MORE


def spread(value: float, sd: float, seeds: int = 3, single: float = 2.0) -> Estimate:
    """A mean difference with that standard error; that of one more pair of trainings is so many times as large."""
    return Estimate(value, sd**2, 1000.0, seeds, 1250, (single * sd) ** 2, 1000.0)


PAIR = "differs in this one pair of trainings"


@pytest.mark.parametrize(
    ("difference", "claim", "settings", "kind", "words"),
    [
        (spread(0.03, 0.01), 0.02, {}, "real", "real, as large as claimed"),
        (spread(0.03, 0.01), 0.09, {}, "real", "real, smaller than claimed"),
        (spread(0.09, 0.01), 0.02, {}, "real", "real, larger than claimed"),
        (spread(0.03, 0.01), None, {}, "real", "real"),
        (spread(-0.03, 0.01), 0.03, {}, "contradicted", "contradicted"),
        (spread(-0.03, 0.01), 0.005, {}, "real", "real, the other way round"),  # one more pair could show +0.5
        (spread(0.0, 0.005), 0.022, {}, "contradicted", "contradicted"),
        (spread(0.0, 0.007), 0.015, {}, "unsettled", "not settled"),  # one more pair could show the claim
        (spread(0.01, 0.01), 0.02, {}, "unsettled", "not settled"),
        (spread(0.002, 0.003), 0.003, {}, "same", "the same within 1 point"),
        (spread(0.002, 0.003), None, {"margin": 0.005}, "unsettled", "not settled"),
        (spread(0.0, 0.005), 0.022, {"scale": "cpu"}, "unseen", "not seen at this scale"),
        (spread(0.03, 0.01), 0.02, {"scale": "cpu"}, "real", "real, as large as claimed, at scale cpu"),
        (spread(0.01, 0.02, seeds=1), 0.02, {}, "unsettled", "not settled with 1 seed"),
        (spread(0.03, 0.01, seeds=1), None, {}, "single", PAIR),
        (
            spread(0.03, 0.01, seeds=1),
            0.02,
            {},
            "single",
            "differs in this one pair of trainings, in the claimed direction",
        ),
        (spread(0.03, 0.01, seeds=1), -0.02, {}, "single", "differs in this one pair of trainings, against the claim"),
        (spread(0.0301, 0.01, seeds=1), 0.031, {"deterministic": True}, "reproduced", "reproduced"),
        (spread(0.03, 0.01, seeds=1), 0.035, {"deterministic": True}, "contradicted", "contradicted"),
        (spread(0.03, 0.01, seeds=1), None, {"deterministic": True}, "real", "real"),
    ],
)
def test_verdicts(difference, claim, settings, kind, words):
    found = judge(difference, Family(1), claim and (claim, claim), **settings)
    assert (found.kind, found.text) == (kind, words)


@pytest.mark.parametrize(
    ("difference", "settings", "words"),
    [
        (spread(0.03, 0.01), {}, "real, as claimed"),
        (spread(0.2, 0.01), {}, "real, as claimed"),
        (spread(-0.06, 0.01), {}, "contradicted"),
        (spread(-0.03, 0.01), {}, "real, the other way round"),  # one more pair could go in the claimed direction
        (spread(0.01, 0.01), {}, "not settled"),
        (spread(0.03, 0.01, seeds=1), {}, "differs in this one pair of trainings, in the claimed direction"),
        (spread(0.03, 0.01, seeds=1), {"deterministic": True}, "real, as claimed"),
        (spread(0.0005, 0.01, seeds=1), {"deterministic": True}, "not settled"),
    ],
)
def test_a_claim_of_a_direction_alone_has_a_verdict(difference, settings, words):
    assert judge(difference, Family(1), MORE, **settings).text == words


def test_a_claim_is_contradicted_by_a_p_that_is_corrected_for_all_claims():
    difference = spread(0.0, 0.005)
    assert judge(difference, Family(1), (0.022, 0.022)).p == pytest.approx(difference.p_of_single(0.022))
    assert judge(difference, Family(20), (0.022, 0.022)).kind == "unsettled"
    assert "differences above 1.9 points would have been seen" in judge(difference, Family(20)).reason


@pytest.mark.slow
def test_an_honest_report_is_seldom_contradicted():
    """Its figure is of one pair of trainings of the same recipe on the same images, not of a mean."""
    random, contradicted = np.random.default_rng(0), 0
    hard = random.normal(2.2, 1, N)

    def trained(seeds: int) -> np.ndarray:
        score = hard + random.normal(0, 0.12, (seeds, 1)) + random.normal(0, 0.5, (seeds, N))
        return (score > 0).astype(int)

    for _ in range(200):
        (claim,) = trained(1).mean(1) - trained(1).mean(1)
        mean = estimate(trained(3) - trained(3))
        contradicted += judge(mean, Family(1), (claim, claim)).kind == "contradicted"
    assert contradicted < 20
