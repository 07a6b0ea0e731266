"""The best of several rows, chosen on the very images that it is measured on, without what the choice adds to it."""

import numpy as np

REPEATS = 1000
NEAR = 3  # standard errors from the best row: these could be the best, too


def optimism(right: np.ndarray, noise: np.ndarray) -> float:
    """Return by how much the best row's accuracy is above what it has on other images and with other seeds.

    The experiment is repeated with images drawn anew from these, and with other noise of the trainings, and the best
    row is picked again each time (the bootstrap's optimism: Efron, JASA 78, 1983). The accuracies of the rows that
    could be the best lie further apart than the true ones, so they are first brought nearer to each other (Efron and
    Morris, JASA 70, 1975): of rows that are equal, the best one is the luckiest and no more.

    Args:
        right: (R, N), for each row the share of its trainings that have an image right.
        noise: (R,), variance of a row's accuracy from its trainings, beyond the images.
    """
    random, (rows, images), true = np.random.default_rng(0), right.shape, right.mean(1)
    drawn = random.multinomial(images, np.full(images, 1 / images), REPEATS) / images
    errors = drawn @ right.T - true + random.normal(0, np.sqrt(noise), (REPEATS, rows))
    best = true.argmax()
    near = true[best] - true <= NEAR * (errors - errors[:, [best]]).std(0)
    if near.sum() > 1 and (spread := true[near].var()):
        middle, kept = true[near].mean(), max(0.0, 1 - errors[:, near].var(1).mean() / spread)
        true[near] = middle + kept * (true[near] - middle)
    again = true + errors
    return float((again.max(1) - true[again.argmax(1)]).mean())
