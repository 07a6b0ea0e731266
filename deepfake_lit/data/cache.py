"""Cache of decoded images: each split is decoded once into a memory-mapped uint8 array.

A cache is a folder `<split>-<content key>` with `pixels.npy` (N, H, W, 3), `facts.json` and, if any image is not
opaque, `transparency.npy` (N, H, W). The content key hashes the bytes of all files and the decoding settings. A small
`<stat key>.ref` file names the folder for files with these names, sizes and times, so that opening a cache again reads
no image. A folder is renamed into place only when it is finished: every process that sees it may use it.

Images that keep their own sizes (`fit.WHOLE`) lie in flat arrays one after the other, and the facts have their sizes.
Where the pixels would take too much room, the folder has `facts.json` alone and they are decoded when needed.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from deepfake_lit.core.console import progress, warn
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import atomic
from deepfake_lit.data.decode import Facts, container_of
from deepfake_lit.data.fit import WHOLE
from deepfake_lit.data.pool import (
    HEADS,
    UNREAD,
    Target,
    chunks,
    commonest_size,
    decode_all,
    per_task,
    sample_step,
    sizes_of,
)
from deepfake_lit.data.sources import Source
from deepfake_lit.data.windows import Ragged, Streamed, Windows, offsets_of

FLUSH = 16  # tasks
VERSION = 1  # of the decoding and the file format; part of the keys
FACTS = "facts"  # stands for a fit in the key of a folder without pixels


@dataclass
class Pixels:
    """The decoded images of a split, in the order of the requested files.

    `pixels` is uint8 (N, H, W, 3); `transparency` is uint8 (N, H, W), or None if every image is opaque. Rows of files
    that could not be decoded are zero; their `facts` say why.
    """

    pixels: np.ndarray | Windows
    transparency: np.ndarray | Windows | None
    facts: list[Facts]

    def of_size(self, size: tuple[int, int]) -> "Pixels":
        """Return the same images in windows of this (height, width)."""
        arrays = (None if a is None else a.of_size(size) for a in (self.pixels, self.transparency))
        return Pixels(*arrays, self.facts)


def open_pixels(
    source: Source,
    files: list[str],
    name: str,
    cache_dir: Path,
    size: tuple[int, int] | None = None,
    workers: int | None = None,
    fit: str = "resize",
    limit: float = math.inf,
) -> Pixels:
    """Return the decoded images from the cache; if they are not cached, decode and cache them.

    If the cache folder cannot be written (read-only, full disk, no locks), the images stay in memory, with a warning.

    Args:
        files: file names in `source`.
        name: the split's name, for the folder's name and the progress bar.
        size: (height, width) to bring every image to; None: the most common size in a sample of the files.
        workers: number of decoding processes; None: one per core.
        fit: how it is brought to that size: "resize", or its centre window. With `WHOLE` the arrays are `Windows` of
            1 x 1 pixels, for `Pixels.of_size`.
        limit: bytes; where the pixels would take more, or more than the disk has, the arrays are `Streamed`.
    """
    size = None if fit == WHOLE else size
    stat_key = _stat_key(source, files, size, fit)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        if cached := _open(cache_dir, stat_key, source, files):
            return cached
        with FileLock(cache_dir / f"{stat_key}.lock"):  # a second process waits, then finds the finished cache
            if cached := _open(cache_dir, stat_key, source, files):
                return cached
            _remove_abandoned(cache_dir, stat_key)
            plan = _planned(source, files, size, fit, known_facts(source, files, cache_dir), workers)
            if plan.bytes > min(limit, shutil.disk_usage(cache_dir).free):
                return _streamed(plan, name, cache_dir.absolute())
            return _build(plan, name, cache_dir.absolute(), stat_key)
    except (OSError, NotImplementedError) as error:  # the second: a file system without locks
        warn(f"no image cache in {cache_dir} ({error}); {len(files)} decoded images stay in memory this time")
    plan = _planned(source, files, size, fit, None, workers)
    return _decode_to_memory(plan, name) if plan.bytes <= limit else _streamed(plan, name, None)


def _stat_key(source: Source, files: list[str], size: tuple[int, int] | None, fit: str) -> str:
    version, size, *cut = _how(size, fit)
    return _hash([version, size, str(source.root.resolve()), *cut], [(f, source.files[f]) for f in files])


def _how(size: tuple[int, int] | None, fit: str) -> list:
    """Return what a cache depends on beside its files; a resize has no name in it, since caches of before had none."""
    return [VERSION, size, *([] if fit == "resize" else [fit])]


def known_facts(source: Source, files: list[str], cache_dir: Path) -> list[Facts] | None:
    """Return the facts of images that keep their own sizes, if any cache has them."""
    for fit in (FACTS, WHOLE, "resize"):
        folder = _referred(cache_dir, _stat_key(source, files, None, fit))
        if folder and (facts := _load_facts(folder, len(files))):
            return facts
    return None


def own_sizes(source: Source, files: list[str], cache_dir: Path, workers: int | None) -> np.ndarray:
    """Return the (height, width) of the images, int64 (N, 2), or of a sample if its images all have the same size.

    Zeros stand for files that cannot be decoded.
    """
    if facts := known_facts(source, files, cache_dir):
        return _sizes(facts)
    sample = files[:: sample_step(len(files))]
    sizes = _read_sizes(source, sample, 1)
    return sizes if len(np.unique(sizes, axis=0)) == 1 else _read_sizes(source, files, workers)


def _read_sizes(source: Source, files: list[str], workers: int | None) -> np.ndarray:
    parts = progress(sizes_of(source, files, workers), "reading sizes", len(files), HEADS)
    return np.array([size for part in parts for size in part], np.int64).reshape(-1, 2)


def _sizes(facts: list[Facts]) -> np.ndarray:
    return np.array([(f.height, f.width) for f in facts], np.int64).reshape(-1, 2)


@dataclass
class _Plan:
    """What is to be decoded, and how. `sizes` is int64 (N, 2) where images keep their own, else None."""

    source: Source
    files: list[str]
    size: tuple[int, int] | None
    fit: str
    sizes: np.ndarray | None
    facts: list[Facts] | None  # if they are known already
    workers: int | None

    @property
    def shapes(self) -> np.ndarray:
        return np.tile(self.size, (len(self.files), 1)) if self.sizes is None else self.sizes

    @property
    def bytes(self) -> int:
        return 3 * int(self.shapes.prod(1).sum())

    @property
    def tasks(self) -> list[list[str]]:
        return chunks(self.files, self.step)

    @property
    def step(self) -> int:
        return per_task(tuple(self.shapes.max(0)) if len(self.files) else (1, 1))


def _planned(source, files, size, fit, facts: list[Facts] | None, workers) -> _Plan:
    sizes = None
    if fit == WHOLE:
        sizes = _sizes(facts) if facts else _read_sizes(source, files, workers)
    elif size is None and facts and (good := _commonest(facts)):
        size = good
    elif size is None:
        size = commonest_size(source, files)
    return _Plan(source, files, size, fit, sizes, facts, workers)


def _commonest(facts: list[Facts]) -> tuple[int, int] | None:
    """Return what `commonest_size` returns, from the facts; None if the sample is damaged."""
    sizes = Counter((f.height, f.width) for f in facts[:: sample_step(len(facts))] if f.error is None)
    return sizes.most_common(1)[0][0] if sizes else None


def _wrapped(pixels: np.ndarray, transparency: np.ndarray | None, facts: list[Facts]) -> Pixels:
    sizes = _sizes(facts)
    planes = None if transparency is None else Ragged(transparency, sizes, (1, 1), transparency=True)
    return Pixels(Ragged(pixels, sizes, (1, 1)), planes, facts)


def _open(cache_dir: Path, stat_key: str, source: Source, files: list[str]) -> Pixels | None:
    """Open the finished cache; return None if there is none, or it is damaged or out of date."""
    folder = _referred(cache_dir, stat_key)
    cached = _load(folder, len(files)) if folder else None
    return cached and _completed(cached, folder, source, files)


def _referred(cache_dir: Path, stat_key: str) -> Path | None:
    try:
        folder = (cache_dir / f"{stat_key}.ref").read_text()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return cache_dir / folder if re.fullmatch(r"\w+-[0-9a-f]{24}", folder) else None


def _read_facts(folder: Path) -> list[Facts]:
    return [_fact(row) for row in json.loads((folder / "facts.json").read_text())]


def _load_facts(folder: Path, count: int) -> list[Facts] | None:
    """Return the facts of a cache; None if they are damaged or not all of them are there."""
    try:
        facts = _read_facts(folder)
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None
    return facts if len(facts) == count and _has_all(facts) else None


def _has_all(facts: list[Facts]) -> bool:
    """Tell whether the facts are all there, as they are not in caches of before 2026-11-27."""
    return all(fact.error or fact.format for fact in facts)


def _completed(cached: Pixels, folder: Path, source: Source, files: list[str]) -> Pixels | None:
    """Add the facts that caches of before 2026-11-27 lack, from the heads of the files; their pixels stay.

    Return None where a file is turned by its EXIF orientation, which those caches ignore: it is decoded again.
    """
    if _has_all(cached.facts):
        return cached
    facts = []
    for file, fact in zip(progress(files, "reading file heads", len(files)), cached.facts, strict=True):
        if fact.error is None:
            *container, turned = container_of(source.read(file))
            if turned:
                return None
            fact = fact._replace(format=container[0] or "?", quality=container[1], metadata=container[2])
        facts.append(fact)
    with contextlib.suppress(OSError), atomic(folder / "facts.json") as file:
        json.dump(facts, file)
    return Pixels(cached.pixels, cached.transparency, facts)


def _load(folder: Path, count: int) -> Pixels | None:
    try:
        facts = _read_facts(folder)
        pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        transparency = None
        if _any_transparent(facts):
            transparency = np.load(folder / "transparency.npy", mmap_mode="r", allow_pickle=False)
        if pixels.ndim == 1:
            lengths = [offsets_of(_sizes(facts), planes)[-1] for planes in (3, 1)]
            fits = len(facts) == count and len(pixels) == lengths[0] and pixels.dtype == np.uint8
            whole = fits and (transparency is None or len(transparency) == lengths[1])
            return _wrapped(pixels, transparency, facts) if whole else None
        shape = (count, *pixels.shape[1:3])
        whole = len(facts) == count and pixels.shape == (*shape, 3) and pixels.dtype == np.uint8
        if not whole or (transparency is not None and transparency.shape != shape):
            return None
        return Pixels(pixels, transparency, facts)
    except (FileNotFoundError, NotADirectoryError, EOFError, ValueError, TypeError):  # truncated, or of another format
        return None


def _fact(row: list) -> Facts:
    facts = Facts(*row)
    return facts._replace(error=facts.error and tuple(facts.error), alpha=facts.alpha and tuple(facts.alpha))


def _any_transparent(facts: list[Facts]) -> bool:
    return any(f.alpha and f.alpha != (255, 255) for f in facts)


def _remove_abandoned(cache_dir: Path, stat_key: str) -> None:
    """Remove the unfinished folders of killed processes whose lock is free; this process holds that of `stat_key`."""
    for part in cache_dir.glob("*.part"):
        key = part.name.partition(".")[0]
        lock = contextlib.nullcontext() if key == stat_key else FileLock(cache_dir / f"{key}.lock", timeout=0)
        with contextlib.suppress(Timeout), lock:
            shutil.rmtree(part, ignore_errors=True)


def _build(plan: _Plan, name: str, cache_dir: Path, stat_key: str) -> Pixels:
    count = len(plan.files)
    part = cache_dir / f"{stat_key}.{os.getpid()}.part"
    part.mkdir()
    try:
        targets, lengths = [], []
        for array, planes in (("pixels", 3), ("transparency", 1)):
            path = part / f"{array}.npy"
            offsets = offsets_of(plan.shapes, planes)
            shape = (count, *plan.size, *([3] if planes == 3 else [])) if plan.size else (int(offsets[-1]),)
            header = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
            targets.append(Target(str(path), header.offset + offsets[:-1]))
            lengths.append(header.offset + int(offsets[-1]))
            del header
        # Writing to a full disk through a memory map would kill the process. Reserving the space now and writing
        # with pwrite turns a full disk into an error that can be caught. Transparency stays a sparse file of zeros.
        if hasattr(os, "posix_fallocate") and count:
            with open(targets[0].path, "r+b") as f, _where_supported():
                os.posix_fallocate(f.fileno(), 0, lengths[0])
        facts: list[Facts] = []
        decoded = decode_all(plan.source, plan.tasks, plan.size, plan.fit, plan.workers, tuple(targets), plan.sizes)
        with open(targets[0].path, "rb") as pixels:
            for number, (chunk_facts, _, _) in enumerate(progress(decoded, f"decoding {name}", count, plan.step), 1):
                facts += chunk_facts
                if number % FLUSH == 0:  # while the workers decode, so that little is left to flush at the end
                    os.fsync(pixels.fileno())
        if not _any_transparent(facts):
            Path(targets[1].path).unlink()
        content = _hash(_how(plan.size, plan.fit), [(f.file_hash, f.error) for f in facts])
        return _finished(part, cache_dir / f"{name}-{content}", stat_key, facts, _load)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _finished(part: Path, final: Path, stat_key: str, facts: list[Facts], load: Callable) -> Any:
    """Put a finished folder into its place, and return what `load(folder, count)` reads from it."""
    (part / "facts.json").write_text(json.dumps(facts))
    for path in part.iterdir():
        with open(path, "rb") as f:
            os.fsync(f.fileno())
    with FileLock(final.with_name(f"{final.name}.lock")):
        cached = load(final, len(facts))  # the same content under other names or times
        if cached is None or not _has_all(_read_facts(final)):
            if cached is None and final.exists():
                warn(f"the image cache {final} was damaged; it has been built again")
            shutil.rmtree(final, ignore_errors=True)
            part.rename(final)
            cached = load(final, len(facts))
    if cached is None:
        raise OSError(f"{final} cannot be read back")
    if not any(f.error and f.error[1].startswith(UNREAD) for f in facts):
        with atomic(final.with_name(f"{stat_key}.ref")) as reference:
            reference.write(final.name)
    return cached


def _streamed(plan: _Plan, name: str, cache_dir: Path | None) -> Pixels:
    """Return arrays that decode images when they are asked for; every file is decoded once before, for its facts."""
    facts = plan.facts
    if facts is None:
        facts = []
        decoded = decode_all(plan.source, plan.tasks, None, WHOLE, plan.workers, sizes=plan.sizes, keep=False)
        for chunk_facts, _, _ in progress(decoded, f"reading {name}", len(plan.files), plan.step):
            facts += chunk_facts
        if cache_dir:
            _keep_facts(plan, name, cache_dir, facts)
    # Failed rows are zeros, which are not decoded.
    sizes = np.array([(0, 0) if f.error else (f.height, f.width) for f in facts], np.int64).reshape(-1, 2)
    opaque = np.array([f.alpha is None or f.alpha == (255, 255) for f in facts])
    where = (plan.source, plan.files, sizes, plan.size or (1, 1), plan.fit, opaque)
    planes = Streamed(*where, transparency=True) if _any_transparent(facts) else None
    return Pixels(Streamed(*where), planes, facts)


def _keep_facts(plan: _Plan, name: str, cache_dir: Path, facts: list[Facts]) -> None:
    key = _stat_key(plan.source, plan.files, None, FACTS)
    part = cache_dir / f"{key}.{os.getpid()}.part"
    with FileLock(cache_dir / f"{key}.lock"):
        part.mkdir()
        try:
            content = _hash([VERSION, FACTS], [(f.file_hash, f.error) for f in facts])
            _finished(part, cache_dir / f"{name}-{content}", key, facts, _load_facts)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def _where_supported() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


def _decode_to_memory(plan: _Plan, name: str) -> Pixels:
    count = len(plan.files)
    offsets = [offsets_of(plan.shapes, planes) for planes in (3, 1)]
    try:
        pixels = np.zeros(offsets[0][-1], np.uint8)
    except MemoryError:
        what = f"of {plan.size[1]} x {plan.size[0]} pixels " if plan.size else ""
        raise UserError(
            f"{count} images {what}do not fit into the memory; "
            "set data.cache_dir to a disk with room, or data.decode_size to a smaller side"
        ) from None
    transparency, facts = None, []
    decoded = decode_all(plan.source, plan.tasks, plan.size, plan.fit, plan.workers, sizes=plan.sizes)
    for chunk_facts, images, planes in progress(decoded, f"decoding {name}", count, plan.step):
        for row, image, plane in zip(range(len(facts), count), images, planes, strict=False):
            if image is not None:
                pixels[offsets[0][row] : offsets[0][row + 1]] = image.reshape(-1)
            if plane is not None:
                if transparency is None:
                    transparency = np.zeros(offsets[1][-1], np.uint8)
                transparency[offsets[1][row] : offsets[1][row + 1]] = plane.reshape(-1)
        facts += chunk_facts
    if plan.size is None:
        return _wrapped(pixels, transparency, facts)
    shape = (count, *plan.size)
    return Pixels(pixels.reshape(*shape, 3), None if transparency is None else transparency.reshape(shape), facts)


def _hash(head: list, rows: list) -> str:
    digest = hashlib.sha256(json.dumps(head).encode())
    digest.update(json.dumps(rows).encode())
    return digest.hexdigest()[:24]
