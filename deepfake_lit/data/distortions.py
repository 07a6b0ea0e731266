"""What happens to images on their way: codecs, resizing, blur, noise, and chains of these, each on one decoded image.

Every function takes an image, uint8 (H, W, 3) or (H, W, 4) with alpha, a strength and a generator of random numbers,
and returns an image of the same shape. An image that comes out smaller is brought back to its size, as the decoder does
with a file of another size. To add a distortion, write such a function and add a line to `GRID`. Imports no torch.
"""

import io
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter
from PIL.Image import Resampling

Image8 = np.ndarray
Apply = Callable[[Image8, float, Generator], Image8]
SMOOTH = (Resampling.BILINEAR, Resampling.BICUBIC, Resampling.LANCZOS)
FULL, HALF = 0, 2  # Pillow's numbers of 4:4:4 and 4:2:0: the colours at full and at half of the luma's resolution


def jpeg(image: Image8, quality: float, random: Generator, subsampling: int | None = None) -> Image8:
    """Store as JPEG, which has no alpha, by libjpeg-turbo.

    Args:
        subsampling: of the colours; None: at random.
    """
    if subsampling is None:
        subsampling = (FULL, HALF)[random.integers(2)]
    return _stored(image, "JPEG", quality=round(quality), subsampling=subsampling)


def webp(image: Image8, quality: float, random: Generator) -> Image8:
    """Store as lossy WebP, by libwebp."""
    return _stored(image, "WEBP", quality=round(quality))


def _stored(image: Image8, file_format: str, **options) -> Image8:
    file = io.BytesIO()
    picture = Image.fromarray(image)
    mode = picture.mode
    (picture.convert("RGB") if file_format == "JPEG" else picture).save(file, file_format, **options)
    return np.asarray(Image.open(file).convert(mode))


def resize(image: Image8, factor: float, random: Generator, method: Resampling | None = None) -> Image8:
    """Resize by a factor and back, by Pillow, which smooths when it shrinks.

    Args:
        method: of the interpolation; None: one at random each way.
    """
    there, back = (SMOOTH[i] for i in random.integers(len(SMOOTH), size=2)) if method is None else (method, method)
    height, width = image.shape[:2]
    return _to(
        _to(image, (max(1, round(height * factor)), max(1, round(width * factor))), there), (height, width), back
    )


def _to(image: Image8, size: tuple[int, int], method: Resampling = Resampling.BILINEAR) -> Image8:
    return np.asarray(Image.fromarray(image).resize(size[::-1], method))


def crop(image: Image8, share: float, random: Generator) -> Image8:
    """Cut a share of both sides off, at random ends, and resize to the size of before."""
    height, width = image.shape[:2]
    down, right = round(share * height), round(share * width)
    top, left = (int(random.integers(most + 1)) for most in (down, right))
    return _to(image[top : top + height - down, left : left + width - right], (height, width), Resampling.BICUBIC)


