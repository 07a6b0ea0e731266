"""The numbers of a calibration: they keep what they promise on made-up answers, and survive a file."""

import io

import numpy as np
import pytest
import torch

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.metrics import calibration_error
from deepfake_lit.prediction.answers import Answers, guarantees
from deepfake_lit.prediction.calibration import (
    Calibration,
    conformal_threshold,
    error_of_perfect,
    fit_scaling,
    rejection_threshold,
)
from deepfake_lit.prediction.unfamiliarity import Seen, softmax


def answered(random, count: int, scale, bias=0.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are wrong by a scale and a bias of the logits, and the labels that the right ones give."""
    logits = random.normal(0, 2, (count, 4))
    labels = (softmax(logits).cumsum(1) < random.random((count, 1))).sum(1)
    return softmax((logits - bias) / scale).astype(np.float32), labels


def of(scale, bias, **more) -> Calibration:
    own = {"set_above": 0.2, "coverage": 0.95, "score": "energy", "kept": {}, "reject_above": 0.5, "rejected": 0.05}
    return Calibration(np.asarray(scale), np.asarray(bias), method="vector", views=["identity"], **own | more)


def test_the_temperature_is_found_again():
    p, labels = answered(np.random.default_rng(0), 20000, 2.5)
    scale, bias = fit_scaling(p, labels, "temperature")
    np.testing.assert_allclose(scale, [2.5] * 4, rtol=0.05)
    assert not bias.any()
    assert calibration_error(p, labels) > 0.1
    assert calibration_error(of(scale, bias).probabilities(p), labels) < 0.01


def test_vector_scaling_finds_what_one_temperature_cannot():
    wrong = np.array([0.0, 1.0, -1.0, 0.0])
    p, labels = answered(np.random.default_rng(1), 20000, 2.0, wrong)
    scale, bias = fit_scaling(p, labels, "vector")
    np.testing.assert_allclose(scale, 2.0, rtol=0.1)
    np.testing.assert_allclose(bias - bias.mean(), wrong, atol=0.1)


def test_a_perfect_network_has_the_calibration_error_that_is_foretold():
    random, below, above, errors, means = np.random.default_rng(7), 0, 0, [], []
    for _ in range(60):
        p, labels = answered(random, 500, 1.0)
        mean, low, high = error_of_perfect(p)
        error = calibration_error(p, labels)
        below, above = below + (error < low), above + (error > high)
        errors.append(error)
        means.append(mean)
    assert below + above <= 14  # 6 are expected
    assert np.mean(errors) == pytest.approx(np.mean(means), rel=0.1)
    p, labels = answered(random, 500, 2.5)
    assert calibration_error(p, labels) > error_of_perfect(p)[2]


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_sets_hold_the_truth_as_often_as_promised(coverage):
    """In the mean over calibrations, each from 200 images: split conformal prediction promises that, and no more."""
    random, found = np.random.default_rng(2), []
    for _ in range(400):
        p, labels = answered(random, 400, 1.0)
        threshold = conformal_threshold(p[:200], labels[:200], coverage)
        found.append((p[200:] >= threshold)[np.arange(200), labels[200:]].mean())
    assert np.mean(found) == pytest.approx(coverage + 0.0025, abs=0.005)  # at most 1 / 201 more


def test_no_more_known_images_are_rejected_than_asked():
    random = np.random.default_rng(3)
    shares = [
        (random.normal(0, 1, 500) > rejection_threshold(random.normal(0, 1, 100), 0.05)).mean() for _ in range(400)
    ]
    assert np.mean(shares) == pytest.approx(5 / 101, abs=0.005)
    assert rejection_threshold(np.arange(10.0), 0.05) == np.inf  # too few to promise it


def test_too_few_images_give_sets_of_all_classes():
    assert conformal_threshold(np.full((10, 2), 0.5), np.zeros(10, int), 0.95) == 0.0


def test_answers_say_none_of_these_and_the_classes_that_it_may_be():
    found = of([1.0] * 3, [0.0] * 3).answers(
        np.array([[0.7, 0.25, 0.05], [0.4, 0.3, 0.3]], np.float32), np.array([0, 1])
    )
    assert found.names(["a", "b", "c"]) == ["a", "none_of_these"]
    assert [found.set_of(row, ["a", "b", "c"]) for row in (0, 1)] == [["a", "b"], ["a", "b", "c"]]
    assert found.labels.tolist() == [0, 0]
    assert guarantees(found, np.array([2, 1])) == {"coverage": 0.5, "set_size": 2.5, "rejected": 0.5}
    plain = Answers(found.probabilities)
    assert (plain.names(["a", "b", "c"]), plain.set_of(0, []), guarantees(plain, np.array([0, 0]))) == (
        ["a", "a"],
        None,
        {},
    )


def test_it_survives_a_file_that_holds_data_alone():
    kept = {"train": np.arange(6, dtype=np.float16).reshape(2, 3)}
    own = of([1.5, 2.0], [0.0, -1.0], score="knn", kept=kept)
    file = io.BytesIO()
    torch.save(own.to_entry(), file)
    file.seek(0)
    read = Calibration.from_entry(torch.load(file, weights_only=True), "x.ckpt", 2)
    p, seen = np.array([[0.9, 0.1]], np.float32), Seen(np.zeros((1, 2)), np.ones((1, 3), np.float32))
    np.testing.assert_array_equal(read.probabilities(p), own.probabilities(p))
    np.testing.assert_array_equal(read.unfamiliarity(seen), own.unfamiliarity(seen))


@pytest.mark.parametrize(
    "change", [{"score": "luck"}, {"scale": [1.0]}, {"kept": None}, {"views": None, "more": 1}, {"bias": "x"}]
)
def test_a_damaged_calibration_is_named(change):
    with pytest.raises(UserError, match=r"x\.ckpt is damaged: its calibration"):
        Calibration.from_entry(of([1.0, 1.0], [0.0, 0.0]).to_entry() | change, "x.ckpt", 2)
