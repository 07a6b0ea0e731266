"""The comparison of rows over seeds and images: oracles of statsmodels and scipy, and simulated experiments.

`SIMULATIONS=500 pytest -s tests/results/test_comparison.py` (make test-statistics) prints the rates behind the page.
"""

import numpy as np
import pandas
import pytest
from helpers.experiments import REPEATS, compared, experiment
from scipy.stats import dunnett, ttest_1samp
from scipy.stats import t as student_t
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.weightstats import ttost_paired

from deepfake_lit.core.metrics import METRICS
from deepfake_lit.results.comparison import estimate, fold_estimate, paired_estimate
from deepfake_lit.results.family import Family
from deepfake_lit.results.noise import Noise, accuracy_noise, row_noise
from deepfake_lit.results.statistics import wilson_interval


def anova(frame: pandas.DataFrame, formula: str, term: str) -> tuple[float, float]:
    """Return mean square and degrees of freedom of a term, by statsmodels."""
    table = anova_lm(ols(formula, frame).fit(), typ=2)
    return table["sum_sq"][term] / table["df"][term], table["df"][term]


def long(table: np.ndarray) -> pandas.DataFrame:
    rows, seeds = np.nonzero(np.isfinite(table))
    return pandas.DataFrame({"y": table[rows, seeds], "r": rows, "s": seeds})


def test_the_noise_is_the_mean_square_of_row_and_seed():
    table = np.random.default_rng(0).normal(0.9, 0.003, (6, 3)) + np.array([0.01, 0, -0.01])
    noises = row_noise(table)
    square, freedom = anova(long(table), "y ~ C(r) + C(s)", "Residual")
    assert all(noise == noises[0] for noise in noises)
    assert (noises[0].variance, noises[0].freedom) == (pytest.approx(square), freedom)


def test_missing_trainings_leave_gaps_that_nothing_falls_into():
    table = np.random.default_rng(10).normal(0.9, 0.003, (5, 4))
    table[1, 2] = table[3, 0] = np.nan
    square, freedom = anova(long(table), "y ~ C(r) + C(s)", "Residual")
    (noise,) = set(row_noise(table))
    assert (noise.variance, noise.freedom) == (pytest.approx(square), freedom)
    table[4, 1:] = np.nan
    assert row_noise(table)[4] is None


@pytest.mark.filterwarnings("error")
def test_seeds_that_no_other_row_has_are_no_matter():
    table = np.full((3, 5), np.nan)
    table[0, :2], table[1, :2], table[2, 2:4] = (0.90, 0.91), (0.90, 0.92), (0.88, 0.90)
    assert row_noise(table)[1].variance == pytest.approx(1e-4 / 3)
    assert row_noise(table[:1]) == [None]


@pytest.mark.parametrize("failed", [1, 2, 3])
def test_failed_trainings_count_for_their_rows_alone(failed):
    table = np.random.default_rng(2).normal(0.9, 0.003, (8, 3))
    expected = row_noise(table[failed:])[0]
    table[range(failed), 1] = 0.2
    noises = row_noise(table)
    assert [noise.variance for noise in noises[failed:]] == pytest.approx([expected.variance] * (8 - failed))
    assert all(noise.variance > 100 * expected.variance for noise in noises[:failed])


def test_the_noise_of_an_accuracy_holds_what_seeds_do_to_all_rows():
    """Its expectation is the variance of one row's trainings."""
    random, found, own = np.random.default_rng(3), [], []
    for _ in range(400):
        table = random.normal(0, 0.003, (6, 3)) + random.normal(0, 0.004, 3)
        found.append(accuracy_noise(row_noise(table)[0], table).variance)
        own.append(table[0].var(ddof=1))
    assert np.mean(found) == pytest.approx(0.003**2 + 0.004**2, rel=0.1)
    assert np.var(found) < np.var(own)


def test_where_all_images_answer_alike_it_is_student_s_test():
    values = np.repeat([[0.02], [0.05], [0.08]], 50, axis=1)
    found = estimate(values)
    assert found.interval() == pytest.approx(student_t.interval(0.95, 2, loc=0.05, scale=0.03 / np.sqrt(3)))
    assert found.p() == pytest.approx(ttest_1samp([0.02, 0.05, 0.08], 0).pvalue)
    assert found.p_of_single(0.01) == pytest.approx(2 * student_t.sf(0.04 / 0.03 / np.sqrt(4 / 3), 2))
    pooled = estimate(values, Noise(0.0009, 10))
    assert pooled.interval() == pytest.approx(student_t.interval(0.95, 10, loc=0.05, scale=0.03 / np.sqrt(3)))


