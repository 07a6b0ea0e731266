"""One image file to 8-bit pixels and the facts about it. Imported by worker processes, so without torch."""

import hashlib
import io
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

MAX_PIXELS = 2**26  # a file that claims more is refused before its pixels are allocated (67 million)
MODES = ("RGB", "RGBA")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # others can start programs, as EPS starts Ghostscript
ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")

Image.MAX_IMAGE_PIXELS = None  # the bound above is checked here, with an error of our own


class Facts(NamedTuple):
    """What is known of a file after decoding. Sizes in pixels; `error` is a problem kind and its detail."""

    error: tuple[str, str] | None
    mode: str = ""
    width: int = 0
    height: int = 0
    frames: int = 1
    alpha: tuple[int, int] | None = None  # smallest and largest alpha value; None: the file has no alpha
    pixel_hash: str = ""  # of the decoded pixels, the same for the same picture in another file format
    file_hash: str = ""


def decode(data: bytes, size: tuple[int, int] | None) -> tuple[Facts, np.ndarray | None, np.ndarray | None]:
    """Decode one file.

    Args:
        data: the file's bytes.
        size: (height, width) to resize to where the file has another; None keeps its own.

    Returns:
        The facts; pixels uint8 (H, W, 3); transparency uint8 (H, W) = 255 - alpha, None where the image is opaque.
        After an error the facts hold it and there are no pixels. No exception leaves this function.
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
        mode += ";16"  # Pillow drops the lower byte of 16-bit colour without a word
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
