"""Decodes many image files in parallel, in order. Worker processes import no torch."""

import os
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

import joblib
import numpy as np

from deepfake_lit.core.system import cores
from deepfake_lit.data.decode import Facts, decode
from deepfake_lit.data.sources import Source

CHUNK = 64  # images per task, fewer where they are large
TASK_BYTES = 2**26  # of decoded pixels that a task may hold
FEW = 256  # up to this many images a pool of processes costs more than it saves
UNREAD = "cannot be read"  # an error that begins so may be gone at the next attempt


def decode_stream(
    source: Source, files: list[str], size: tuple[int, int], chunk: int = CHUNK, workers: int | None = None
) -> Iterator[tuple[list[str], np.ndarray, np.ndarray | None, list[Facts]]]:
    """Yield chunks (files, pixels, transparency, facts) in order, uncached, for data too large to keep in memory.

    A chunk has at most `chunk` images, and at most 64 MiB of pixels where that is one image or more.
    """
    tasks = chunks(files, min(chunk, _fitting(size)))
    for names, (facts, pixels, transparency) in zip(tasks, decode_all(source, tasks, size, None, workers), strict=True):
        yield names, pixels, transparency, facts


def commonest_size(source: Source, files: list[str]) -> tuple[int, int]:
    """Return the most common (height, width) in a sample of the files; (1, 1) if none can be decoded."""
    sizes = Counter()
    for step in (max(1, len(files) // 32), 1):  # every file only if the whole sample is damaged
        for file in files[::step]:
            facts, _, _ = _read_and_decode(source, file, None)
            if facts.error is None:
                sizes[facts.height, facts.width] += 1
        if sizes:
            return sizes.most_common(1)[0][0]
    return 1, 1


def per_task(size: tuple[int, int]) -> int:
    """Return how many images of (height, width) a task has: memory is bounded by bytes, not by images."""
    return min(CHUNK, _fitting(size))


def _fitting(size: tuple[int, int]) -> int:
    return max(1, TASK_BYTES // (3 * size[0] * size[1]))


def chunks(files: list, chunk: int = CHUNK) -> list[list]:
    return [files[i : i + chunk] for i in range(0, len(files), chunk)]


def decode_all(source: Source, tasks: list[list[str]], size: tuple[int, int], targets, workers: int | None) -> Iterator:
    """Yield the results of `_decode_chunk` in the order of the tasks, decoding only a few tasks ahead."""
    workers = workers or cores()
    starts = accumulate(map(len, tasks), initial=0)
    numbered = [(source, task, start, size, targets) for task, start in zip(tasks, starts, strict=False)]
    if workers == 1 or sum(map(len, tasks)) <= FEW:
        yield from map(_decode_chunk, numbered)
        return
    # joblib's worker processes are safe beside threads and a GPU, unlike "fork". Unlike "spawn" they do not run the
    # caller's script again, so this works in a notebook and in a script without a main guard.
    # It works on while nobody takes its results: it gets a few tasks at a time, so that these do not fill the memory.
    ahead = 2 * workers if targets is None else len(numbered)
    with joblib.Parallel(
        workers, batch_size=1, pre_dispatch=4 * workers, return_as="generator", max_nbytes=None
    ) as pool:
        for some in chunks(numbered, ahead):
            yield from pool(joblib.delayed(_decode_chunk)(task) for task in some)


def _decode_chunk(task) -> tuple[list[Facts], np.ndarray | None, np.ndarray | None]:
    """Decode some files and write them to their place in the targets, or return the arrays if there are no targets."""
    source, files, start, size, targets = task
    pixels = np.zeros((len(files), *size, 3), np.uint8)
    transparency = None
    facts = []
    for i, file in enumerate(files):
        fact, rgb, plane = _read_and_decode(source, file, size)
        facts.append(fact)
        if rgb is not None:
            pixels[i] = rgb
        if plane is not None:
            transparency = np.zeros((len(files), *size), np.uint8) if transparency is None else transparency
            transparency[i] = plane
    if targets is None:
        return facts, pixels, transparency
    for array, (path, offset, stride) in zip((pixels, transparency), targets, strict=True):
        if array is not None:
            _write_at(path, offset + start * stride, array)
    return facts, None, None


def _read_and_decode(source: Source, file: str, size: tuple[int, int] | None):
    try:
        data = source.read(file)
    except Exception as error:  # permission, I/O, or a damaged member of a .zip
        return Facts(("corrupt_image", f"{UNREAD}: {error}"[:200])), None, None
    return decode(data, size)


def _write_at(path: str, offset: int, array: np.ndarray) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        view = memoryview(array).cast("B")
        while view:
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written
    finally:
        os.close(fd)
