"""Views of test-time augmentation. A prediction is the mean of the softmax over an image's views."""

from torch import Tensor

from deepfake_lit.core.errors import UserError
from deepfake_lit.settings.choices import VIEWS


def by_place(views: list[str]) -> dict[tuple[float, float] | None, list[str]]:
    """Return the views by the place of the window that they are of; None: the centre."""
    found: dict[tuple[float, float] | None, list[str]] = {}
    for view in views:
        found.setdefault(VIEWS[view].place, []).append(view)
    return found


def check_places(views: list[str], whole: bool) -> None:
    """Raise `UserError` if views are of windows beside the centre, and there are no whole images to cut."""
    beside = [view for view in views if VIEWS[view].place]
    if beside and not whole:
        raise UserError(f"the views {', '.join(beside)} are corners of larger images, which need data.fit=random_crop")


def apply_view(name: str, images: Tensor) -> Tensor:
    """Return the view `name` of images (B, C, H, W), which are the windows at the view's place.

    A turn by 90 or 270 degrees swaps height and width.
    """
    view = VIEWS[name]
    flips = [-1] * view.hflip + [-2] * view.vflip
    images = images.flip(flips) if flips else images
    images = images.rot90(view.turns, (-2, -1)) if view.turns else images
    if not (view.down or view.right):
        return images
    height, width = images.shape[-2:]
    return images[..., _mirrored(height, -view.down), :][..., _mirrored(width, -view.right)]


def _mirrored(length: int, offset: int) -> list[int]:
    places = (abs(i + offset) for i in range(length))
    return [length - 1 - abs(length - 1 - place) for place in places]
