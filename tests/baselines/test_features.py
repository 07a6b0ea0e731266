"""Features against slow references written from their definitions."""

import itertools

import numpy as np
import pytest
from scipy import ndimage
from scipy.fft import dctn
from skimage.color import rgb2hsv

from deepfake_lit.baselines.cooccurrence import ALONG, KERNELS, cooccurrence
from deepfake_lit.baselines.features import (
    FEATURES,
    check_features,
    extract,
    features_of,
    histogram,
    pixel_bytes,
    pixels,
    residual_statistics,
    spectrum,
)
from deepfake_lit.baselines.moments import dct_moments
from deepfake_lit.core import system
from deepfake_lit.core.errors import UserError
from deepfake_lit.data.images import open_data
from deepfake_lit.settings.schema import DataConfig


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    random = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(random.normal(0, 1, (6, 24, 20, 3)), (0, 2, 2, 0))
    return np.clip(128 + 300 * smooth + random.normal(0, 2, smooth.shape), 0, 255).astype(np.uint8)


def test_pixels(images):
    assert pixel_bytes(images).dtype == np.uint8
    np.testing.assert_array_equal(pixel_bytes(images)[2], images[2].ravel())
    np.testing.assert_allclose(pixels(images)[2] * 255, images[2].ravel(), atol=1e-4)


@pytest.mark.parametrize("space", ["rgb", "hsv"])
@pytest.mark.parametrize(("bins", "joint"), [(256, False), (7, False), (4, True), ([8, 2, 3], True)])
def test_histogram_is_numpys(images, space, bins, joint):
    found = histogram(images, space, bins, joint, "l1")
    for image, row in zip(images, found, strict=True):
        colours = image if space == "rgb" else np.round(rgb2hsv(image) * 255)
        per_channel = [bins] * 3 if isinstance(bins, int) else bins
        edges = [np.arange(b + 1) * 256 / b for b in per_channel]
        flat = colours.reshape(-1, 3)
        if joint:
            expected = np.histogramdd(flat, edges)[0].ravel()
        else:
            expected = np.concatenate([np.histogram(flat[:, i], edges[i])[0] for i in range(3)])
        np.testing.assert_allclose(row, expected / expected.sum(), atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(histogram(images, space, bins, joint), axis=1), 1, atol=1e-6)


def test_the_spectrum_of_a_wave_stands_at_its_frequency():
    y, x = np.mgrid[:40, :40]
    wave = 128 + 100 * np.sin(2 * np.pi * (8 * x + 0 * y) / 40)  # 8 / 40 of the sampling rate
    image = np.repeat(np.round(wave).astype(np.uint8)[None, ..., None], 3, -1)
    block = spectrum(image, "block", 20).reshape(20, 20)
    assert {divmod(int(i), 20) for i in block.ravel().argsort()[-2:]} == {(10, 14), (10, 6)}
    radial = spectrum(image, "radial", 10)
    assert radial[0].argmax() == int(0.2 / np.sqrt(0.5) * 10)
    assert block.mean() == pytest.approx(
        np.log1p(np.abs(np.fft.fft2(image[0, ..., 0] - image[0, ..., 0].mean())) ** 2 / 1600).mean(), rel=1e-4
    )


def test_residual_statistics_see_noise(images):
    noise = np.random.default_rng(1).normal(0, 20, images.shape)
    noisy = np.clip(images + noise, 0, 255).astype(np.uint8)
    quiet, loud = residual_statistics(images), residual_statistics(noisy)
    assert quiet.shape == (6, 36)
    assert (loud[:, :3] > quiet[:, :3]).all()  # standard deviations
    grey = np.repeat(images[..., :1], 3, -1)
    np.testing.assert_allclose(residual_statistics(grey)[:, 9:12], 1, atol=1e-3)  # equal channels correlate
    assert np.isfinite(residual_statistics(np.zeros_like(images))).all()


