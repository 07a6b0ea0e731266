"""Images of no generator at all: what a network says of them shows what it takes the unknown for."""

from collections.abc import Callable

import numpy as np

from deepfake_lit.data.samples import CLASSES, MIN_SIZE, made_up

Make = Callable[[tuple[int, int], np.random.Generator], np.ndarray]


def _noise(size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    return random.integers(0, 256, (*size, 3))


def _grey_noise(size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    return np.repeat(random.normal(128, 30, (*size, 1)).clip(0, 255), 3, 2)


def _flat(size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    return np.broadcast_to(random.integers(0, 256, 3), (*size, 3))


def _gradient(size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    first, last = random.integers(0, 256, (2, 3))
    ramp = np.linspace(0, 1, size[1])[None, :, None]
    return np.broadcast_to(first + (last - first) * ramp, (*size, 3))


def _made_up(label: int) -> Make:
    def make(size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
        image = made_up(label, max(*size, MIN_SIZE), random).convert("RGB")
        return np.asarray(image)[: size[0], : size[1]]

    return make


# By name: (height, width) and a source of randomness to an image, (H, W, 3) in 0..255.
STRANGERS: dict[str, Make] = {
    "noise": _noise,
    "grey noise": _grey_noise,
    "flat colour": _flat,
    "gradient": _gradient,
    **{f"drawn scenes, finish {label}": _made_up(label) for label in range(CLASSES)},
}


def strangers(name: str, size: tuple[int, int], count: int) -> np.ndarray:
    """Return uint8 (N, H, W, 3), the same ones every time."""
    randoms = (np.random.default_rng([list(STRANGERS).index(name), number]) for number in range(count))
    return np.stack([STRANGERS[name](size, random) for random in randoms]).astype(np.uint8)
