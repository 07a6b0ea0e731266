"""Cache of decoded images: each split is decoded once into a memory-mapped uint8 array.

A cache is a folder `<split>-<content key>` with `pixels.npy` (N, H, W, 3), `facts.json` and, if any image is not
opaque, `transparency.npy` (N, H, W). The content key hashes the bytes of all files and the decoding settings. A small
`<stat key>.ref` file names the folder for files with these names, sizes and times, so that opening a cache again reads
no image. A folder is renamed into place only when it is finished: every process that sees it may use it.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from deepfake_lit.core.console import progress, warn
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import atomic
from deepfake_lit.data.decode import Facts, container_of
from deepfake_lit.data.pool import UNREAD, chunks, commonest_size, decode_all, per_task
from deepfake_lit.data.sources import Source

FLUSH = 16  # tasks
VERSION = 1  # of the decoding and the file format; part of the keys


@dataclass
class Pixels:
    """The decoded images of a split, in the order of the requested files.

    `pixels` is uint8 (N, H, W, 3); `transparency` is uint8 (N, H, W), or None if every image is opaque. Rows of files
    that could not be decoded are zero; their `facts` say why.
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
    """Return the decoded images from the cache; if they are not cached, decode and cache them.

    If the cache folder cannot be written (read-only, full disk, no locks), the images stay in memory, with a warning.

    Args:
        files: file names in `source`.
        name: the split's name, for the folder's name and the progress bar.
        size: (height, width) to resize every image to; None: the most common size in a sample of the files.
        workers: number of decoding processes; None: one per core.
    """
    stat_key = _hash([VERSION, size, str(source.root.resolve())], [(f, source.files[f]) for f in files])
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        if cached := _completed(_open(cache_dir, stat_key, len(files)), source, files, cache_dir / f"{stat_key}.ref"):
            return cached
        with FileLock(cache_dir / f"{stat_key}.lock"):  # a second process waits, then finds the finished cache
            if cached := _open(cache_dir, stat_key, len(files)):
                return cached
            _remove_abandoned(cache_dir, stat_key)
            return _build(source, files, name, cache_dir.absolute(), stat_key, size, workers)
    except (OSError, NotImplementedError) as error:  # the second: a file system without locks
        warn(f"no image cache in {cache_dir} ({error}); {len(files)} decoded images stay in memory this time")
    return _decode_to_memory(source, files, name, size, workers)


def _open(cache_dir: Path, stat_key: str, count: int) -> Pixels | None:
    """Open the finished cache; return None if there is none or it is damaged."""
    try:
        folder = (cache_dir / f"{stat_key}.ref").read_text()
    except (FileNotFoundError, ValueError):
        return None
    return _load(cache_dir / folder, count) if re.fullmatch(r"\w+-[0-9a-f]{24}", folder) else None


def _completed(cached: Pixels | None, source: Source, files: list[str], reference: Path) -> Pixels | None:
    """Add the facts that caches of before 2026-11-27 lack, from the heads of the files; their pixels stay.

    Return None where a file is turned by its EXIF orientation, which those caches ignore: it is decoded again.
    """
    if cached is None or all(fact.error or fact.format for fact in cached.facts):
        return cached
    facts = []
    for file, fact in zip(progress(files, "reading file heads", len(files)), cached.facts, strict=True):
        if fact.error is None:
            *container, turned = container_of(source.read(file))
            if turned:
                return None
            fact = fact._replace(format=container[0] or "?", quality=container[1], metadata=container[2])
        facts.append(fact)
    with contextlib.suppress(OSError), atomic(reference.parent / reference.read_text() / "facts.json") as file:
        json.dump(facts, file)
    return Pixels(cached.pixels, cached.transparency, facts)


def _load(folder: Path, count: int) -> Pixels | None:
    try:
        facts = [_fact(row) for row in json.loads((folder / "facts.json").read_text())]
        pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        transparency = None
        if _any_transparent(facts):
            transparency = np.load(folder / "transparency.npy", mmap_mode="r", allow_pickle=False)
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


