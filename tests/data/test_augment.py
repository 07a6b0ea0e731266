"""Batched augmentation against torchvision, sample by sample, each sample of a batch with parameters of its own.

Tolerances, on values in [0, 1]:
  1e-5   the same formula in another order of float32 operations.
  2e-4   contrast and saturation: torchvision's luma weighs red with 0.2989, Pillow's and this package's is 0.299.
  2e-4   bilinear warps: positions in float32 differ by about 1e-5 pixels, and the images are noise, which changes by up
         to 1 a pixel. Where a fill is given, pixels that lie partly outside are left out: torchvision weighs the fill
         in twice there (0.25 of the image's value instead of 0.5 at the edge's middle).
  1 %    of the pixels of a nearest warp may be the neighbour: a position can fall half-way between two pixels. (All of
         every fifth row does where RandAugment shears by 0.2, so that magnitude is not among the tested ones.)
"""

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tv

from deepfake_lit.core.randomness import sample_keys, uniform
from deepfake_lit.data import colour, randaugment
from deepfake_lit.data.augment import augment
from deepfake_lit.data.preprocess import Preprocess
from deepfake_lit.data.views import apply_view
from deepfake_lit.data.warp import affine, identity, perspective, warp
from deepfake_lit.settings.schema import AugmentConfig

HEIGHT, WIDTH = 22, 30  # different, so that a mix-up of the two shows