def slow_cooccurrence(image: np.ndarray, name: str, step: float, truncation: int, diagonal: bool) -> dict:
    """Counts of the triples of one image, by loops over its pixels."""
    counts: dict[tuple, int] = {}
    directions = ((1, 1), (1, -1)) if diagonal else ((0, 1), (1, 0))
    height, width, channels = image.shape
    for (dy, dx), channel in itertools.product(directions, range(channels)):
        residual = {}
        for y, x in itertools.product(range(height), range(width)):
            if name in ALONG:
                taps = [(k * dy, k * dx, tap) for k, tap in enumerate(ALONG[name])]
            else:
                taps = [(i, j, tap) for i, row in enumerate(KERNELS[name]) for j, tap in enumerate(row)]
            places = [(y + a, x + b) for a, b, _ in taps]
            if all(0 <= a < height and 0 <= b < width for a, b in places):
                value = sum(tap * float(image[a, b, channel]) for (a, b), (_, _, tap) in zip(places, taps, strict=True))
                residual[y, x] = int(
                    np.clip(np.rint(np.float32(value) * np.float32(1 / step)), -truncation, truncation)
                )
        for (y, x), first in residual.items():
            second, third = residual.get((y + dy, x + dx)), residual.get((y + 2 * dy, x + 2 * dx))
            if second is not None and third is not None:
                t = (first, second, third)
                negated = tuple(-v for v in t)
                key = min(t, negated, t[::-1], negated[::-1])
                counts[key] = counts.get(key, 0) + 1
    return counts


@pytest.mark.parametrize("residual", ["d1", "d2", "d3", "d2/2", "square/4", "kv/12", "laplace"])
def test_cooccurrence_is_its_definition(images, residual):
    found = cooccurrence(images, [residual], 2, ["rgb"], ["pixels"])
    name, _, step = residual.partition("/")
    groups = (False, True) if name in ALONG else (False,)
    assert found.shape[1] % len(groups) == 0
    for image, row in zip(images[:2], found, strict=False):
        for diagonal, part in zip(groups, np.split(row, len(groups)), strict=True):
            counts = slow_cooccurrence(image, name, float(step or 1), 2, diagonal)
            total = sum(counts.values())
            expected = sorted(np.sqrt(n / total) for n in counts.values())
            np.testing.assert_allclose(np.sort(part)[-len(expected) :], expected, atol=1e-6)
            assert np.count_nonzero(part) == len(expected)


def test_cooccurrence_between_channels_and_of_planes(images):
    grey = np.repeat(images[..., :1], 3, -1)
    between = cooccurrence(grey, ["d1"], 1, ["rgb"], ["channels"])
    # equal channels: only (-1,-1,-1) = (1,1,1) and (0,0,0), in two groups of directions
    assert (np.count_nonzero(between, axis=1) <= 4).all()
    np.testing.assert_allclose((between**2).sum(1), 2, atol=1e-5)
    chroma = cooccurrence(grey, ["d1"], 1, ["chroma"], ["pixels"])
    assert (np.count_nonzero(chroma, axis=1) == 2).all()  # R - G is 0 everywhere
    each = cooccurrence(images, ["d1"], 1, ["each"], ["pixels"])
    rgb = cooccurrence(images, ["d1"], 1, ["rgb"], ["pixels"])
    assert each.shape[1] == 3 * rgb.shape[1]
    straight = rgb.shape[1] // 2
    mean = (each[:, : 3 * straight].reshape(len(images), 3, -1) ** 2).mean(1)
    np.testing.assert_allclose(mean, rgb[:, :straight] ** 2, atol=1e-6)


@pytest.mark.parametrize("transform", [lambda x: x[:, :, ::-1], lambda x: x[:, ::-1], lambda x: 255 - x])
def test_cooccurrence_does_not_change_when_an_image_is_mirrored_or_negated(images, transform):
    plain = cooccurrence(images, ["d1", "d2", "kv/12"], 3)
    np.testing.assert_allclose(cooccurrence(transform(images), ["d1", "d2", "kv/12"], 3), plain, atol=1e-6)


@pytest.mark.parametrize(("side", "stride"), [(3, 1), (2, 1), (3, 2)])
def test_dct_moments_are_their_definition(images, side, stride):
    height, width = images.shape[1:3]
    places = [(y, x) for y in range(0, height - side + 1, stride) for x in range(0, width - side + 1, stride)]
    for image, row in zip(images, dct_moments(images, side, stride), strict=True):
        patches = [image[y : y + side, x : x + side].astype(float) - 127.5 for y, x in places]
        coefficients = np.stack([dctn(np.moveaxis(patch, -1, 0), norm="ortho").ravel() for patch in patches])
        spread = coefficients.std(0) + 0.1
        expected = [np.log(spread)]
        for scaled in ((coefficients - coefficients.mean(0)) / spread / 1.5, coefficients / 5):
            parts = np.concatenate([scaled.clip(0, 1), (-scaled).clip(0, 1)], 1)
            expected.append(parts.mean(0))
            pairs = itertools.combinations_with_replacement(range(parts.shape[1]), 2)
            expected.append([np.sqrt((parts[:, i] * parts[:, j]).mean()) for i, j in pairs])
        np.testing.assert_allclose(row, np.concatenate(expected), atol=2e-3)


