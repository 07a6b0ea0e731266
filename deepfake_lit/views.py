"""Views of test-time augmentation. A prediction is the mean of the softmax over the views of an image."""

from deepfake_lit.core.errors import UserError


def _shift(down: int, right: int):
    """By so many pixels, the border mirrored."""

    def shifted(x):
        height, width = x.shape[-2:]
        return x[..., _mirrored(height, -down), :][..., _mirrored(width, -right)]

    return shifted


def _mirrored(length: int, offset: int) -> list[int]:
    places = (abs(i + offset) for i in range(length))
    return [length - 1 - abs(length - 1 - place) for place in places]


VIEWS = {  # on (B, C, H, W); rotations are counter-clockwise
    "identity": lambda x: x,
    "hflip": lambda x: x.flip(-1),
    "vflip": lambda x: x.flip(-2),
    "rot90": lambda x: x.rot90(1, (-2, -1)),
    "rot180": lambda x: x.rot90(2, (-2, -1)),
    "rot270": lambda x: x.rot90(3, (-2, -1)),
    "up": _shift(-2, 0),
    "down": _shift(2, 0),
    "left": _shift(0, -2),
    "right": _shift(0, 2),
}
VIEWS |= {f"hflip_{name}": lambda x, move=VIEWS[name]: move(x.flip(-1)) for name in ("up", "down", "left", "right")}


def check_views(views: list[str]) -> None:
    """
    Raises:
        UserError: no view, or one that does not exist.
    """
    if not views:
        raise UserError("views needs at least one view, such as identity")
    for view in views:
        if view not in VIEWS:
            raise UserError(f"views has {view!r}; it must be one of {', '.join(VIEWS)}")
