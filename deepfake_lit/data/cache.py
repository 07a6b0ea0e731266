"""Image files decoded once into one memory-mapped uint8 array a split.

A cache is a folder `<split>-<content key>` with `pixels.npy` (N, H, W, 3), for data with a real alpha channel
`transparency.npy` (N, H, W), and `facts.json`. The content key hashes the bytes of all files and the decoding
settings. A small `<stat key>.ref` file names the content key for files with these names, sizes and times, so that
opening a cache again reads no image. A folder appears by one rename of a finished one: whoever sees it may use it.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from filelock import FileLock

from deepfake_lit.console import progress, warn
from deepfake_lit.data.decode import Facts, decode
from deepfake_lit.data.source import Source

VERSION = 1  # of decoding and of the files' format: part of the key
CHUNK = 64  # images a task
FEW = 256  # below this many images a pool of processes costs more than it brings


@dataclass
class Pixels:
    """The decoded images of a split, in the order of the files that were asked for.

    `pixels` uint8 (N, H, W, 3) and `transparency` uint8 (N, H, W) or None (every image opaque). Rows of files that
    could not be decoded are zero; their `facts` say why.
    """

    pixels: np.ndarray
    transparency: np.ndarray | None
    facts: list[Facts]


def open_pixels(
    source: Source,
    files: list[str],
    name: str,
    cache_dir: Path,
    size: tuple[int, int] | None = None,
    workers: int | None = None,
) -> Pixels:
    """The decoded images, from the cache where it has them, else decoded now and kept there.

    Where the cache folder cannot be written (read-only, full disk) the images stay in memory, with a warning.

    Args:
        files: names in `source`.
        name: the split, for the folder's name and the progress bar.
        size: (height, width) to resize every image to; None: the commonest size among the files.
        workers: decoding processes; None: one a core.
    """
    stat_key = _hash([VERSION, size, str(source.root.resolve())], [(f, source.files[f]) for f in files])
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        if cached := _open(cache_dir, stat_key, len(files)):
            return cached
        with FileLock(cache_dir / f"{stat_key}.lock"):  # a second process waits, then finds the finished cache
            if cached := _open(cache_dir, stat_key, len(files)):
                return cached
            _remove_abandoned(cache_dir, stat_key)
            _build(source, files, name, cache_dir, stat_key, size, workers)
            if cached := _open(cache_dir, stat_key, len(files)):
                return cached
            raise OSError("the cache that was just written cannot be read back")
    except OSError as error:
        warn(f"no image cache in {cache_dir} ({error}); {len(files)} decoded images stay in memory this time")
    return _decode_to_memory(source, files, name, size, workers)


def decode_stream(
    source: Source, files: list[str], size: tuple[int, int], chunk: int = CHUNK, workers: int | None = None
) -> Iterator[tuple[list[str], np.ndarray, np.ndarray | None, list[Facts]]]:
    """Chunks of (files, pixels, transparency, facts) in order, for data too many to keep: nothing is cached."""
    tasks = _chunks(files, chunk)
    for names, (facts, pixels, transparency) in zip(tasks, _run(source, tasks, size, None, workers), strict=True):
        yield names, pixels, transparency, facts


def _open(cache_dir: Path, stat_key: str, count: int) -> Pixels | None:
    """The finished cache, or None where there is none or it was damaged (that one is put aside)."""
    try:
        folder = cache_dir / (cache_dir / f"{stat_key}.ref").read_text()
        facts = [_fact(row) for row in json.loads((folder / "facts.json").read_text())]
        pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        transparency = None
        if (folder / "transparency.npy").exists():
            transparency = np.load(folder / "transparency.npy", mmap_mode="r", allow_pickle=False)
        if len(facts) != count or len(pixels) != count or pixels.ndim != 4 or pixels.dtype != np.uint8:
            raise ValueError("of another shape")
        return Pixels(pixels, transparency, facts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        warn(f"the image cache {folder.name} is damaged ({error}); it is built again")
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _fact(row: list) -> Facts:
    facts = Facts(*row)
    return facts._replace(error=facts.error and tuple(facts.error), alpha=facts.alpha and tuple(facts.alpha))


def _remove_abandoned(cache_dir: Path, stat_key: str) -> None:
    """Half-written folders of killed processes. Their lock is ours now, so nobody is writing them."""
    for folder in cache_dir.glob(f"{stat_key}.*.part"):
        shutil.rmtree(folder, ignore_errors=True)


def _build(
    source: Source,
    files: list[str],
    name: str,
    cache_dir: Path,
    stat_key: str,
    size: tuple[int, int] | None,
    workers: int | None,
) -> None:
    size = size or _commonest_size(source, files)
    part = Path(tempfile.mkdtemp(prefix=f"{stat_key}.", suffix=".part", dir=cache_dir))
    try:
        targets = []
        for array, shape in (("pixels", (len(files), *size, 3)), ("transparency", (len(files), *size))):
            path = part / f"{array}.npy"
            header = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
            targets.append((str(path), header.offset, int(np.prod(shape[1:]))))
            del header
        # A write beyond the disk through a memory map would kill the process. Reserving the space now, and writing
        # with pwrite, makes a full disk an error that can be caught. Transparency stays a sparse file of zeros.
        if hasattr(os, "posix_fallocate") and files:
            with open(targets[0][0], "r+b") as f:
                os.posix_fallocate(f.fileno(), 0, targets[0][1] + len(files) * targets[0][2])
        facts: list[Facts] = []
        tasks = _chunks(files)
        for chunk_facts, _, _ in progress(
            _run(source, tasks, size, targets, workers), f"decoding {name}", len(files), step=CHUNK
        ):
            facts += chunk_facts
        if not any(f.alpha and f.alpha != (255, 255) for f in facts):
            Path(targets[1][0]).unlink()
        content = _hash([VERSION, size], [(f.file_hash, f.error) for f in facts])
        (part / "facts.json").write_text(json.dumps(facts))
        for path in part.iterdir():
            with open(path, "rb") as f:
                os.fsync(f.fileno())
        final = cache_dir / f"{name}-{content}"
        with contextlib.suppress(OSError):  # it exists already: the same content under other names or times
            part.rename(final)
        reference = cache_dir / f"{stat_key}.ref"
        partial = reference.with_suffix(f".{os.getpid()}.part")
        partial.write_text(final.name)
        partial.replace(reference)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _decode_to_memory(source: Source, files: list[str], name: str, size: tuple[int, int] | None, workers: int | None):
    size = size or _commonest_size(source, files)
    pixels = np.zeros((len(files), *size, 3), np.uint8)
    transparency, facts = None, []
    for chunk_facts, rgb, clear in progress(
        _run(source, _chunks(files), size, None, workers), f"decoding {name}", len(files), step=CHUNK
    ):
        rows = slice(len(facts), len(facts) + len(chunk_facts))
        pixels[rows] = rgb
        if clear is not None:
            if transparency is None:
                transparency = np.zeros((len(files), *size), np.uint8)
            transparency[rows] = clear
        facts += chunk_facts
    return Pixels(pixels, transparency, facts)


def _commonest_size(source: Source, files: list[str]) -> tuple[int, int]:
    """(height, width) that most of a sample spread over the files have; (1, 1) where none can be decoded."""
    sample = files[:: max(1, len(files) // 32)]
    sizes = Counter()
    for file in sample:
        facts, _, _ = _read_and_decode(source, file, None)
        if facts.error is None:
            sizes[facts.height, facts.width] += 1
    return sizes.most_common(1)[0][0] if sizes else (1, 1)


def _chunks(files: list[str], chunk: int = CHUNK) -> list[list[str]]:
    return [files[i : i + chunk] for i in range(0, len(files), chunk)]


def _run(source: Source, tasks: list[list[str]], size: tuple[int, int], targets, workers: int | None) -> Iterator:
    """Results of `_decode_chunk` in the order of the tasks, at most a few tasks ahead of the reader."""
    workers = workers or cores()
    numbered = [(source, task, i * CHUNK, size, targets) for i, task in enumerate(tasks)]
    if workers == 1 or sum(map(len, tasks)) <= FEW:
        yield from map(_decode_chunk, numbered)
        return
    # joblib's worker processes: unlike "fork" they are safe beside threads and a GPU, unlike "spawn" they do not run
    # the caller's script again, so this works in a notebook and in a script without a main guard.
    pool = joblib.Parallel(workers, batch_size=1, pre_dispatch=4 * workers, return_as="generator", max_nbytes=None)
    yield from pool(joblib.delayed(_decode_chunk)(task) for task in numbered)


def _decode_chunk(task) -> tuple[list[Facts], np.ndarray | None, np.ndarray | None]:
    """Decode some files and write them at their place in the targets, or return the arrays where there are none."""
    source, files, start, size, targets = task
    pixels = np.zeros((len(files), *size, 3), np.uint8)
    transparency = None
    facts = []
    for i, file in enumerate(files):
        fact, rgb, clear = _read_and_decode(source, file, size)
        facts.append(fact)
        if rgb is not None:
            pixels[i] = rgb
        if clear is not None:
            transparency = np.zeros((len(files), *size), np.uint8) if transparency is None else transparency
            transparency[i] = clear
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
        return Facts(("corrupt_image", f"cannot be read: {error}"[:200])), None, None
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


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _hash(head: list, rows: list) -> str:
    digest = hashlib.sha256(json.dumps(head).encode())
    digest.update(json.dumps(rows).encode())
    return digest.hexdigest()[:24]
