"""How well scores tell unknown images from known ones."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepfake_lit.results.open_set import compared, estimated, of_images, oscr, separation


def test_auroc_is_scikit_learn_s_with_ties():
    random = np.random.default_rng(0)
    known, unknown = random.integers(0, 8, 300) / 4, random.integers(2, 10, 100) / 4
    labels = np.repeat([0, 1], [300, 100])
    wanted = roc_auc_score(labels, np.concatenate([known, unknown]))
    assert separation(known, unknown)["auroc"] == pytest.approx(wanted)


def test_fpr_counts_unknown_images_below_the_score_that_keeps_95_percent():
    assert separation(np.arange(100), np.array([10.0, 94, 95, 96]))["fpr95"] == 0.75  # 95 keeps 96 of 100


def test_oscr_is_the_area_under_its_curve():
    random = np.random.default_rng(1)
    known, unknown, right = random.random(200), random.random(150) + 0.3, random.random(200) < 0.8
    thresholds = np.sort(np.concatenate([known, unknown]))
    kept = [((known <= t) & right).mean() for t in thresholds]
    taken = [(unknown <= t).mean() for t in thresholds]
    area = np.trapezoid([0, *kept], [0, *taken])
    assert oscr(known, right, unknown) == pytest.approx(area, abs=1e-3)
    assert oscr(known, np.ones(200, bool), unknown) == pytest.approx(separation(known, unknown)["auroc"])


def drawn(random, count: int = 150) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    known = np.arange(count) < 2 * count // 3
    scores = np.where(known, random.normal(0, 1, count), random.normal(1.2, 1.3, count))
    return scores, known, random.random(count) < 0.9


def test_what_images_give_has_the_metric_as_its_mean():
    scores, known, right = drawn(np.random.default_rng(2))
    order = np.random.default_rng(3).permutation(150)  # known and unknown images can be mixed
    found = of_images(scores[order], known[order], right[order])
    wanted = separation(scores[known], scores[~known]) | {"oscr": oscr(scores[known], right[known], scores[~known])}
    assert {name: values.mean() for name, values in found.items()} == pytest.approx(wanted)


def test_its_spread_is_that_of_the_metric_over_samples_of_images():
    random = np.random.default_rng(4)
    several = [of_images(*drawn(random)) for _ in range(1500)]
    for name, least in (("auroc", 0.93), ("fpr95", 0.85), ("oscr", 0.93)):
        means = np.array([each[name].mean() for each in several])
        errors = np.array([each[name].std(ddof=1) / np.sqrt(150) for each in several])
        assert np.sqrt((errors**2).mean()) == pytest.approx(means.std(), rel=0.15)
        covered = np.abs(means - means.mean()) < 1.96 * errors
        assert covered.mean() > least


def test_scores_are_compared_on_the_same_images_and_trainings():
    random = np.random.default_rng(5)
    values = np.stack([of_images(*drawn(random))["auroc"] for _ in range(3)])
    low, high = estimated(values)["interval"]
    assert low < estimated(values)["value"] < high <= 1
    assert compared(values + 0.1, values).value == pytest.approx(0.1)
    assert compared(values + 0.1, values).p() < 1e-6
