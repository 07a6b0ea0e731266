"""Decodes many image files in parallel, in order. Worker processes import no torch."""

import math
import os
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import joblib
import numpy as np

from deepfake_lit.core.system import cores
from deepfake_lit.data.decode import Facts, decode, size_of
from deepfake_lit.data.fit import corner, window
from deepfake_lit.data.sources import Source

CHUNK = 64  # images per task, fewer where they are large
HEADS = 1024  # files per task where only their heads are read
TASK_BYTES = 2**26  # of decoded pixels that a task may hold
FEW = 256  # up to this many images a pool of processes costs more than it saves
UNREAD = "cannot be read"  # an error that begins so may be gone at the next attempt

Places = tuple[tuple[float, float] | None, ...]  # of windows, as `corner` takes them


def decode_stream(
    source: Source,
    files: list[str],
    size: tuple[int, int],
    chunk: int = CHUNK,
    workers: int | None = None,
    fit: str | Places = "resize",
) -> Iterator[tuple[list[str], np.ndarray, np.ndarray | None, list[Facts]]]:
    """Yield chunks (files, pixels, transparency, facts) in order, uncached, for data too large to keep in memory.

    A chunk has at most `chunk` images, and at most 64 MiB of pixels where that is one image or more.

    Args:
        fit: as for `decode`, or the places of P windows of each image: pixels are uint8 (B, P, h, w, 3) then.
    """
    shape = size if isinstance(fit, str) else (len(fit), *size)
    tasks = chunks(files, min(chunk, _fitting((math.prod(shape), 1))))
    results = decode_all(source, tasks, size, fit, workers)
    for names, (facts, images, planes) in zip(tasks, results, strict=True):
        pixels, transparency = np.zeros((len(names), *shape, 3), np.uint8), None
        for i, (image, plane) in enumerate(zip(images, planes, strict=True)):
            if image is not None:
                pixels[i] = image
            if plane is not None:
                transparency = np.zeros((len(names), *shape), np.uint8) if transparency is None else transparency
                transparency[i] = plane
        yield names, pixels, transparency, facts


def commonest_size(source: Source, files: list[str]) -> tuple[int, int]:
    """Return the most common (height, width) in a sample of the files; (1, 1) if none can be decoded."""
    sizes = Counter()
    for step in (sample_step(len(files)), 1):  # every file only if the whole sample is damaged
        for file in files[::step]:
            facts, _, _ = _read_and_decode(source, file, None)
            if facts.error is None:
                sizes[facts.height, facts.width] += 1
        if sizes:
            return sizes.most_common(1)[0][0]
    return 1, 1


