"""Decodes an image file to 8-bit pixels and facts about it. Worker processes import this module: it needs no torch."""

import hashlib
import io
import warnings
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from deepfake_lit.data.fit import centre, window

MAX_PIXELS = 2**26  # 67 million; a file that claims more is refused before its pixels are allocated
MODES = ("RGB", "RGBA")
# What Pillow reads and recognises by its first bytes, without EPS and WMF, which start programs or need Windows.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "DIB", "ICO", "PPM", "QOI", "PSD")
FORMATS += ("DDS", "ICNS", "PCX", "SGI", "SUN", "XPM")
NO_FORMAT = "none of PNG, JPEG, WebP, AVIF, TIFF, GIF, BMP and the other formats that Pillow reads"
ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
# Entries of Image.info that say how a format stores an image rather than what somebody noted in it.
STORAGE = {"transparency", "interlace", "aspect", "background", "duration", "loop", "version", "extension"}
STORAGE |= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "jfif_density_unit", "adobe", "adobe_transform", "mp"}
STORAGE |= {
    "mpoffset",
    "disposal",
    "blend",
    "bbox",
    "default_image",
    "timestamp",
    "progression",
    "progressive",
    "compression",
}
JPEG_LUMA = 3_688  # sum of the luma table of the JPEG standard (ITU T.81, annex K), which is that of quality 50

Image.MAX_IMAGE_PIXELS = None  # `_decode` checks MAX_PIXELS itself, with its own error


class Facts(NamedTuple):
    """The facts known about a file after decoding. Sizes are in pixels; `error` is a kind of problem and its detail.

    `format` to `metadata` were added later: caches of before are completed by `container_of`.
    """

    error: tuple[str, str] | None
    mode: str = ""
    width: int = 0
    height: int = 0
    frames: int = 1
    alpha: tuple[int, int] | None = None  # smallest and largest alpha value; None: the file has no alpha
    pixel_hash: str = ""  # of the decoded pixels: the same picture in another file format has the same
    file_hash: str = ""
    format: str = ""  # Pillow's name of the file format
    quality: int | None = None  # of a JPEG: that with which libjpeg would have the same quantisation
    metadata: str = ""  # names of what is noted in the file, as "exif, icc_profile"


def decode(
    data: bytes, size: tuple[int, int] | None, fit: str = "resize"
) -> tuple[Facts, np.ndarray | None, np.ndarray | None]:
    """Decode one file.

    Args:
        data: the file's bytes.
        size: (height, width) of the pixels wanted; None keeps the image's own size.
        fit: how it is brought to that size: "resize"; any other, as its centre window.

    Returns:
        The facts; pixels uint8 (H, W, 3); transparency uint8 (H, W) = 255 - alpha, or None if the image is opaque.
        An error is returned in the facts, without pixels. This function raises no exception.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of harmless metadata
            return _decode(data, size, fit)
    except UnidentifiedImageError:  # its own text holds a memory address
        heif = data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"hevc")
        reason = "HEIF, which Pillow does not read; convert it to PNG" if heif else NO_FORMAT
        return Facts(("corrupt_image", reason)), None, None
    except Exception as error:  # Pillow raises nearly every type on hostile bytes
        return Facts(("corrupt_image", f"{type(error).__name__}: {error}"[:200])), None, None


def _decode(data: bytes, size: tuple[int, int] | None, fit: str):
    if not data:
        return Facts(("corrupt_image", "the file is empty")), None, None
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        return Facts(("decompression_bomb", f"{image.width} x {image.height} pixels")), None, None
    mode = image.mode
    if image.format == "PNG" and data[24] == 16 and mode in MODES:
        mode += ";16"  # Pillow drops the lower byte of 16-bit colour silently
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: a photograph with its previews
    container = _container(image)
    if _turned(image):  # as viewers show it; turns by quarters and mirrors change no pixel's value
        image = ImageOps.exif_transpose(image)
    width, height = image.size

    has_alpha = image.mode in ALPHA_MODES or "transparency" in image.info
    if image.mode[0] in "IF":
        image = Image.fromarray(_as_bytes(np.asarray(image)))
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
        if fit == "resize":
            own = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
        else:
            own = window(own, *centre((height, width), size), size)
    hashes = pixel_hash.hexdigest()[:32], hashlib.sha256(data).hexdigest()[:32]
    facts = Facts(None, mode, width, height, frames, alpha, *hashes, *container)
    return facts, own[..., :3], None if opaque else 255 - own[..., 3]


def _as_bytes(grey: np.ndarray) -> np.ndarray:
    """Return integers or floats (H, W) as uint8; convert() would clip them.

    Raises:
        ValueError: their range is none that images have, so that it is not known what is black and what is white.
    """
    low, high = grey.min(), grey.max()
    if grey.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.rint(grey * 255).astype(np.uint8)
    if grey.dtype.itemsize > 2 and low >= 0 and high <= 255:
        return np.rint(grey).astype(np.uint8)
    if low >= 0 and high <= 65_535 and grey.dtype.kind != "f":
        return (grey.astype(np.uint32) >> 8).astype(np.uint8)
    raise ValueError(f"grey values from {low:g} to {high:g} are neither 0..1 nor 8 nor 16 bits")


def _turned(image: Image.Image) -> bool:
    return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)


def _container(image: Image.Image) -> tuple[str, int | None, str]:
    """Return the last three of `Facts` for an open image."""
    quality = None
    if tables := getattr(image, "quantization", None):
        scale = 100 * sum(tables[min(tables)]) / JPEG_LUMA
        quality = max(1, min(100, round((200 - scale) / 2 if scale <= 100 else 5000 / scale)))
    noted = sorted({str(key) for key in image.info} - STORAGE)
    if "exif" not in noted and len(image.getexif()) and image.format != "TIFF":  # a TIFF's own tags count as EXIF
        noted.insert(0, "exif")
    return image.format or "", quality, ", ".join(noted)[:200]


def container_of(data: bytes) -> tuple[str, int | None, str, bool]:
    """Return format, quality and metadata of a file as in `Facts`, and whether it is turned by its EXIF orientation.

    It reads the head of the file alone. A file that cannot be opened has the format "".
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            return *_container(image), _turned(image)
    except Exception:  # Pillow raises nearly every type on hostile bytes
        return "", None, "", False


def size_of(data: bytes) -> tuple[int, int]:
    """Return the (height, width) that `decode` would find, from the head of a file; zeros if it cannot be opened."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                return 0, 0
            upright = image.getexif().get(ExifTags.Base.Orientation, 1) not in range(5, 9)
            return (image.height, image.width) if upright else (image.width, image.height)
    except Exception:  # as `container_of`
        return 0, 0