def noise(count: int, planes: int = 3, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    """uint8 (count, planes, height, width); the first image is flat, and most of the second has its brightest value."""
    images = torch.randint(0, 256, (count, planes, height, width), generator=torch.Generator().manual_seed(3))
    images[0] = images[0, :, :1, :1]
    images[1].clamp_(max=60)
    return images.to(torch.uint8)


def looped(function, images: torch.Tensor, parameters) -> torch.Tensor:
    return torch.stack([function(image, p) for image, p in zip(images, parameters, strict=True)])


COLOUR = {  # name: (batched, torchvision's, a parameter a sample, tolerance)
    "brightness": (colour.brightness, tv.adjust_brightness, [0.0, 0.5, 1.0, 1.3, 1.9], 1e-6),
    "contrast": (colour.contrast, tv.adjust_contrast, [0.0, 0.5, 1.0, 1.3, 1.9], 2e-4),
    "saturation": (colour.saturation, tv.adjust_saturation, [0.0, 0.5, 1.0, 1.3, 1.9], 2e-4),
    "sharpness": (colour.sharpness, tv.adjust_sharpness, [0.0, 0.5, 1.0, 1.3, 1.9], 1e-5),
    "hue": (colour.hue, tv.adjust_hue, [-0.5, -0.2, 0.0, 0.07, 0.5], 1e-5),
    "solarize": (colour.solarize, tv.solarize, [0.999, 0.0, 0.3333, 0.501, 1.0], 0),
    "blur 3": (lambda x, s: colour.gaussian_blur(x, s, 3), lambda x, s: tv.gaussian_blur(x, 3, s), None, 1e-5),
    "blur 7": (lambda x, s: colour.gaussian_blur(x, s, 7), lambda x, s: tv.gaussian_blur(x, 7, s), None, 1e-5),
    "autocontrast": (lambda x, _: colour.autocontrast(x), lambda x, _: tv.autocontrast(x), None, 1e-5),
}


@pytest.mark.parametrize("planes", [3, 1])
@pytest.mark.parametrize("name", COLOUR)
def test_colour(name, planes):
    batched, single, parameters, tolerance = COLOUR[name]
    parameters = parameters or [0.1, 0.5, 1.0, 1.5, 2.0]
    images = noise(5, planes) / 255
    before = images.clone()
    result = batched(images, torch.tensor(parameters))
    torch.testing.assert_close(result, looped(single, images, parameters), atol=tolerance, rtol=0)
    assert torch.equal(images, before)  # no operation works in place


@pytest.mark.parametrize("planes", [3, 1])
def test_colour_of_8_bit_values(planes):
    """posterize and equalize are defined on bytes, where they are exact; torchvision's float paths bin otherwise."""
    images = noise(9, planes)
    bits = list(range(9))
    assert torch.equal(
        colour.posterize(images / 255, torch.tensor(bits).float()), looped(tv.posterize, images, bits) / 255
    )
    for some in (images, noise(4, planes, 15, 16)):  # 240 pixels are too few for a step of one level
        assert torch.equal(colour.equalize(some / 255), tv.equalize(some) / 255)
    stretched = tv.autocontrast(images) / 255  # rounded down to bytes
    torch.testing.assert_close(colour.autocontrast(images / 255), stretched, atol=1 / 255 + 1e-6, rtol=0)


def assert_warped(result: torch.Tensor, expected: torch.Tensor, interpolation: str, rim=None) -> None:
    wrong = (result - expected).abs() > 2e-4
    if rim is not None:
        wrong &= ~rim
        assert rim.float().mean() < 0.3
    assert wrong.float().mean() <= (0.01 if interpolation == "nearest" else 0)


def partly_outside(matrices, interpolation: str, projective: bool = False) -> torch.Tensor:
    covered = warp(torch.ones(len(matrices), 1, HEIGHT, WIDTH), matrices, interpolation, 0.0, projective)
    return (covered > 1e-4) & (covered < 1 - 1e-4)


@pytest.mark.parametrize("fill", [None, 0.4])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_affine(interpolation, fill):
    images, mode = noise(6) / 255, InterpolationMode(interpolation)
    # angle (clockwise), translation, scale, shear: each alone, then all together
    parameters = [
        (33.0, (0, 0), 1.0, (0.0, 0.0)),
        (-7.3, (0, 0), 1.0, (0.0, 0.0)),
        (0.0, (5, -3), 1.0, (0.0, 0.0)),
        (0.0, (0, 0), 0.83, (0.0, 0.0)),
        (0.0, (0, 0), 1.0, (12.0, -8.0)),
        (17.0, (-2, 4), 1.21, (-9.0, 14.0)),
    ]
    angle, translate, scale, shear = (torch.tensor(p) for p in zip(*parameters, strict=True))
    matrices = affine(angle, translate[:, 0], translate[:, 1], scale, shear[:, 0], shear[:, 1])
    expected = looped(lambda x, p: tv.affine(x, *p, mode, fill), images, parameters)
    rim = None if fill is None else partly_outside(matrices, interpolation)
    assert_warped(warp(images, matrices, interpolation, fill or 0.0), expected, interpolation, rim)
    turned = looped(
        lambda x, a: tv.rotate(x, -a, InterpolationMode(interpolation)), images[:2], [33.0, -7.3]
    )  # counter-clockwise
    assert_warped(warp(images, matrices, interpolation, 0.0)[:2], turned, interpolation)


@pytest.mark.parametrize("fill", [None, 0.4])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_perspective(interpolation, fill):
    images, mode = noise(4) / 255, InterpolationMode(interpolation)
    old = [[0, 0], [WIDTH - 1, 0], [WIDTH - 1, HEIGHT - 1], [0, HEIGHT - 1]]
    new = [
        old,
        [[3, 2], [WIDTH - 5, 1], [WIDTH - 2, HEIGHT - 6], [6, HEIGHT - 3]],
        [[0, 8], [WIDTH - 1, 0], [WIDTH - 9, HEIGHT - 1], [0, HEIGHT - 1]],
        [[7, 5], [WIDTH - 8, 5], [WIDTH - 8, HEIGHT - 6], [7, HEIGHT - 6]],
    ]
    matrices = perspective(torch.tensor(new, dtype=torch.float32), HEIGHT, WIDTH)
    expected = looped(lambda x, corners: tv.perspective(x, old, corners, mode, fill), images, new)
    rim = None if fill is None else partly_outside(matrices, interpolation, True)
    assert_warped(warp(images, matrices, interpolation, fill or 0.0, True), expected, interpolation, rim)


def test_nothing_moves_under_the_identity():
    images = noise(3) / 255
    torch.testing.assert_close(warp(images, identity(images), "bilinear", 0.3), images, atol=2e-6, rtol=0)
    assert torch.equal(warp(images, identity(images), "nearest", 0.0), images)


def test_the_configured_geometry_is_torchvisions():
    """Through `augment`: the ranges and directions of what it draws."""
    images = noise(8) / 255
    keys = sample_keys(0, 0, torch.arange(8))
    assert torch.equal(augment(images, keys, AugmentConfig(hflip=1.0)), tv.horizontal_flip(images))
    assert torch.equal(augment(images, keys, AugmentConfig(vflip=1.0)), tv.vertical_flip(images))

    def drawn(name, *limits):
        return uniform(keys, name, *limits).tolist()

    cfg = AugmentConfig(rotation=30, translate=0.2, scale=[0.7, 1.4], shear=15)
    x, y = drawn("translate_x", -0.2 * WIDTH, 0.2 * WIDTH), drawn("translate_y", -0.2 * HEIGHT, 0.2 * HEIGHT)
    shear = zip(drawn("shear_x", -15, 15), drawn("shear_y", -15, 15), strict=True)
    parameters = list(
        zip(drawn("rotation", -30, 30), zip(x, y, strict=True), drawn("scale", 0.7, 1.4), shear, strict=True)
    )
    moved = looped(lambda image, p: tv.affine(image, *p, InterpolationMode.BILINEAR), images, parameters)
    assert_warped(augment(images, keys, cfg), moved, "bilinear")

    old = [[0, 0], [WIDTH - 1, 0], [WIDTH - 1, HEIGHT - 1], [0, HEIGHT - 1]]
    x = torch.stack([uniform(keys, f"corner_x/{i}") for i in range(4)], 1) * 0.4 * WIDTH / 2
    y = torch.stack([uniform(keys, f"corner_y/{i}") for i in range(4)], 1) * 0.4 * HEIGHT / 2
    sign = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    new = (torch.tensor(old) + torch.stack([x, y], -1) * sign).tolist()
    seen = looped(lambda image, corners: tv.perspective(image, old, corners, InterpolationMode.BILINEAR), images, new)
    assert_warped(augment(images, keys, AugmentConfig(perspective=0.4, perspective_p=1.0)), seen, "bilinear")


def test_perspective_comes_after_the_other_geometry():
    """One warp by both is one warp after the other, on ramps, which resampling twice does not blur."""
    ramps = [
        torch.linspace(0, 1, WIDTH).expand(HEIGHT, WIDTH),
        torch.linspace(0, 1, HEIGHT)[:, None].expand(HEIGHT, WIDTH),
        torch.ones(HEIGHT, WIDTH),  # 1 where nothing from outside is mixed in
    ]
    images, keys = torch.stack(ramps).expand(8, 3, HEIGHT, WIDTH), sample_keys(0, 0, torch.arange(8))
    first, then = dict(rotation=30, scale=[0.8, 1.4], shear=10), dict(perspective=0.4, perspective_p=1.0)
    expected = augment(augment(images, keys, AugmentConfig(**first)), keys, AugmentConfig(**then))
    result = augment(images, keys, AugmentConfig(**first, **then))
    inside = (result[:, 2:] > 0.9999) & (expected[:, 2:] > 0.9999)
    assert inside.float().mean() > 0.3
    assert ((result - expected).abs() * inside).max() < 1e-4


@pytest.mark.parametrize("size", [16, 26, 48])  # shrinks both sides, shrinks one and enlarges the other, enlarges both
def test_resize(size):
    pixels = noise(3).permute(0, 2, 3, 1)
    result = Preprocess("rgb", size, (0.5,), (0.5,)).planes(pixels, None)
    expected = tv.resize(noise(3) / 255, [size, size], InterpolationMode.BILINEAR, antialias=True)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.5,), (0.5,)), ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25)), ((0.5,), (0.2, 0.3, 0.25)), ((0.4, 0.5, 0.6), (0.5,))],
)
def test_normalise(mean, std):
    images = noise(3) / 255
    expected = tv.normalize(images, mean * (3 // len(mean)), std * (3 // len(std)))
    torch.testing.assert_close(Preprocess("rgb", None, mean, std).normalise(images), expected)


SPACE = v2.RandAugment._AUGMENTATION_SPACE
THEIRS = {"saturation": "Color", "autocontrast": "AutoContrast"} | {
    name: name.title().replace("_", "") for name in randaugment.OPERATIONS if name not in ("saturation", "autocontrast")
}
BYTES = (
    "posterize",
    "equalize",
    "autocontrast",
)  # torchvision computes these on bytes when it gets bytes, as it should


def test_randaugment_has_torchvisions_operations():
    assert list(THEIRS[name] for name in randaugment.OPERATIONS) == list(SPACE)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("magnitude", [0, 5, 9, 14, 30])
def test_randaugment(magnitude, interpolation):
    """All operations with both signs in one batch."""
    names = [name for name in randaugment.OPERATIONS for _ in (0, 1)]
    images = noise(len(names)).roll(-2, 0)  # the flat image and the dark one to the end: equalize
    operation = torch.tensor([randaugment.OPERATIONS.index(name) for name in names])
    sign = torch.tensor([-1.0, 1.0]).repeat(len(SPACE))
    result = randaugment.apply(images / 255, operation, sign, magnitude, interpolation, 0.0)
    theirs = v2.RandAugment()
    for i, name in enumerate(names):
        strengths, signed = SPACE[THEIRS[name]]
        values = strengths(31, HEIGHT, WIDTH)
        strength = 0.0 if values is None else float(values[magnitude])
        strength *= sign[i].item() if signed else 1
        image = images[i] if name in BYTES else images[i] / 255
        mode = InterpolationMode(interpolation)
        expected = theirs._apply_image_or_video_transform(image, THEIRS[name], strength, mode, theirs._fill)
        if name in BYTES:
            slack = 1 / 255 if name == "autocontrast" else 0  # torchvision rounds down to bytes
            torch.testing.assert_close(result[i], expected / 255, atol=slack + 1e-6, rtol=0)
        else:
            assert_warped(result[i], expected, interpolation if name in randaugment.GEOMETRIC else "")
        if name == "identity":
            assert torch.equal(result[i], image)


def test_shifts_are_numpy_s_reflected_windows():
    images, keys = torch.rand(40, 3, 12, 10), sample_keys(0, 0, torch.arange(40))
    shifted = augment(images, keys, AugmentConfig(crop=3)).numpy()
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), mode="reflect")
    found = set()
    for i in range(40):
        windows = {(y, x): padded[i, :, y : y + 12, x : x + 10] for y in range(7) for x in range(7)}
        (place,) = [at for at, window in windows.items() if np.array_equal(window, shifted[i])]
        found.add(place)
    assert len(found) > 20
    assert {y for y, _ in found} | {x for _, x in found} == set(range(7))


