"""Image files in an uncompressed .tar, read where they lie in it."""

import tarfile
from functools import lru_cache
from pathlib import Path

from deepfake_lit.data.sources.base import MAX_BYTES, Source, too_large


@lru_cache(maxsize=2)
def _members(path: Path, modified: int) -> dict[str, tuple[int, int, int]]:
    """Return (offset, size, time) of every file, once per process: a .tar has no table of contents."""
    with tarfile.open(path, "r:") as archive:
        files = (member for member in archive if member.isfile())
        return {
            member.name.removeprefix("./"): (member.offset_data, member.size, int(member.mtime)) for member in files
        }


class Tar(Source):
    """A .tar file. A compressed one cannot be read from the middle, so `open_source` refuses it."""

    def list_files(self) -> dict[str, tuple[int, ...]]:
        return dict(_members(self.root, self.root.stat().st_mtime_ns))

    def read(self, name: str) -> bytes:
        return self._part(name, MAX_BYTES)

    def head(self, name: str) -> bytes:
        return self._part(name, None)

    def _part(self, name: str, most: int | None) -> bytes:
        offset, size, _ = _members(self.root, self.root.stat().st_mtime_ns)[name]
        if most is not None and size > most:
            raise too_large(size)
        with open(self.root, "rb") as file:
            file.seek(offset)
            return file.read(size if most is not None else min(size, 16))
