"""Distortions of decoded images: shapes, strengths, alpha, randomness by key, and the codecs themselves."""

import io

import numpy as np
import pytest
from numpy.random import Generator
from PIL import Image
from scipy.ndimage import gaussian_filter

from deepfake_lit.data.distortions import GRID, KINDS, blur, crop, gamma, jpeg, noise, on_batch, resize, screenshot
from deepfake_lit.settings.choices import LAUNDERING


def picture(height: int = 48, width: int = 60, planes: int = 3) -> np.ndarray:
    """A smooth picture with some texture."""
    waves = np.sin(np.arange(height)[:, None] / 7) + np.cos(np.arange(width) / 5)
    smooth = 128 + 50 * waves[..., None] * np.linspace(0.6, 1, planes)
    return np.clip(smooth + np.random.default_rng(0).normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)


def random(key: int = 0) -> Generator:
    return Generator(np.random.SFC64(key))


def change(image: np.ndarray, distorted: np.ndarray) -> float:
    return float(np.abs(distorted.astype(float) - image).mean())


@pytest.mark.parametrize("kind", GRID)
@pytest.mark.parametrize("planes", [3, 4])
def test_every_kind_of_the_grid_keeps_the_shape_and_changes_more_with_its_strength(kind, planes):
    image = picture(planes=planes)
    before = image.copy()
    found = [GRID[kind].apply(image, strength, random()) for strength in GRID[kind].strengths]
    assert all((f.shape, f.dtype) == (image.shape, np.uint8) for f in found)
    changes = [change(image[..., :3], f[..., :3]) for f in found]
    assert changes == sorted(changes)
    assert changes[0] > 0.1
    assert (image == before).all()


def test_the_grid_goes_from_the_weakest_on_and_has_about_forty_conditions():
    for distortion in GRID.values():
        away = [abs(strength - distortion.nothing) for strength in distortion.strengths]
        assert away == sorted(away)
        assert away[0] > 0
        assert distortion.source
    assert 38 <= sum(len(distortion.strengths) for distortion in GRID.values()) <= 46


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_training_takes_the_ends_of_its_range(kind):
    assert set(KINDS) == set(LAUNDERING)
    for strength in LAUNDERING[kind]:
        assert KINDS[kind](picture(), strength, random()).shape == (48, 60, 3)


def test_jpeg_is_pillows_own():
    image, file = picture(), io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75, subsampling="4:2:0")
    assert (GRID["jpeg"].apply(image, 75, random()) == np.asarray(Image.open(file))).all()
    assert jpeg(picture(planes=4), 75, random())[..., 3].min() == 255  # it has no alpha


def test_subsampling_is_drawn_unless_it_is_given():
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    assert len({jpeg(image, 90, random(key)).tobytes() for key in range(20)}) == 2
    assert len({resize(image, 0.5, random(key)).tobytes() for key in range(60)}) == 9


def test_noise_has_its_deviation_and_blur_is_nearly_a_gaussian():
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert np.std(noise(grey, 4, random()).astype(float)) == pytest.approx(4, rel=0.02)
    image = picture(100, 100)
    expected = gaussian_filter(image.astype(float), (2, 2, 0), mode="nearest")
    assert np.abs(blur(image, 2, random()) - expected)[10:-10, 10:-10].mean() < 1


def test_crop_and_screenshot_keep_what_lies_in_the_middle():
    image = np.zeros((100, 100, 3), np.uint8)
    image[45:55, 45:55] = 255
    for distorted in (crop(image, 0.1, random()), screenshot(image, 1.25, random())):
        assert distorted[50, 50].min() > 200
        assert distorted[:30].max() < 20
    assert gamma(np.full((2, 2, 3), 128, np.uint8), 2, random()).max() == round(255 * (128 / 255) ** 2)


def test_a_batch_depends_on_keys_alone():
    pixels = np.stack([picture(), picture() // 2, picture()])

    def distort(image, random):
        return noise(image, 5, random)

    found, none = on_batch(pixels, None, [7, 8, 9], distort)
    assert none is None
    assert (on_batch(pixels[1:], None, [8, 9], distort)[0] == found[1:]).all()
    assert (found[0] != found[2]).any()


def test_transparency_is_distorted_with_the_colours():
    pixels = picture()[None]
    transparency = np.zeros((1, 48, 60), np.uint8)
    transparency[:, :24] = 255
    changed, plane = on_batch(pixels, transparency, [1], lambda image, random: blur(image, 3, random))
    assert (changed.shape, plane.shape, changed.flags.c_contiguous) == (pixels.shape, transparency.shape, True)
    assert (plane[0, 0].min(), plane[0, -1].max()) == (255, 0)
    assert 0 < plane[0, 24].mean() < 255