def test_dct_moments_at_one_kind_of_bound(images):
    count = 3 * 3 * 3
    both, relative, absolute = (dct_moments(images, **kw) for kw in ({}, {"levels": None}, {"deviations": None}))
    np.testing.assert_array_equal(np.hstack([relative, absolute]), both)
    assert relative.shape[1] - absolute.shape[1] == count
    flat = np.full((1, 12, 12, 3), 77, np.uint8)
    assert np.isfinite(dct_moments(flat)).all()


def test_images_are_treated_alone(images):
    for name, function in FEATURES.items():
        settings = {"cell": 5} if name == "hog" else {"bins": 10} if name == "spectrum" else {}
        whole = function(images, **settings)
        assert len(whole) == len(images)
        np.testing.assert_allclose(function(images[3:4], **settings), whole[3:4], atol=1e-5, err_msg=name)


def test_every_feature_takes_every_channel_mode(images):
    clear = np.random.default_rng(0).integers(0, 256, images.shape[:3], np.uint8)
    for channels in ("rgb", "rgba", "gray"):
        for name in FEATURES:
            settings = {"cell": 5} if name == "hog" else {"bins": 10} if name == "spectrum" else {}
            assert np.isfinite(features_of({name: settings}, images, clear, channels)).all()
    with_alpha = features_of({"pixel_bytes": {}}, images, clear, "rgba").reshape(*images.shape[:3], 4)
    np.testing.assert_array_equal(with_alpha[..., 3], 255 - clear)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({}, "at least one feature"),
        ({"spectra": {}}, "did you mean spectrum"),
        ({"hog": {"cells": 4}}, "hog has no setting 'cells'; it has cell, block, orientations"),
    ],
)
def test_a_wrong_feature_is_one_line(features, message):
    with pytest.raises(UserError, match=message):
        check_features(features)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("histogram", {"space": "lab"}),
        ("histogram", {"bins": 300}),
        ("histogram", {"norm": "max"}),
        ("spectrum", {"bins": 99}),
        ("spectrum", {"kind": "ring"}),
        ("cooccurrence", {"residuals": ["d9"]}),
        ("cooccurrence", {"residuals": ["d1/0"]}),
        ("cooccurrence", {"truncation": 0}),
        ("cooccurrence", {"planes": ["lab"]}),
        ("dct_moments", {"side": 21}),
        ("dct_moments", {"stride": 0}),
        ("dct_moments", {"levels": 0}),
        ("dct_moments", {"deviations": None, "levels": None}),
    ],
)
def test_a_wrong_value_is_one_line(images, name, settings):
    with pytest.raises(UserError):
        FEATURES[name](images, **settings)


def test_extracting_in_parallel_keeps_the_order(samples, tmp_path):
    split = open_data(DataConfig(root=str(samples)), tmp_path).splits["train"]
    features = {"histogram": {"bins": 8}, "spectrum": {"bins": 4}}
    together = extract(features, split, "rgb")
    np.testing.assert_allclose(together, features_of(features, split.pixels[split.rows], None, "rgb"), atol=1e-6)


def test_features_do_not_depend_on_how_many_images_fit_the_memory(samples, tmp_path, monkeypatch):
    split = open_data(DataConfig(root=str(samples)), tmp_path).splits["validation"]
    some = {"histogram": {}, "pixels": {}}
    expected = extract(some, split, "rgb"), cooccurrence(split.gather(slice(0, 6))[0])
    monkeypatch.setattr(system, "AT_ONCE", 1)
    np.testing.assert_array_equal(extract(some, split, "rgb"), expected[0])
    np.testing.assert_array_equal(cooccurrence(split.gather(slice(0, 6))[0]), expected[1])
