"""Where image files lie: a folder, or a .zip as Kaggle serves it, read in place."""

import os
import zipfile
from functools import cached_property
from pathlib import Path, PurePosixPath

from deepfake_lit.data.problems import DataError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


class Source:
    """Files below a root by their relative POSIX name. Instances are cheap to send to another process.

    Raises:
        DataError: the root does not exist, or is neither a folder nor a readable .zip.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root).expanduser()
        if not self.root.exists():
            raise DataError(f"data.root={root}: there is no such folder or .zip file", {"layout"})
        if not self.root.is_dir() and not zipfile.is_zipfile(self.root):
            raise DataError(f"data.root={root}: neither a folder nor a readable .zip file", {"layout"})

    @cached_property
    def _zip(self) -> zipfile.ZipFile | None:
        return None if self.root.is_dir() else zipfile.ZipFile(self.root)

    def __getstate__(self) -> dict:
        return {"root": self.root}  # an open zip does not travel

    @cached_property
    def files(self) -> dict[str, tuple[int, ...]]:
        """Every file's signature, which changes when the file does: size and times, or size and CRC in a .zip."""
        if self._zip:
            return {i.filename: (i.file_size, i.CRC) for i in self._zip.infolist() if not i.is_dir()}
        found: dict[str, tuple[int, ...]] = {}
        pending = [""]
        while pending:
            folder = pending.pop()
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    name = f"{folder}{entry.name}"
                    if entry.is_dir():
                        if not entry.name.startswith("."):
                            pending.append(f"{name}/")
                    elif entry.is_file():
                        stat = entry.stat()
                        found[name] = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        return found

    @cached_property
    def images(self) -> dict[str, list[str]]:
        """Image files by folder ("" for the root), sorted by name; hidden files and macOS' zip litter left out."""
        folders: dict[str, list[str]] = {}
        for name in sorted(self.files):
            path = PurePosixPath(name)
            hidden = path.name.startswith(".") or "__MACOSX" in path.parts
            if path.suffix.lower() in IMAGE_SUFFIXES and not hidden:
                parent = str(path.parent)
                folders.setdefault("" if parent == "." else parent, []).append(name)
        return folders

    def read(self, name: str) -> bytes:
        if self._zip:
            return self._zip.read(name)
        return (self.root / name).read_bytes()