def sample_step(count: int) -> int:
    return max(1, count // 32)


def sizes_of(source: Source, files: list[str], workers: int | None) -> Iterator[list[tuple[int, int]]]:
    """Yield the (height, width) of HEADS files at a time, by their heads; zeros for one that cannot be opened."""
    yield from _in_pool(_heads, [(source, task) for task in chunks(files, HEADS)], len(files), workers)


def _heads(task) -> list[tuple[int, int]]:
    source, files = task
    found = []
    for file in files:
        try:
            found.append(size_of(source.read(file)))
        except Exception:  # as in `_read_and_decode`, which says what it is
            found.append((0, 0))
    return found


def per_task(size: tuple[int, int]) -> int:
    """Return how many images of (height, width) a task has: memory is bounded by bytes, not by images."""
    return min(CHUNK, _fitting(size))


def _fitting(size: tuple[int, int]) -> int:
    return max(1, TASK_BYTES // max(1, 3 * int(size[0]) * int(size[1])))


def chunks(files: list, chunk: int = CHUNK) -> list[list]:
    return [files[i : i + chunk] for i in range(0, len(files), chunk)]


class Target(NamedTuple):
    """A file for the bytes of all images, and where in it each image's begin."""

    path: str
    offsets: np.ndarray


def decode_all(
    source: Source,
    tasks: list[list[str]],
    size: tuple[int, int] | None,
    fit: str | Places,
    workers: int | None,
    targets: tuple[Target, Target] | None = None,
    sizes: np.ndarray | None = None,
    keep: bool = True,
) -> Iterator[tuple[list[Facts], list, list]]:
    """Yield (facts, pixels, transparencies) of each task, in order, decoding only a few tasks ahead.

    Args:
        size, fit: as for `decode`.
        targets: where pixels and transparencies are written; None: the lists hold them, with None for failed images.
        sizes: int64 (N, 2), which the images must have; another one is an error. Errors get it in their facts.
        keep: False leaves the lists empty.
    """
    numbered, start = [], 0
    for task in tasks:
        rows = slice(start, start + len(task))
        own = targets and [Target(path, offsets[rows]) for path, offsets in targets]
        numbered.append((source, task, size, fit, own, None if sizes is None else sizes[rows], keep))
        start += len(task)
    # The pool works on while nobody takes its results: it gets a few tasks at a time where these fill the memory.
    ahead = None if targets or not keep else 2 * (workers or cores())
    yield from _in_pool(_decode_chunk, numbered, start, workers, ahead)


def _in_pool(function, tasks: list, count: int, workers: int | None, ahead: int | None = None) -> Iterator:
    """Yield a function's results for tasks with `count` files in all, in order."""
    workers = workers or cores()
    if workers == 1 or count <= FEW:
        yield from map(function, tasks)
        return
    # joblib's worker processes are safe beside threads and a GPU, unlike "fork". Unlike "spawn" they do not run the
    # caller's script again, so this works in a notebook and in a script without a main guard.
    with joblib.Parallel(
        workers, batch_size=1, pre_dispatch=4 * workers, return_as="generator", max_nbytes=None
    ) as pool:
        for some in chunks(tasks, ahead or len(tasks)):
            yield from pool(joblib.delayed(function)(task) for task in some)


def _decode_chunk(task) -> tuple[list[Facts], list, list]:
    """Decode some files and write them to their place in the targets, or return the arrays if there are no targets."""
    source, files, size, fit, targets, sizes, keep = task
    facts, pixels, transparencies = [], [], []
    for i, file in enumerate(files):
        fact, rgb, plane = _read_and_decode(source, file, size, fit)
        if sizes is not None and fact.error is None and (fact.height, fact.width) != tuple(sizes[i]):
            fact, rgb, plane = Facts(("corrupt_image", "its size is not what its head says")), None, None
        if sizes is not None and fact.error:  # its place in a flat file
            fact = fact._replace(height=int(sizes[i][0]), width=int(sizes[i][1]))
        facts.append(fact)
        if targets:
            for array, (path, offsets) in zip((rgb, plane), targets, strict=True):
                if array is not None:
                    _write_at(path, int(offsets[i]), np.ascontiguousarray(array))
        elif keep:
            pixels.append(rgb)
            transparencies.append(plane)
    return facts, pixels, transparencies


def _read_and_decode(source: Source, file: str, size: tuple[int, int] | None, fit: str | Places = "resize"):
    try:
        data = source.read(file)
    except Exception as error:  # permission, I/O, or a damaged member of a .zip
        return Facts(("corrupt_image", f"{UNREAD}: {error}"[:200])), None, None
    if isinstance(fit, str):
        return decode(data, size, fit)
    fact, *arrays = decode(data, None)
    return fact, *(None if a is None else _windows(a, size, fit) for a in arrays)


def _windows(image: np.ndarray, size: tuple[int, int], places: Places) -> np.ndarray:
    return np.stack([window(image, *corner(image.shape[:2], size, place), size) for place in places])


def _write_at(path: str, offset: int, array: np.ndarray) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        view = memoryview(array).cast("B")
        while view:
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written
    finally:
        os.close(fd)