def blur(image: Image8, sigma: float, random: Generator) -> Image8:
    """Blur by Pillow's approximation of a Gaussian with a deviation of sigma pixels."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def noise(image: Image8, sigma: float, random: Generator) -> Image8:
    """Add Gaussian noise with a deviation of sigma grey levels to every colour of every pixel."""
    colours = image[..., :3]
    noisy = colours + sigma * random.standard_normal(colours.shape, np.float32)
    return _recoloured(image, np.rint(noisy))


def gamma(image: Image8, exponent: float, random: Generator) -> Image8:
    """Raise all colours, in [0, 1], to a power: above 1 the image becomes darker."""
    table = np.rint(255 * (np.arange(256) / 255) ** exponent)
    return _recoloured(image, table[image[..., :3]])


def _recoloured(image: Image8, colours: np.ndarray) -> Image8:
    changed = image.copy()
    changed[..., :3] = np.clip(colours, 0, 255)
    return changed


def messenger(image: Image8, quality: float, random: Generator) -> Image8:
    """Send through a messenger, which shrinks to three quarters, stores as JPEG 4:2:0 and strips all else."""
    height, width = image.shape[:2]
    small = _to(image, (round(0.75 * height), round(0.75 * width)), Resampling.BICUBIC)
    return _to(jpeg(small, quality, random, HALF), (height, width))


def screenshot(image: Image8, factor: float, random: Generator) -> Image8:
    """Show on a screen that magnifies by a factor, and take a picture of it that lacks two pixels at every side."""
    height, width = image.shape[:2]
    shown = _to(image, (round(factor * height), round(factor * width)))
    return _to(shown[2:-2, 2:-2], (height, width))


def jpeg_twice(image: Image8, quality: float, random: Generator) -> Image8:
    """Store as JPEG of quality 90, then as one whose blocks begin 3 rows and 5 columns elsewhere."""
    first = jpeg(image, 90, random, HALF)
    moved = np.pad(first, ((3, 0), (5, 0), (0, 0)), mode="edge")
    return jpeg(moved, quality, random, HALF)[3:, 5:]


class Distortion(NamedTuple):
    """A kind of distortion in the grid.

    Attributes:
        strengths: weakest first; a chain of fixed steps has a single one.
        nothing: the strength that would change nothing, or nearly so.
        unit: of the strength, for axes and tables.
        source: where such strengths are measured elsewhere or what they stand for.
    """

    apply: Apply
    strengths: tuple[float, ...]
    nothing: float
    unit: str
    source: str


_bicubic = partial(resize, method=Resampling.BICUBIC)
_CNN = "CNNDetection (Wang et al. 2020, arXiv 1912.11035)"
_COMMON = "common corruptions (Hendrycks and Dietterich 2019, arXiv 1903.12261)"
_SOCIAL = "TrueFake (2025, arXiv 2504.20658), sharing on social networks"
GRID = {
    "jpeg": Distortion(partial(jpeg, subsampling=HALF), (95, 85, 75, 60, 40), 100, "quality, 4:2:0", _CNN),
    "jpeg_444": Distortion(partial(jpeg, subsampling=FULL), (95, 75, 40), 100, "quality, 4:4:4", _CNN),
    "webp": Distortion(webp, (90, 75, 60, 45, 30), 100, "quality", "SIDBench (2024, arXiv 2404.18552)"),
    "down": Distortion(_bicubic, (0.9, 0.75, 0.6, 0.5, 0.4), 1, "factor", "SIDBench (2024, arXiv 2404.18552)"),
    "up": Distortion(_bicubic, (1.5, 2), 1, "factor", "SIDBench (2024, arXiv 2404.18552)"),
    "blur": Distortion(blur, (0.4, 0.7, 1, 1.5, 2), 0, "sigma in pixels", _CNN),
    "noise": Distortion(noise, (1, 2, 4, 7, 10), 0, "sigma in grey levels", _COMMON),
    "crop": Distortion(crop, (0.05, 0.1, 0.2), 0, "share of the side", "B-Free (2024, arXiv 2412.17671)"),
    "darker": Distortion(gamma, (1.25, 1.6), 1, "gamma", _COMMON),
    "brighter": Distortion(gamma, (0.8, 0.6), 1, "gamma", _COMMON),
    "messenger": Distortion(messenger, (75,), 100, "quality after a resize to 0.75", _SOCIAL),
    "screenshot": Distortion(screenshot, (1.25,), 1, "factor", _SOCIAL),
    "jpeg_twice": Distortion(jpeg_twice, (75,), 100, "quality of the second", _SOCIAL),
}
# What training draws from: the same functions, with all else about them at random.
KINDS: dict[str, Apply] = {function.__name__: function for function in (jpeg, webp, resize, crop, blur, noise, gamma)}


def on_batch(
    pixels: np.ndarray, transparency: np.ndarray | None, keys: list[int], distort: Callable[[Image8, Generator], Image8]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Distort each image of a batch with random numbers of its own.

    Args:
        pixels: uint8 (B, H, W, 3).
        transparency: uint8 (B, H, W), 255 - alpha, or None.
        keys: seed of each image's generator, at least 0.

    Returns:
        The same, as new arrays.
    """
    if transparency is not None:
        pixels = np.concatenate([pixels, 255 - transparency[..., None]], -1)
    generators = (Generator(np.random.SFC64(key)) for key in keys)
    images = [distort(image, random) for image, random in zip(pixels, generators, strict=True)]
    changed = np.stack(images) if images else pixels
    if transparency is None:
        return changed, None
    return np.ascontiguousarray(changed[..., :3]), 255 - changed[..., 3]
