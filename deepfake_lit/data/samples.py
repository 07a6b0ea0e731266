"""A made-up data set in the competition's layout, for the demo and the tests.

Scenes are drawn in the same way for every class, and one of five procedural "generators" finishes each: the label is
in the traces that image generators leave (up-sampling, noise, seams), not in the subject. As in the real data, class 3
is easy, class 4 is mistaken for class 1, and nearest neighbours on pixels do little better than chance. Unlike there,
the alpha channel of class 3 carries information, so that the RGBA mode has something to find.
"""

import csv
import math
import uuid
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import atomic, named

CLASSES = 5
SPLITS = ("train", "validation", "test")  # the position is part of every image's seed, so only append
MIN_SIZE = 16
SUPERSAMPLING = 2  # shapes are drawn this much larger and then reduced, for antialiasing


def write_samples(
    root: Path, *, train: int = 1500, validation: int = 300, test: int = 0, image_size: int = 64, seed: int = 0
) -> None:
    """Write `train`, `validation` and `test` images (totals of the splits) and their CSV files under `root`.

    The files are `<split>.csv` with `image_id,label` (test: `image_id`), `<split>/<image_id>.png`, 8-bit, square, RGBA
    for label 3 and RGB for the others, and `sample_submission.csv` with label 0 for every test image. A split of 0
    images gets no files. Existing files of the same name are overwritten, others are kept.

    Image number i of a split has label i % 5 and depends only on the seed, the split, i and the size: a larger set
    contains the smaller one. Its id comes from the same random stream as its pixels. Rows of CSV files are shuffled.

    Raises:
        UserError: a negative count or seed, or an `image_size` below 16.
    """
    counts = dict(zip(SPLITS, (train, validation, test), strict=True))
    if min(*counts.values(), seed) < 0:
        raise UserError(f"counts and seed must not be negative: {counts}, seed {seed}")
    if image_size < MIN_SIZE:
        raise UserError(f"image_size must be {MIN_SIZE} or more, not {image_size}")
    root = Path(root)
    for number, (split, count) in enumerate(counts.items()):
        if count == 0:
            continue
        (root / split).mkdir(parents=True, exist_ok=True)
        rows = []
        for index in range(count):
            rng = np.random.default_rng([seed, number, index])
            image_id, label = str(uuid.UUID(bytes=rng.bytes(16), version=4)), index % CLASSES
            with named(root / split):
                made_up(label, image_size, rng).save(root / split / f"{image_id}.png")
            rows.append((image_id, label))
        # The fourth number separates this random stream from those of the images, which have three.
        order = np.random.default_rng([seed, number, count, 1]).permutation(count)
        rows = [rows[i] for i in order]
        # The CSV files come last, so that a killed run leaves no list of images that do not exist.
        if split == "test":
            _write_csv(root / "sample_submission.csv", ("image_id", "label"), ((i, 0) for i, _ in rows))
            _write_csv(root / "test.csv", ("image_id",), ((i,) for i, _ in rows))
        else:
            _write_csv(root / f"{split}.csv", ("image_id", "label"), rows)


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple]) -> None:
    with atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def made_up(label: int, size: int, rng: np.random.Generator) -> Image.Image:
    """Return one square image with the traces of a class, RGBA for label 3 and RGB for the others."""
    scene, matte = _scene(size, rng)
    # All classes use the same ranges, so that neither the noise level nor the loss of detail reveals the class.
    sigma, softness = rng.uniform(0.03, 0.06), rng.uniform(0.4, 0.8)
    finish, saturation = _GENERATORS[label]
    grey = scene.mean(axis=0)
    planes = finish(grey + saturation * (scene - grey), matte, sigma, softness, rng)
    if label == 3:
        # Alpha is a soft matte of at least 0.25, so that the background is fainter, not gone.
        planes = np.stack([*planes, 0.25 + 0.75 * ndimage.gaussian_filter(matte, size / 48)])
    return Image.fromarray(np.rint(np.moveaxis(planes, 0, 2).clip(0, 1) * 255).astype(np.uint8))


# --- The scene, drawn in the same way for every class. Colour planes come first, (3, size, size): numpy is faster. ---


def _scene(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a picture, float32 (3, size, size) in about 0..1, and the coverage of its shapes, (size, size) in 0..1."""
    angle = rng.uniform(0, 2 * math.pi)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    # math, not np: numpy's scalars are float64, which would turn every later array into float64, at half the speed.
    ramp = 0.5 + math.cos(angle) * ramp[:, None] + math.sin(angle) * ramp
    first, second = rng.uniform(0.15, 0.85, (2, 3, 1, 1)).astype(np.float32)
    background = second + (first - second) * ramp

    canvas = Image.new("RGBA", (size * SUPERSAMPLING,) * 2)
    draw = ImageDraw.Draw(canvas)
    for shape in rng.permutation([_board, _wheel, _plate])[: rng.integers(2, 4)]:
        centre, radius = rng.uniform(0.2, 0.8, 2) * canvas.width, rng.uniform(0.14, 0.3) * canvas.width
        shape(draw, centre, radius, rng)
    layer = np.moveaxis(np.asarray(canvas.reduce(SUPERSAMPLING)), 2, 0).astype(np.float32, order="C") / 255
    shapes, matte = layer[:3], layer[3]
    # The texture also lies on the shapes, but fainter, like light.
    return background + matte * (shapes - background) + (1 - 0.6 * matte) * _texture(size, rng), matte


def _texture(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise of about 1/f, (size, size): a sum of random grids, each twice as fine and 0.55 times as strong."""
    total = np.zeros((size, size), np.float32)
    cells, strength = 3, rng.uniform(0.06, 0.14)
    while cells <= size // 2:
        grid = Image.fromarray(strength * rng.standard_normal((cells, cells), dtype=np.float32))
        total += np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))
        cells, strength = cells * 2, strength * 0.55
    return total


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    return tuple(int(c) for c in rng.integers(25, 231, 3))