def test_where_all_trainings_answer_alike_it_is_student_s_test_over_images():
    values = np.repeat(np.random.default_rng(4).integers(-1, 2, (1, 300)), 3, axis=0)
    found = estimate(values, Noise(0.0, 4))
    assert found.p() == pytest.approx(ttest_1samp(values[0], 0).pvalue, rel=1e-6)
    one_sided, _, _ = ttost_paired(values[0].astype(float), np.zeros(300), -0.1, 0.1)
    assert found.p_of_margin(0.1) == pytest.approx(one_sided, rel=1e-6)


def test_over_folds_it_is_nadeau_and_bengio_s_corrected_t():
    means = np.array([0.02, 0.05, 0.03, 0.01, 0.04])
    found = fold_estimate(means, 5, 1000)
    error = means.std(ddof=1) * np.sqrt(1 / 5 + (1 / 5) / (4 / 5))  # test images to training images
    assert found.interval() == pytest.approx(student_t.interval(0.95, 4, loc=0.03, scale=error))
    assert found.p() == pytest.approx(2 * student_t.sf(0.03 / error, 4))
    assert found.parts == pytest.approx({"folds": means.var(ddof=1) / 5, "overlap": means.var(ddof=1) / 4})
    pooled = fold_estimate(means, 5, 1000, Noise(0.0001, 20))
    assert (pooled.variance, pooled.freedom) == (pytest.approx(0.0001 * 0.45), 20)


def test_a_measure_that_is_no_share_has_student_s_interval():
    losses = np.random.default_rng(12).exponential(0.2, (1, 400))
    found = estimate(losses, kind="measure")
    error = losses.std(ddof=1) / 20
    assert found.interval() == pytest.approx(student_t.interval(0.95, 399, loc=losses.mean(), scale=error))
    assert found.counts is None


@pytest.mark.parametrize("metric", ["log_loss", "calibration_error"])
def test_intervals_of_other_metrics_cover(metric):
    """Of trainings whose probabilities are too sure; what is covered is the mean over many experiments."""
    random, repeats = np.random.default_rng(13), REPEATS or 80

    def one() -> np.ndarray:
        logits = random.normal(0, 1.5, (600, 3)) + random.normal(0, 0.1, (3, 1, 3)) + random.normal(0, 0.4, (3, 600, 3))
        drawn = logits[0] + random.gumbel(0, 1, (600, 3))  # labels as likely as a softmax of the logits
        p = np.exp(1.8 * logits)
        p = (p / p.sum(2, keepdims=True)).astype(np.float32)
        return np.stack([METRICS[metric].of_images(each, drawn.argmax(1)) for each in p])

    truth = float(np.mean([one().mean() for _ in range(300)]))
    ends = [estimate(one(), kind="measure").interval() for _ in range(repeats)]
    covered = np.mean([low <= truth <= high for low, high in ends])
    print(f"\n{metric}: coverage {covered:.3f}")
    assert covered > 0.94 - 3 * np.sqrt(0.05 * 0.95 / repeats)


def test_one_pair_has_mcnemar_s_p_and_one_row_wilson_s_interval():
    first, second = (
        np.repeat([True, True, False, False], [900, 40, 20, 40]),
        np.repeat([True, False, True, False], [900, 40, 20, 40]),
    )
    assert paired_estimate(first, second).p() == pytest.approx(mcnemar([[900, 40], [20, 40]], exact=True).pvalue)
    assert estimate(first[None], kind="share").interval() == pytest.approx(wilson_interval(0.94, 1000))


def test_where_hardly_an_image_differs_these_images_decide():
    values = np.zeros((3, 1000), int)
    values[:, :2] = 1
    found = estimate(values)
    assert found.p() == 0.5
    assert found.interval()[0] < 0


@pytest.mark.parametrize("size", [2, 5, 11])
def test_a_family_with_one_reference_is_dunnett_s(size):
    """With so many degrees of freedom that Student's t is the normal distribution, as in scipy's own."""
    random = np.random.default_rng(5)
    rows = random.normal(0, 1, (size + 1, 4000))
    rows[1] += 0.06
    pooled = rows.var(1, ddof=1).mean()
    expected = dunnett(*rows[1:], control=rows[0], random_state=0)
    for row, p in zip(rows[1:], expected.pvalue, strict=True):
        z = abs(row.mean() - rows[0].mean()) / np.sqrt(2 * pooled / 4000)
        own = 2 * student_t.sf(z, (size + 1) * 3999)
        assert Family(size).adjusted(own) == pytest.approx(p, abs=0.005)


def test_p_is_below_the_level_exactly_where_the_interval_is_without_zero():
    random = np.random.default_rng(6)
    for size, one in ((1, True), (4, True), (26, True), (9, False)):
        family = Family(size, one)
        assert family.adjusted(family.level()) == pytest.approx(0.05, abs=1e-6)
        for _ in range(50):
            found = estimate(random.random((3, 200)) - random.uniform(0.4, 0.6))
            low, high = found.interval(family.level())
            assert (family.adjusted(found.p()) < 0.05) == (not low <= 0 <= high)


