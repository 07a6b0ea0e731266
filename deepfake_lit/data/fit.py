"""How an image of any size becomes one of a given size without a resize: a window of it, its border mirrored."""

import numpy as np

WHOLE = "random_crop"  # the fit that keeps whole images, from which windows are taken later


def centre(size: np.ndarray | tuple[int, int], wanted: tuple[int, int]) -> np.ndarray:
    """Return the (top, left) of the centre windows of images of (height, width), int64 (..., 2); below 0: outside."""
    return (np.asarray(size, np.int64) - wanted) // 2


def corner(
    size: np.ndarray | tuple[int, int], wanted: tuple[int, int], places: np.ndarray | tuple[float, float] | None
) -> np.ndarray:
    """Return the (top, left) of windows in images of (height, width), int64 (..., 2).

    Args:
        places: (..., 2) in [0, 1], from the topmost to the lowest and from the leftmost to the rightmost window; None:
            the centre, where also a window lies that is larger than its image.
    """
    middle = centre(size, wanted)
    if places is None:
        return middle
    room = np.asarray(size, np.int64) - wanted
    return np.where(room > 0, np.minimum((np.asarray(places) * (room + 1)).astype(np.int64), room), middle)


def window(image: np.ndarray, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    """Return a window (height, width, ...) of an image (h, w, ...): a view, or a copy where it reaches beyond it."""
    for axis, (start, length) in enumerate(zip((top, left), size, strict=True)):
        if start >= 0 and start + length <= image.shape[axis]:
            image = image[(slice(None),) * axis + (slice(start, start + length),)]
        else:
            image = image.take(_mirrored(image.shape[axis], start, length), axis)
    return image


def _mirrored(side: int, start: int, length: int) -> np.ndarray:
    """Return places in an image for places that may lie beyond it, int64 (length,), mirrored as often as needed."""
    period = max(1, 2 * (side - 1))
    places = np.arange(start, start + length) % period
    return np.minimum(places, period - places) if side > 1 else np.zeros(length, np.int64)
