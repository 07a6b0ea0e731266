"""Image files in a .zip, as Kaggle serves it, without unpacking it."""

import os
import zipfile
from functools import cached_property, lru_cache
from pathlib import Path

from deepfake_lit.data.sources.base import MAX_BYTES, Source, too_large


@lru_cache(maxsize=2)
def _open(path: Path, modified: int) -> zipfile.ZipFile:
    """Open a .zip once per process: reading the table of contents of a large one takes longer than a task."""
    return zipfile.ZipFile(path)


if hasattr(os, "register_at_fork"):  # a fork would share the place in the open file
    os.register_at_fork(after_in_child=_open.cache_clear)


class Zip(Source):
    """A .zip file."""

    @cached_property
    def _zip(self) -> zipfile.ZipFile:
        return _open(self.root, self.root.stat().st_mtime_ns)

    def list_files(self) -> dict[str, tuple[int, ...]]:
        return {i.filename: (i.file_size, i.CRC) for i in self._zip.infolist() if not i.is_dir()}

    def read(self, name: str) -> bytes:
        if (size := self._zip.getinfo(name).file_size) > MAX_BYTES:
            raise too_large(size)
        return self._zip.read(name)

    def head(self, name: str) -> bytes:
        with self._zip.open(name) as file:
            return file.read(16)