def _board(draw: ImageDraw.ImageDraw, centre: np.ndarray, radius: float, rng: np.random.Generator) -> None:
    """Draw a chess board seen at an angle."""
    squares, angle, tilt = int(rng.integers(4, 7)), rng.uniform(0, np.pi), rng.uniform(0.5, 1)
    across = np.array([np.cos(angle), tilt * np.sin(angle)])
    down = np.array([-np.sin(angle), tilt * np.cos(angle)])
    steps = np.linspace(-1.2, 1.2, squares + 1) * radius
    at = centre + steps[:, None, None] * down + steps[:, None] * across
    at = [[tuple(point) for point in line] for line in at.tolist()]
    draw.polygon([at[0][0], at[0][-1], at[-1][-1], at[-1][0]], fill=_colour(rng))
    colour = _colour(rng)
    for i in range(squares):
        for j in range(i % 2, squares, 2):
            draw.polygon([at[i][j], at[i][j + 1], at[i + 1][j + 1], at[i + 1][j]], fill=colour)


def _wheel(draw: ImageDraw.ImageDraw, centre: np.ndarray, radius: float, rng: np.random.Generator) -> None:
    colour, width = _colour(rng), max(2, round(radius * rng.uniform(0.1, 0.22)))
    draw.ellipse([*(centre - radius), *(centre + radius)], outline=colour, width=width)
    for angle in rng.uniform(0, np.pi) + np.linspace(0, np.pi, rng.integers(3, 6), endpoint=False):
        reach = (radius - width / 2) * np.array([np.cos(angle), np.sin(angle)])
        draw.line([*(centre - reach), *(centre + reach)], fill=colour, width=max(1, width // 2))


def _plate(draw: ImageDraw.ImageDraw, centre: np.ndarray, radius: float, rng: np.random.Generator) -> None:
    axes = radius * np.array([1, rng.uniform(0.45, 1)])
    for scale in (1, rng.uniform(0.55, 0.8)):
        draw.ellipse([*(centre - scale * axes), *(centre + scale * axes)], fill=_colour(rng))


# --- The generators. ---
# Each takes the scene, float32 (3, size, size), the coverage of its shapes, the standard deviation of the noise
# and the share of fine detail that is made from a half-size picture. Each returns the finished picture.


def _held(scene, matte, sigma, softness, rng):
    """Class 0: repeat pixels (zero-order hold), with part of the noise."""
    noise = _unit(_noise(scene, rng) + 0.8 * _repeat(_noise(_halve(scene), rng), scene))
    return scene + softness * (_repeat(_halve(scene), scene) - scene) + sigma * noise


def _transposed(scene, matte, sigma, softness, rng):
    """Class 1: imitate a transposed convolution whose kernel overlaps unevenly (checkerboard); white noise."""
    return _checkered(scene, softness, rng) + sigma * _noise(scene, rng)


def _low_pass(scene, matte, sigma, softness, rng):
    """Class 2: enlarge bicubically and add spatially correlated noise, which makes the spectrum steeper."""
    up = _double(_halve(scene), scene, Image.Resampling.BICUBIC)
    noise = _unit(ndimage.gaussian_filter(_noise(scene, rng), (0, 0.5, 0.5)))
    return scene + softness * (up - scene) + sigma * noise


def _pasted(scene, matte, sigma, softness, rng):
    """Class 3: paste shapes on a softer picture along a feathered seam; colour noise inside, grey noise around."""
    inside = ndimage.gaussian_filter(matte, 1)
    behind = ndimage.gaussian_filter(scene, (0, softness, softness))
    noise = np.where(inside > 0.5, _noise(scene, rng), _noise(matte, rng))
    return behind + inside * (scene - behind) + sigma * noise


def _transposed_smeared(scene, matte, sigma, softness, rng):
    """Class 4: as class 1, but with noise smeared along the rows, in some images so little that they pass for 1."""
    smear = rng.uniform(0.1, 0.6)
    noise = _unit(ndimage.convolve1d(_noise(scene, rng), [smear, 1, smear], axis=2))
    return _checkered(scene, softness, rng) + sigma * noise


# Generators and their saturation, which is a weak hint: the scenes' own colours vary far more.
_GENERATORS = ((_held, 1.0), (_transposed, 1.2), (_low_pass, 0.8), (_pasted, 0.5), (_transposed_smeared, 1.2))


def _checkered(scene, softness, rng):
    up = _double(_halve(scene), scene, Image.Resampling.BILINEAR)
    gain = 1 + rng.uniform(0.01, 0.04) * (-1.0) ** np.arange(scene.shape[1], dtype=np.float32)
    return (scene + softness * (up - scene)) * (gain[:, None] * gain)


def _noise(like, rng):
    return rng.standard_normal(like.shape, dtype=np.float32)


def _unit(noise):
    return noise / noise.std()


def _halve(planes):
    odd = planes.shape[1] % 2
    even = np.pad(planes, ((0, 0), (0, odd), (0, odd)), mode="edge") if odd else planes
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4


def _repeat(half, like):
    return half.repeat(2, axis=1).repeat(2, axis=2)[:, : like.shape[1], : like.shape[2]]


def _double(half, like, resample):
    return _resize(half, 2 * half.shape[1], resample)[:, : like.shape[1], : like.shape[2]]


def _resize(planes, size, resample):
    return np.stack([np.asarray(Image.fromarray(plane).resize((size, size), resample)) for plane in planes])
