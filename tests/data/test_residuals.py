"""Residuals and spectra: what a class's images have in common is seen in their mean."""

from types import SimpleNamespace

import numpy as np

from deepfake_lit.data.residuals import mean_patterns, pattern_of

COUNT, SIDE = 60, 32


def split(pixels: np.ndarray, labels: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(labels=labels, gather=lambda rows: (pixels[rows], None))


def test_the_mean_residual_of_a_class_is_its_fixed_pattern():
    random = np.random.default_rng(0)
    pattern = random.choice([-6, 6], (SIDE, SIDE, 1))
    smooth = np.linspace(60, 180, SIDE)[:, None, None] + random.uniform(-40, 40, (COUNT, 1, 1, 1))
    labels = np.arange(COUNT) % 3
    images = smooth + random.normal(0, 12, (COUNT, SIDE, SIDE, 3)) + pattern * (labels == 1)[:, None, None, None]
    pixels = np.clip(images, 0, 255).astype(np.uint8)
    found = mean_patterns([split(pixels[:30], labels[:30]), split(pixels[30:], labels[30:])], np.array([0, 1, 2]), 4)
    alike = [np.corrcoef(found.residual[k].ravel(), pattern.ravel())[0, 1] for k in range(3)]
    assert alike[1] > 0.7
    assert max(abs(alike[0]), abs(alike[2])) < 0.2
    assert np.isnan(found.residual[3]).all()
    assert np.isnan(found.spectrum[3]).all()


def test_a_period_of_four_pixels_is_a_peak_of_the_spectrum():
    waves = np.zeros((64, 64, 3), np.uint8) + 100
    waves[:, ::4] += 50
    spectrum = pattern_of(waves).spectrum
    row, column = np.unravel_index(spectrum.argmax(), spectrum.shape)
    assert row == 32
    assert abs(column - 32) in (16, 32)  # the period, and its half


def test_of_a_large_image_the_centre_is_looked_at():
    assert pattern_of(np.zeros((300, 140, 3), np.uint8)).residual.shape == (128, 128)
    assert pattern_of(np.zeros((20, 140, 3), np.uint8)).residual.shape == (20, 128)
