"""Figures of answers for distorted images."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from deepfake_lit.results.robustness import Condition, condition_figures, half_strength, holm, summary


def answers(labels: np.ndarray, right: np.ndarray, sure: float = 0.8) -> np.ndarray:
    """Probabilities of three classes; where not right, the next class is answered."""
    p = np.full((len(labels), 3), (1 - sure) / 2)
    p[np.arange(len(labels)), np.where(right, labels, (labels + 1) % 3)] = sure
    return p


LABELS = np.arange(90) % 3
CLEAN = answers(LABELS, np.arange(90) >= 9)  # 0.9
DISTORTED = answers(LABELS, np.arange(90) >= 36, 0.6)  # 0.6


def test_figures_of_a_condition():
    found = condition_figures(DISTORTED, CLEAN, LABELS)
    assert found["accuracy"] == pytest.approx(0.6)
    assert found["flips"] == pytest.approx(27 / 90)
    assert found["confidence"] == pytest.approx(0.6)
    assert found["from_clean"]["difference"] == pytest.approx(-0.3)
    assert found["from_clean"]["interval"][0] < -0.3 < found["from_clean"]["interval"][1] < 0
    assert found["from_clean"]["p"] == pytest.approx(2 * 0.5**27)
    for label in range(3):
        expected = average_precision_score(label == LABELS, DISTORTED[:, label])
        assert found["ap_of"][label] == pytest.approx(expected)
        assert found["auc_of"][label] == pytest.approx(roc_auc_score(label == LABELS, DISTORTED[:, label]))


def test_a_class_without_images_has_no_ranking():
    found = condition_figures(DISTORTED[LABELS < 2], CLEAN[LABELS < 2], LABELS[LABELS < 2])
    assert found["auc_of"][2] is None
    assert found["ap_of"][0] is not None


def test_holm_as_in_his_paper():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("points", "found"),
    [
        ([(0, 1.0), (1, 0.8), (3, 0.4)], 2.0),  # half of the advantage over 0.2 is 0.6
        ([(100, 1.0), (50, 0.6)], 50),  # a scale that goes down
        ([(0, 1.0), (1, 0.7)], None),
        ([(0, 0.2), (1, 0.2)], None),  # there was no advantage
    ],
)
def test_half_of_the_advantage_is_lost_between_the_points(points, found):
    assert half_strength(points, 0.2) == (None if found is None else pytest.approx(found))


def test_the_summary_of_a_grid():
    conditions = [Condition("clean"), Condition("noise", 2), Condition("noise", 4), Condition("messenger", 75)]
    found = [condition_figures(p, CLEAN, LABELS) for p in (CLEAN, CLEAN, DISTORTED, DISTORTED)]
    right = np.mean([p.argmax(1) == LABELS for p in (CLEAN, DISTORTED, DISTORTED)], 0)
    s = summary(conditions, found, right, LABELS)
    assert (s["clean"], s["worst"], s["worst_condition"]) == (pytest.approx(0.9), pytest.approx(0.6), "noise 4")
    assert s["mean"] == pytest.approx(0.7)
    assert s["interval"][0] < 0.7 < s["interval"][1]
    wanted = 1 / 3 + (0.9 - 1 / 3) / 2
    expected = 2 + 2 * (0.9 - wanted) / 0.3
    assert s["half"] == {"noise": pytest.approx(expected) if wanted >= 0.6 else None}
