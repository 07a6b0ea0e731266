"""Views of test-time augmentation. A prediction is the mean of the softmax over the views of an image."""

VIEWS = {  # on (B, C, H, W); rotations are counter-clockwise
    "identity": lambda x: x,
    "hflip": lambda x: x.flip(-1),
    "vflip": lambda x: x.flip(-2),
    "rot90": lambda x: x.rot90(1, (-2, -1)),
    "rot180": lambda x: x.rot90(2, (-2, -1)),
    "rot270": lambda x: x.rot90(3, (-2, -1)),
}
