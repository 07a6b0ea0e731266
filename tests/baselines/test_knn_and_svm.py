"""The quick estimators give what scikit-learn's own give."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from deepfake_lit.baselines import knn as module
from deepfake_lit.baselines.distances import has_quick_int8, quantised_distances
from deepfake_lit.baselines.knn import KNN
from deepfake_lit.baselines.standardise import Standardise
from deepfake_lit.baselines.svm import SVM
from deepfake_lit.core import system
from deepfake_lit.core.errors import UserError


def images(count: int, features: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """uint8 rows that look like pixels: large mean, correlated, and labels 0 to 4 that they tell something about."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 5, count)
    shared = np.random.default_rng(99).normal(0, 40, (8, features))
    rows = 128 + random.normal(0, 1, (count, 8)) @ shared + 6 * labels[:, None] * np.sin(np.arange(features) / 9)
    return np.clip(rows + random.normal(0, 8, rows.shape), 0, 255).astype(np.uint8), labels


@pytest.mark.parametrize("k", [1, 3, 5, 7, 9, 11])
@pytest.mark.parametrize("kind", ["bytes", "standardised", "far from zero", "one is far larger"])
@pytest.mark.parametrize("int8", [True, False])
def test_knn_is_scikit_learns_brute_force(k, kind, int8, monkeypatch):
    monkeypatch.setattr(module, "has_quick_int8", lambda *_: int8)
    X, y = images(700)
    Q, _ = images(300, seed=1)
    if kind == "standardised":
        scale = Standardise().fit(X)
        X, Q = scale.transform(X), scale.transform(Q)
    elif kind == "far from zero":  # where float32 norms of uncentred rows would change neighbours
        X, Q = (rows.astype(np.float32) / 255 + 1000 for rows in (X, Q))
    elif kind == "one is far larger":  # int8 does not tell the others apart
        X, Q = (rows.astype(np.float32) for rows in (X, Q))
        X[0, 0] = 1e6
    reference = KNeighborsClassifier(k, algorithm="brute").fit(X.astype(np.float64), y)
    ours = KNN(k).fit(X, y)
    distances, indices = ours.kneighbors(Q)
    expected_distances, expected = reference.kneighbors(Q.astype(np.float64))
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-6 if kind != "bytes" else 1e-12)
    ties = np.isclose(distances[:, 1:], distances[:, :-1], rtol=1e-9).any(1)
    np.testing.assert_array_equal(indices[~ties], expected[~ties])
    np.testing.assert_array_equal(ours.predict_proba(Q)[~ties], reference.predict_proba(Q.astype(np.float64))[~ties])
    assert ties.mean() < 0.05
    np.testing.assert_array_equal(ours.votes(indices), ours.predict_proba(Q))
    assert ours.quick_int8_ == (int8 and kind != "one is far larger")


def test_int8_products_are_refused_where_their_sums_could_overflow():
    assert not has_quick_int8("cpu", 131_072)
    assert not has_quick_int8("cpu", 1)
    assert not has_quick_int8("cuda", 100)
    most = torch.full((1, 131_071), -128, dtype=torch.int8)
    assert torch._int_mm(most, most.T).item() == 131_071 * 128**2


def test_quantised_distances_are_within_their_errors(monkeypatch):
    monkeypatch.setattr("deepfake_lit.baselines.distances.tile_rows", lambda features: 97)
    X = np.random.default_rng(0).normal(3, 2, (300, 500)).astype(np.float32)
    X[7] *= 4  # beyond the scale: cut off
    distances, errors, row_errors = quantised_distances(X[:120], X, 3.0, 8 / 127, "test")
    true = np.linalg.norm(X[:120, None].astype(np.float64) - X, axis=2)
    assert (np.abs(distances.numpy() - true) <= errors[:, None].numpy() + row_errors.numpy()).all()
    assert np.median(row_errors) < 0.5


def test_equal_votes_go_to_the_lowest_label_and_equal_distances_to_the_first_row():
    X = np.array([[0], [2], [2], [4]], np.uint8)
    knn = KNN(2).fit(X, np.array([7, 5, 3, 3]))
    distances, indices = knn.kneighbors(np.array([[1], [2]], np.uint8))
    assert indices.tolist() == [[0, 1], [1, 2]]
    assert distances.tolist() == [[1, 1], [0, 0]]
    assert knn.predict(np.array([[1], [2]], np.uint8)).tolist() == [5, 3]
    with pytest.raises(ValueError, match="1 to the number of training rows, 4"):
        KNN(5).fit(X, np.zeros(4))


