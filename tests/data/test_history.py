"""What a file has been through: its head, the blocks of an earlier JPEG, the period of a resize."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from deepfake_lit.data.history import History, history_of, said, traces

RESAMPLING = Image.Resampling


def picture(seed: int, side: int = 104) -> np.ndarray:
    """A picture with detail at every scale."""
    random = np.random.default_rng(seed)
    layers = [gaussian_filter(random.normal(0, 1, (side, side, 3)), (s, s, 0)) * s for s in (0.5, 1, 2, 4, 8)]
    return np.clip(128 + 28 * sum(layers), 0, 255).astype(np.uint8)


PICTURES = [picture(seed) for seed in range(12)]


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resized(image: np.ndarray, side: int, method=RESAMPLING.BICUBIC) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((side, side), method))


def test_clean_pictures_have_no_signs():
    assert [traces(image) for image in PICTURES] == [(None, None)] * len(PICTURES)


@pytest.mark.parametrize("quality", [50, 75, 90, 95])
@pytest.mark.parametrize("place", [(0, 0), (3, 5)])
def test_a_jpeg_is_seen_with_the_place_of_its_blocks(quality, place):
    """The first block that lies within the image begins at the place."""
    down, right = place
    for image in PICTURES[:4]:
        cut = jpeg(image, quality)[(8 - down) % 8 :, (8 - right) % 8 :]
        assert traces(cut)[0] == place


def test_a_resize_after_it_removes_the_blocks():
    for image in PICTURES[:4]:
        assert traces(resized(jpeg(image, 75), 90))[0] is None


@pytest.mark.parametrize("side", [62, 42])
def test_enlarging_is_seen_by_its_period(side):
    """The weights repeat with the factor, as frequencies of one pixel: 62 of 104 is that of 42 of 104, mirrored."""
    found = [traces(resized(image[:side, :side], 104))[1] for image in PICTURES]
    seen = [each for each in found if each]
    assert len(seen) >= 10
    expected = 1 / min(side / 104, 1 - side / 104)
    assert np.median(seen) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("side", [8, 23])
def test_tiny_and_plain_images_have_no_signs(side):
    assert traces(picture(0, side)) == (None, None)
    assert traces(np.full((64, 64, 3), 200, np.uint8)) == (None, None)


def test_large_images_are_looked_at_in_their_centre():
    assert traces(jpeg(picture(0, 300), 80))[0] == (0, 0)


def test_a_file_tells_its_format_and_quality():
    file = io.BytesIO()
    Image.fromarray(PICTURES[0]).save(file, "JPEG", quality=82, comment=b"by hand")
    assert history_of(file.getvalue()) == History("JPEG", 82, "comment", (0, 0), None)
    assert history_of(b"no image") is None


def test_signs_in_words():
    assert said(None, None) == "no signs"
    assert said((0, 0), None) == "signs of JPEG"
    assert said((0, 0), 2.5) == "signs of JPEG and resize"