def test_what_is_detectable_is_detected_in_four_of_five_experiments():
    random, found = np.random.default_rng(7), []
    for _ in range(400):
        base = estimate(random.normal(0, 1, (3, 100)) + random.normal(0, 0.1, (3, 1)), Noise(0.02, 20))
        shifted = estimate(
            random.normal(base.detectable(), 1, (3, 100)) + random.normal(0, 0.1, (3, 1)), Noise(0.02, 20)
        )
        found.append(shifted.p() < 0.05)
    assert 0.72 < np.mean(found) < 0.88


def rates(repeats: int, truth: float = 0.0, margin: float = 0.01, **settings) -> dict[str, float]:
    """Return how often single intervals cover, any row is called different, a row is found, and called the same."""
    random = np.random.default_rng(8)
    family = Family(settings["rows"] - 1)
    covered, any_wrong, found, same = [], [], [], []
    for _ in range(repeats):
        differences = compared(experiment(random, points=100 * truth, **settings))
        ends = [d.interval() for d in differences]
        covered += [low <= truth <= high for low, high in ends]
        real = [family.adjusted(d.p()) < 0.05 for d in differences]
        any_wrong.append(any(real))
        found += real
        same += [d.p_of_margin(margin) < 0.05 for d in differences]
    return {"coverage": np.mean(covered), "family": np.mean(any_wrong), "power": np.mean(found), "same": np.mean(same)}


CASES = {
    "6 rows, 3 seeds": {"rows": 6, "seeds": 3, "noise": 0.3},
    "6 rows, 3 seeds, no noise": {"rows": 6, "seeds": 3, "noise": 0.0},
    "6 rows, 3 seeds, much noise": {"rows": 6, "seeds": 3, "noise": 1.0},
    "2 rows, 2 seeds": {"rows": 2, "seeds": 2, "noise": 0.3},
    "2 rows, 3 seeds": {"rows": 2, "seeds": 3, "noise": 0.3},
    "2 rows, 10 seeds": {"rows": 2, "seeds": 10, "noise": 0.3},
    "12 rows, 2 seeds": {"rows": 12, "seeds": 2, "noise": 0.3},
    "27 rows, 2 seeds": {"rows": 27, "seeds": 2, "noise": 0.3},
    "6 rows, 10 seeds": {"rows": 6, "seeds": 10, "noise": 0.3},
    "heavy tails": {"rows": 6, "seeds": 3, "noise": 0.5, "heavy": True},
    "2 failed of 24": {"rows": 8, "seeds": 3, "noise": 0.3, "failed": 2},
    "3 noisy rows of 12": {"rows": 12, "seeds": 3, "noise": [0.3, 1.0, 1.0, 1.0, *[0.3] * 8]},
}


@pytest.mark.parametrize("name", CASES)
def test_intervals_cover_and_families_err_as_often_as_they_say(name):
    if not REPEATS and name not in ("6 rows, 3 seeds", "2 failed of 24"):
        pytest.skip("make test-statistics simulates it")
    repeats = REPEATS or 100
    found = rates(repeats, **CASES[name])
    said = f"coverage {found['coverage']:.3f}, any false difference {found['family']:.3f}, same {found['same']:.3f}"
    print(f"\n{name}: {said}")
    wide = 3 * np.sqrt(0.05 * 0.95 / repeats)
    assert found["coverage"] > 0.94 - wide
    assert found["family"] < (0.07 if "noisy" in name else 0.055) + wide


@pytest.mark.parametrize(("points", "least"), [(1, 0.1), (2, 0.6), (3, 0.95)])
def test_differences_of_a_few_points_are_found(points, least):
    if not REPEATS and points != 2:
        pytest.skip("make test-statistics simulates it")
    found = rates(REPEATS or 60, truth=points / 100, rows=6, seeds=3, noise=0.25)
    print(f"\n6 rows, 3 seeds, a difference of about {points} points: power {found['power']:.3f}")
    assert found["power"] > least - 0.1


def test_at_the_margin_it_is_seldom_called_the_same():
    if not REPEATS:
        pytest.skip("make test-statistics simulates it")
    random, truth = np.random.default_rng(9), []
    for _ in range(40):
        answers = experiment(random, 2, 2, 0.25, points=1.0, images=20_000)
        truth.append(answers[1].mean() - answers[0].mean())
    margin = float(np.mean(truth))
    found = rates(REPEATS, truth=0.01, margin=margin, rows=6, seeds=3, noise=0.25)
    print(f"\nat a margin of {100 * margin:.2f} points, the true difference: called the same {found['same']:.3f}")
    assert found["same"] < 0.05 + 3 * np.sqrt(0.05 * 0.95 / REPEATS)
