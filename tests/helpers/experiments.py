"""Simulated experiments: rows of networks, seeds and images that are right or wrong together as published ones are."""

import os

import numpy as np

from deepfake_lit.results.comparison import estimate
from deepfake_lit.results.noise import of_pair, row_noise

REPEATS = int(os.environ.get("SIMULATIONS", 0))  # of a simulated experiment; 0: few, of some
# Networks of the published tables: about 86 % right, 88 % of the variance of an answer is the image's. The noise of a
# training is given in points of accuracy; of the published ones it is 0 to 0.3.
SLOPE = 0.102  # accuracy per unit of the latent score


def experiment(random, rows, seeds, noise, points=0.0, images=1250, failed=0, heavy=False, seed_noise=0.2):
    """Return right or wrong, (R, S, N): row 0 is the reference, all others are better by `points` at most.

    Args:
        points: one number, or one for each of the other rows.
    """
    draw = (
        (lambda shape: random.standard_t(3, shape) / np.sqrt(3))
        if heavy
        else (lambda shape: random.normal(0, 1, shape))
    )
    score = 2.55 + random.normal(0, 2.2, images) + random.normal(0, 0.15, (rows, 1, images))
    score = score + draw((rows, seeds, 1)) * np.reshape(noise, (-1, 1, 1)) / 100 / SLOPE
    score = (
        score
        + random.normal(0, seed_noise / 100 / SLOPE, (1, seeds, 1))
        + random.normal(0, 0.75, (rows, seeds, images))
    )
    score[1:] += np.reshape(points, (-1, 1, 1)) / 100 / SLOPE
    answers = (score > 0).astype(int)
    for _ in range(failed):
        answers[random.integers(1, rows), random.integers(seeds)] = random.random(images) < 0.2
    return answers


def compared(answers: np.ndarray) -> list:
    noises = row_noise(answers.mean(2))
    return [
        estimate(row - answers[0], of_pair([noise, noises[0]], noise is noises[0]))
        for row, noise in zip(answers[1:], noises[1:], strict=True)
    ]
