"""Scores of unfamiliarity, against libraries and against images that are made to be unfamiliar."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors

from deepfake_lit.prediction import unfamiliarity
from deepfake_lit.prediction.answers import joined
from deepfake_lit.prediction.unfamiliarity import NEIGHBOURS, SCORES, Seen, mean_probabilities


def clusters(random, count: int, away: float = 0.0) -> tuple[Seen, np.ndarray]:
    """Features in three clusters of 8 dimensions, moved away from the origin's plane in the last dimension."""
    labels = random.integers(0, 3, count)
    features = random.normal(0, 0.3, (count, 8)) + 3 * np.eye(8)[labels]
    features[:, 7] += away
    return Seen((features[:, :3] * 2).astype(np.float32), features.astype(np.float32)), labels


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    train, labels = clusters(random, 600)
    return train, labels, clusters(random, 200)[0], clusters(random, 200, 3.0)[0]


def scored(name: str, images) -> tuple[np.ndarray, np.ndarray]:
    train, labels, known, unknown = images
    kept = SCORES[name].fit(train, labels) if SCORES[name].fit else {}
    return SCORES[name].of(kept, known), SCORES[name].of(kept, unknown)


@pytest.mark.parametrize("name", ["knn", "mahalanobis", "vim"])  # what is relative leaves out what no class has
def test_scores_of_features_see_a_direction_that_logits_do_not_have(name, images):
    known, unknown = scored(name, images)
    assert (unknown[:, None] > known).mean() > 0.99
    assert known.shape == unknown.shape == (200,)


@pytest.mark.parametrize("name", ["max_softmax", "max_logit", "energy"])
def test_scores_of_logits_are_larger_for_flat_ones(name):
    sure, flat = np.array([[9.0, 0, 0]], np.float32), np.array([[1.0, 1, 1]], np.float32)
    assert SCORES[name].of({}, Seen(flat, None)) > SCORES[name].of({}, Seen(sure, None))


def test_scores_of_logits_are_those_of_torch():
    logits = np.random.default_rng(1).normal(0, 30, (50, 4)).astype(np.float32)
    seen, tensor = Seen(logits, None), torch.from_numpy(logits)
    np.testing.assert_allclose(SCORES["energy"].of({}, seen), -tensor.logsumexp(1).numpy(), rtol=1e-5)
    np.testing.assert_allclose(SCORES["max_softmax"].of({}, seen), -log_softmax(logits, 1).max(1), atol=1e-4)
    np.testing.assert_allclose(mean_probabilities([seen, seen]), tensor.softmax(1).numpy(), atol=1e-6)


def test_distances_are_those_of_scikit_learn(images):
    train, labels, known, _ = images
    unit = train.features / np.linalg.norm(train.features, axis=1, keepdims=True)
    own = known.features / np.linalg.norm(known.features, axis=1, keepdims=True)
    wanted = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(unit).kneighbors(own)[0][:, -1]
    np.testing.assert_allclose(scored("knn", images)[0], wanted, atol=2e-3)  # neighbours are kept in half precision
    means = np.stack([train.features[labels == label].mean(0) for label in range(3)])
    within = EmpiricalCovariance(assume_centered=True).fit(train.features - means[labels])
    wanted = np.min([within.mahalanobis(known.features - mean) for mean in means], 0)
    np.testing.assert_allclose(scored("mahalanobis", images)[0], wanted, rtol=1e-3)
    of_all = EmpiricalCovariance().fit(train.features).mahalanobis(known.features)
    np.testing.assert_allclose(scored("relative_mahalanobis", images)[0], wanted - of_all, rtol=1e-3, atol=1e-2)


def test_neighbours_are_looked_for_in_parts(images, monkeypatch):
    whole = scored("knn", images)[0]
    monkeypatch.setattr(unfamiliarity, "_parts", lambda seen: 7)
    np.testing.assert_allclose(scored("knn", images)[0], whole, rtol=1e-6)


def test_batches_are_joined_with_and_without_features(images):
    train = images[0]
    parts = [train.at(slice(0, 100)), train.at(slice(100, None))]
    np.testing.assert_array_equal(joined(parts).features, train.features)
    assert joined([part._replace(features=None) for part in parts]).features is None
