"""The best of several: what choosing it adds is taken off."""

import numpy as np
import pytest
from helpers.experiments import REPEATS

from deepfake_lit.results.selection import optimism


def best_of(random, rows: int, images: int = 500) -> tuple[float, float]:
    """Return the best of networks that are equally good, alike in most images, and the best without its optimism."""
    score = random.normal(1.5, 1, images) + random.normal(0, 0.6, (rows, images))
    right = (score > 0).astype(float)
    best = right.mean(1).max()
    return best, best - optimism(right, np.zeros(rows))


@pytest.mark.parametrize("rows", [4, 26])
def test_the_best_of_equals_is_no_better_than_they_are(rows):
    random = np.random.default_rng(0)
    truth = float((random.normal(1.5, np.sqrt(1.36), 10**6) > 0).mean())
    found = np.array([best_of(random, rows) for _ in range(REPEATS or 60)]) - truth
    flattery, left = found.mean(0)
    print(f"\nbest of {rows} equals: {100 * flattery:+.2f} points, {100 * left:+.2f} without the optimism")
    assert flattery > 0.01
    assert abs(left) < flattery / 3


def test_where_one_row_is_far_better_there_is_nothing_to_take_off():
    right = np.random.default_rng(1).random((3, 1000)) < np.array([[0.95], [0.6], [0.5]])
    assert optimism(right.astype(float), np.zeros(3)) == pytest.approx(0, abs=1e-3)
    assert optimism(np.ones((3, 100)), np.full(3, 0.01**2)) == pytest.approx(
        0.01 * 0.846, rel=0.1
    )  # mean of the most of 3