def test_windows_are_anywhere_in_the_image():
    images, keys = torch.rand(60, 3, 12, 10), sample_keys(0, 0, torch.arange(60))
    result = augment(images, keys, AugmentConfig(window=8))
    assert result.shape == (60, 3, 8, 8)
    found = set()
    for image, window in zip(images, result, strict=True):
        places = [(y, x) for y in range(5) for x in range(3) if torch.equal(image[:, y : y + 8, x : x + 8], window)]
        found.update(places)
        assert len(places) == 1
    assert len(found) == 15


def test_a_shared_shift_is_one_for_the_batch():
    row = torch.rand(1, 3, 12, 12)
    images, keys = row.expand(6, -1, -1, -1), sample_keys(0, 0, torch.arange(6))
    shifted = augment(images, keys, AugmentConfig(crop=3, crop_shared=True))
    assert all(torch.equal(shifted[0], other) for other in shifted)
    apart = augment(images, keys, AugmentConfig(crop=3))
    assert not all(torch.equal(apart[0], other) for other in apart)


def test_quarter_turns_of_a_share_of_the_images():
    images, keys = torch.rand(400, 3, 8, 8), sample_keys(0, 0, torch.arange(400))
    turned = augment(images, keys, AugmentConfig(rot90=0.5))
    counts = [sum(torch.equal(t, i.rot90(n, (-2, -1))) for i, t in zip(images, turned, strict=True)) for n in range(4)]
    assert sum(counts) == 400
    assert 160 < counts[0] < 240
    assert min(counts[1:]) > 40


def test_shifted_views_are_reflected_and_come_back():
    x = torch.arange(2 * 3 * 12 * 12).view(2, 3, 12, 12)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    for name, (top, left) in {"up": (4, 2), "down": (0, 2), "left": (2, 4), "right": (2, 0)}.items():
        np.testing.assert_array_equal(apply_view(name, x).numpy(), padded[:, :, top : top + 12, left : left + 12])
        assert torch.equal(apply_view(f"hflip_{name}", x), apply_view(name, x.flip(-1)))