def _build(
    source: Source,
    files: list[str],
    name: str,
    cache_dir: Path,
    stat_key: str,
    size: tuple[int, int] | None,
    workers: int | None,
) -> Pixels:
    size = size or commonest_size(source, files)
    part = cache_dir / f"{stat_key}.{os.getpid()}.part"
    part.mkdir()
    try:
        targets = []
        for array, shape in (("pixels", (len(files), *size, 3)), ("transparency", (len(files), *size))):
            path = part / f"{array}.npy"
            header = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
            targets.append((str(path), header.offset, int(np.prod(shape[1:]))))
            del header
        # Writing to a full disk through a memory map would kill the process. Reserving the space now and writing
        # with pwrite turns a full disk into an error that can be caught. Transparency stays a sparse file of zeros.
        if hasattr(os, "posix_fallocate") and files:
            with open(targets[0][0], "r+b") as f, _where_supported():
                os.posix_fallocate(f.fileno(), 0, targets[0][1] + len(files) * targets[0][2])
        facts: list[Facts] = []
        decoded = decode_all(source, chunks(files, per_task(size)), size, targets, workers)
        with open(targets[0][0], "rb") as pixels:
            shown = progress(decoded, f"decoding {name}", len(files), step=per_task(size))
            for number, (chunk_facts, _, _) in enumerate(shown, 1):
                facts += chunk_facts
                if number % FLUSH == 0:  # while the workers decode, so that little is left to flush at the end
                    os.fsync(pixels.fileno())
        if not _any_transparent(facts):
            Path(targets[1][0]).unlink()
        content = _hash([VERSION, size], [(f.file_hash, f.error) for f in facts])
        (part / "facts.json").write_text(json.dumps(facts))
        for path in part.iterdir():
            with open(path, "rb") as f:
                os.fsync(f.fileno())
        final = cache_dir / f"{name}-{content}"
        with FileLock(cache_dir / f"{final.name}.lock"):
            cached = _load(final, len(files))  # the same content under other names or times
            if cached is None:
                if final.exists():
                    warn(f"the image cache {final} was damaged; it has been built again")
                    shutil.rmtree(final)
                part.rename(final)
                cached = _load(final, len(files))
        if cached is None:
            raise OSError(f"{final} cannot be read back")
        if not any(f.error and f.error[1].startswith(UNREAD) for f in facts):
            with atomic(cache_dir / f"{stat_key}.ref") as reference:
                reference.write(final.name)
        return cached
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def _where_supported() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


def _decode_to_memory(
    source: Source, files: list[str], name: str, size: tuple[int, int] | None, workers: int | None
) -> Pixels:
    size = size or commonest_size(source, files)
    try:
        pixels = np.zeros((len(files), *size, 3), np.uint8)
    except MemoryError:
        raise UserError(
            f"{len(files)} images of {size[1]} x {size[0]} pixels do not fit into the memory; "
            "set data.cache_dir to a disk with room, or data.decode_size to a smaller side"
        ) from None
    transparency, facts = None, []
    decoded = decode_all(source, chunks(files, per_task(size)), size, None, workers)
    for chunk_facts, rgb, plane in progress(decoded, f"decoding {name}", len(files), step=per_task(size)):
        rows = slice(len(facts), len(facts) + len(chunk_facts))
        pixels[rows] = rgb
        if plane is not None:
            if transparency is None:
                transparency = np.zeros((len(files), *size), np.uint8)
            transparency[rows] = plane
        facts += chunk_facts
    return Pixels(pixels, transparency, facts)


def _hash(head: list, rows: list) -> str:
    digest = hashlib.sha256(json.dumps(head).encode())
    digest.update(json.dumps(rows).encode())
    return digest.hexdigest()[:24]
