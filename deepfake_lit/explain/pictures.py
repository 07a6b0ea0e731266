"""Pictures of one image: where the network looks, the noise residual and the spectrum beside those of the classes.

They are data URIs, so that a page needs no other file.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter
from torch.nn import functional as F

from deepfake_lit.data.preprocess import tensors
from deepfake_lit.data.residuals import Pattern, pattern_of
from deepfake_lit.prediction.grad_cam import grad_cam
from deepfake_lit.prediction.trained import Trained

CLASSES = 5  # most classes beside an image; of more, the most probable ones
CLEAR = 2.0  # deviations of a residual or spectrum from the middle grey to black or white
HEAT = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))  # as matplotlib's inferno
SMOOTH = 5  # pixels; a single image's spectrum is noisier than a mean of hundreds


@dataclass
class Picture:
    uri: str
    caption: str


def png(pixels: np.ndarray) -> str:
    """Return an image, uint8 (H, W) or (H, W, 3), as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def looks(trained: Trained, pixels: np.ndarray, transparency: np.ndarray | None, target: int) -> np.ndarray:
    """Return the image, uint8 (H, W, 3), with what speaks for a class in colour, as `grad_cam` finds it.

    Raises:
        UserError: the network has no feature map.
    """
    heat = grad_cam(trained, *tensors(pixels[None], None if transparency is None else transparency[None]), target)
    heat = F.interpolate(heat[None], pixels.shape[:2], mode="bilinear", align_corners=False)[0, 0].numpy()
    places = np.linspace(0, 1, len(HEAT))
    colour = np.stack([np.interp(heat, places, plane) for plane in np.transpose(HEAT)], -1)
    return (0.45 * pixels + 0.55 * colour).astype(np.uint8)


def patterns(
    pixels: np.ndarray, means: Pattern | None, names: list[str], order: list[int]
) -> list[tuple[str, list[Picture]]]:
    """Return the rows of pictures, each with its title: residuals, spectra.

    Args:
        pixels: uint8 (H, W, 3), as the network sees the image.
        means: of the K classes.
        names: of the classes.
        order: their numbers, the most probable first.
    """
    own = pattern_of(pixels)
    shown = [] if means is None else [k for k in order if np.isfinite(means.residual[k]).all()][:CLASSES]
    residuals = [Picture(png(_grey(own.residual, 0.0)), "this image")]
    residuals += [Picture(png(_grey(means.residual[k], 0.0)), names[k]) for k in shown]
    if not shown or means.spectrum.shape[1:] != own.spectrum.shape:
        spectra = [Picture(png(_grey(own.spectrum, own.spectrum.mean())), "this image")]
        return [("Noise residual", residuals[:1]), ("Spectrum of the residual", spectra)]
    usual = np.nanmean(means.spectrum, 0)
    smooth = uniform_filter(own.spectrum, SMOOTH, mode="wrap") - uniform_filter(usual, SMOOTH, mode="wrap")
    spectra = [Picture(png(_grey(smooth, smooth.mean())), "this image")]
    for k in shown:
        differs = uniform_filter(means.spectrum[k] - usual, SMOOTH // 2, mode="wrap")
        spectra.append(Picture(png(_grey(differs, differs.mean())), names[k]))
    return [
        ("Noise residual of the image, and the mean residual of each class", residuals),
        ("Spectrum of the residual: its difference from the mean over all classes", spectra),
    ]


def _grey(values: np.ndarray, middle: float) -> np.ndarray:
    """Return values as uint8 grey, the middle as 128; each picture has its own scale."""
    scale = CLEAR * max(float(values.std()), 1e-6)
    return np.clip(128 + 127 * (values - middle) / scale, 0, 255).astype(np.uint8)
