"""How well scores tell unknown images from known ones."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepfake_lit.results.open_set import figures, oscr, separation


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
    assert set(figures(known, right, unknown)) == {"auroc", "fpr95", "oscr"}
