"""Image files in a folder."""

import os
from collections.abc import Iterator

from deepfake_lit.data.sources.base import MAX_BYTES, Source, too_large


class Folder(Source):
    """A folder, with the folders in it."""

    def list_files(self) -> dict[str, tuple[int, ...]]:
        return dict(self._below("", ()))

    def _below(self, folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
        stat = os.stat(self.root / folder)
        if (stat.st_dev, stat.st_ino) in above:  # a link to one of its parent folders
            return
        above = (*above, (stat.st_dev, stat.st_ino))
        with os.scandir(self.root / folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    if not entry.name.startswith("."):
                        yield from self._below(f"{folder}{entry.name}/", above)
                elif entry.is_symlink() and not entry.is_file():
                    yield f"{folder}{entry.name}", (0, 0, 0)  # it leads nowhere: to read it is an error that is named
                elif entry.is_file():
                    stat = entry.stat()
                    yield f"{folder}{entry.name}", (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def read(self, name: str) -> bytes:
        path = self.root / name
        if (size := path.stat().st_size) > MAX_BYTES:
            raise too_large(size)
        return path.read_bytes()

    def head(self, name: str) -> bytes:
        with open(self.root / name, "rb") as file:
            return file.read(16)
