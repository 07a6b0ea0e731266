"""Access to image files in a folder, or in a .zip as Kaggle serves it, without unpacking it."""

import os
import zipfile
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from posixpath import basename, splitext

from deepfake_lit.data.problems import DataError, printable

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
MAX_BYTES = 2**30  # a larger file is refused before it fills the memory


def stem_of(name: str) -> str:
    """Return a file's name without its folder and ending."""
    return splitext(basename(name))[0]


@lru_cache(maxsize=2)
def _open_zip(path: Path, modified: int) -> zipfile.ZipFile:
    """Open a .zip once per process: reading the table of contents of a large one takes longer than a task."""
    return zipfile.ZipFile(path)


class Source:
    """The files below a root, by their relative POSIX names. Instances are cheap to send to another process.

    Raises:
        DataError: the root does not exist, is neither a folder nor a readable .zip, or its files cannot be listed.
    """

    def __init__(self, root: str | Path):
        try:
            self.root = Path(root).expanduser().absolute()  # a worker process may have another working directory
            self._is_dir = self.root.is_dir()
            if not self.root.exists():
                raise DataError(f"data.root={root}: there is no such folder or .zip file", {"layout"})
            if not self._is_dir and not (self.root.is_file() and zipfile.is_zipfile(self.root)):
                raise DataError(f"data.root={root}: neither a folder nor a readable .zip file", {"layout"})
        except (OSError, RuntimeError) as error:  # RuntimeError: ~ of an unknown user
            raise DataError(f"data.root={root} cannot be read: {error}", {"layout"}) from None

    def __getstate__(self) -> dict:
        return {"root": self.root, "_is_dir": self._is_dir}  # an open .zip cannot be pickled

    @cached_property
    def _zip(self) -> zipfile.ZipFile:
        return _open_zip(self.root, self.root.stat().st_mtime_ns)

    @cached_property
    def files(self) -> dict[str, tuple[int, ...]]:
        """Return every file's signature, which changes with the file: size and times, or size and CRC in a .zip."""
        try:
            if self._is_dir:
                return dict(self._below("", ()))
            return {i.filename: (i.file_size, i.CRC) for i in self._zip.infolist() if not i.is_dir()}
        except Exception as error:  # zipfile raises several types on a damaged table of contents
            raise DataError(
                printable(f"data.root={self.root}: the files cannot be listed: {error}"), {"layout"}
            ) from None

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
                elif entry.is_file():
                    stat = entry.stat()
                    yield f"{folder}{entry.name}", (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    @cached_property
    def images(self) -> dict[str, list[str]]:
        """Return image files by folder ("" for the root), sorted by name, without hidden and __MACOSX files."""
        folders: dict[str, list[str]] = {}
        for name in sorted(self.files):  # strings: path objects for 12,500 files take half a second
            folder, _, base = name.rpartition("/")
            hidden = name.startswith(".") or "/." in name or "__MACOSX" in name.split("/")
            if splitext(base)[1].lower() in IMAGE_SUFFIXES and not hidden:
                folders.setdefault(folder, []).append(name)
        return folders

    def read(self, name: str) -> bytes:
        path = self.root / name
        size = path.stat().st_size if self._is_dir else self._zip.getinfo(name).file_size
        if size > MAX_BYTES:
            raise OSError(f"{size:,} bytes are more than a file of this task has")
        return path.read_bytes() if self._is_dir else self._zip.read(name)