def test_identical_rows_do_not_hide_a_neighbour():
    X = np.repeat(images(3, 50)[0], 200, 0)
    indices = KNN(11).fit(X, np.zeros(len(X))).kneighbors(X[200:201])[1]
    assert indices.tolist() == [list(range(200, 211))]


@pytest.mark.parametrize(("gamma", "C"), [("auto", 1.0), ("scale", 10.0), (0.003, 0.5)])
@pytest.mark.parametrize("memory_gib", [8.0, 0.004])
def test_svm_is_svc(gamma, C, memory_gib):
    X, y = images(800, 600)
    Q, _ = images(600, 600, seed=1)
    scale = Standardise().fit(X)
    X, Q = scale.transform(X), scale.transform(Q)
    reference = SVC(C=C, gamma=gamma).fit(X, y)
    ours = SVM(C=C, gamma=gamma, memory_gib=memory_gib).fit(X, y)
    assert (ours.rows_ is None) == (memory_gib < 1)  # the small memory makes it compute the kernel as SVC does
    pairs = reference.set_params(decision_function_shape="ovo").decision_function(Q)
    decided = np.abs(pairs).min(1) > 2e-3  # libsvm stops within 1e-3 of the solution
    assert decided.mean() > 0.9
    np.testing.assert_array_equal(ours.predict(Q)[decided], reference.predict(Q)[decided])
    p = ours.predict_proba(Q)
    np.testing.assert_array_equal(p.argmax(1), ours.predict(Q))
    np.testing.assert_allclose(p.sum(1), 1)


def test_the_kernel_is_made_of_tiles(monkeypatch):
    X = images(700, 40)[0].astype(np.float32)
    whole = SVM(gamma=1e-5)
    whole.gamma_, whole.centre_ = 1e-5, X.mean(0)
    expected = np.exp(-1e-5 * ((X[:, None].astype(np.float64) - X) ** 2).sum(2))
    np.testing.assert_allclose(whole._kernel(X, X), expected, atol=1e-5)
    monkeypatch.setattr("deepfake_lit.baselines.distances.tile_rows", lambda features: 97)
    np.testing.assert_allclose(whole._kernel(X, X), expected, atol=1e-5)
    np.testing.assert_allclose(whole._kernel(X[:150], X), expected[:150], atol=1e-5)


def test_svm_of_two_classes_and_of_too_little_memory():
    X, y = make_blobs(120, 4, centers=2, random_state=0, cluster_std=4)
    X = X.astype(np.float32)
    ours = SVM().fit(X, y)
    np.testing.assert_array_equal(ours.predict_proba(X).argmax(1), SVC().fit(X, y).predict(X))
    with pytest.raises(UserError, match="memory_gib is 1e-06"):
        SVM(memory_gib=1e-6).fit(X, y)


def test_standardise_is_standard_scaler():
    X = images(600)[0]
    X[:, 5] = 77  # a constant feature
    reference = StandardScaler().fit(X.astype(np.float64))
    ours = Standardise().fit(X)
    np.testing.assert_allclose(ours.transform(X), reference.transform(X.astype(np.float64)), atol=2e-6)
    assert not ours.transform(X)[:, 5].any()


def test_answers_do_not_depend_on_how_many_rows_fit_the_memory(monkeypatch):
    X, y = images(60)
    Q, _ = images(20, seed=1)
    scaled = Standardise().fit(X)
    estimators = [KNN(3).fit(X, y), SVM().fit(scaled.transform(X), y)]
    inputs = [Q, scaled.transform(Q)]
    expected = [e.predict_proba(q) for e, q in zip(estimators, inputs, strict=True)]
    monkeypatch.setattr(system, "AT_ONCE", 1)
    np.testing.assert_allclose(Standardise().fit(X).mean_, scaled.mean_, rtol=1e-6)
    np.testing.assert_array_equal(scaled.transform(Q), inputs[1])
    for estimator, q, e in zip(estimators, inputs, expected, strict=True):
        np.testing.assert_allclose(estimator.predict_proba(q), e, atol=1e-6)
