"""Decodes an image file to 8-bit pixels and facts about it. Worker processes import this module: it needs no torch."""

import hashlib
import io
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

MAX_PIXELS = 2**26  # 67 million; a file that claims more is refused before its pixels are allocated
MODES = ("RGB", "RGBA")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # other formats can start programs, as EPS starts Ghostscript
ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")

Image.MAX_IMAGE_PIXELS = None  # `_decode` checks MAX_PIXELS itself, with its own error


class Facts(NamedTuple):
    """The facts known about a file after decoding. Sizes are in pixels; `error` is a kind of problem and its detail."""

    error: tuple[str, str] | None
    mode: str = ""
    width: int = 0
    height: int = 0
    frames: int = 1
    alpha: tuple[int, int] | None = None  # smallest and largest alpha value; None: the file has no alpha
    pixel_hash: str = ""  # of the decoded pixels: the same picture in another file format has the same
    file_hash: str = ""


def decode(data: bytes, size: tuple[int, int] | None) -> tuple[Facts, np.ndarray | None, np.ndarray | None]:
    """Decode one file.

    Args:
        data: the file's bytes.
        size: (height, width) to resize the image to; None keeps its own size.

    Returns:
        The facts; pixels uint8 (H, W, 3); transparency uint8 (H, W) = 255 - alpha, or None if the image is opaque.
        An error is returned in the facts, without pixels. This function raises no exception.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of harmless metadata
            return _decode(data, size)
    except UnidentifiedImageError:  # its own text holds a memory address
        return Facts(("corrupt_image", f"not one of {', '.join(FORMATS)}")), None, None
    except Exception as error:  # Pillow raises nearly every type on hostile bytes
        return Facts(("corrupt_image", f"{type(error).__name__}: {error}"[:200])), None, None


def _decode(data: bytes, size: tuple[int, int] | None):
    if not data:
        return Facts(("corrupt_image", "the file is empty")), None, None
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        return Facts(("decompression_bomb", f"{image.width} x {image.height} pixels")), None, None
    mode = image.mode
    if image.format == "PNG" and data[24] == 16 and mode in MODES:
        mode += ";16"  # Pillow drops the lower byte of 16-bit colour silently
    frames = getattr(image, "n_frames", 1)
    width, height = image.size

    has_alpha = image.mode in ALPHA_MODES or "transparency" in image.info
    if image.mode.startswith("I"):  # 16-bit grey: keep the upper byte, where convert() would clip
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    mode_wanted = "RGBA" if has_alpha else "RGB"
    if image.mode != mode_wanted:  # else convert() would copy
        image = image.convert(mode_wanted)
    own = np.asarray(image)
    alpha = (int(own[..., 3].min()), int(own[..., 3].max())) if has_alpha else None
    opaque = alpha is None or alpha == (255, 255)
    own = np.ascontiguousarray(own[..., :3]) if opaque else own
    pixel_hash = hashlib.sha256(str(own.shape).encode())
    pixel_hash.update(own)

    if size is not None and size != (height, width):
        own = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
    facts = Facts(
        None, mode, width, height, frames, alpha, pixel_hash.hexdigest()[:32], hashlib.sha256(data).hexdigest()[:32]
    )
    return facts, own[..., :3], None if opaque else 255 - own[..., 3]
