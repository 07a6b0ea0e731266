"""What every source of image files offers, and which of its files are images."""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from posixpath import basename, splitext

from deepfake_lit.data.problems import DataError, printable

# Endings of what Pillow reads as an image, and of image files that it does not read: those are named, not skipped.
IMAGE_SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"),
    *(".avif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ico", ".tga", ".qoi", ".pbm", ".pgm", ".ppm", ".pnm"),
    *(".heic", ".heif", ".jxl", ".psd", ".dng", ".cr2", ".nef", ".arw"),
}
# The first bytes of image files, for files with another ending or none. The gap in RIFF and ftyp boxes is a length.
SIGNATURES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cjP  \r\n\x87\n",
)
MAX_BYTES = 2**30  # a larger file is refused before it fills the memory


def stem_of(name: str) -> str:
    """Return a file's name without its folder and ending."""
    return splitext(basename(name))[0]


def looks_like_an_image(head: bytes) -> bool:
    """Tell whether a file that begins with these 16 bytes or more is an image of one of the common formats."""
    boxed = (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or (
        head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"heic", b"heix", b"mif1")
    )
    return boxed or head.startswith(SIGNATURES)


class Source(ABC):
    """The files below a root, by their relative POSIX names. Instances are cheap to send to another process.

    Args:
        root: a path that exists.
        name: the setting that named it, for messages.
    """

    def __init__(self, root: Path, name: str = "data.root"):
        self.root, self.name = root, name

    def __getstate__(self) -> dict:
        return {"root": self.root, "name": self.name}  # open files cannot be pickled, and lists of files are long

    @abstractmethod
    def list_files(self) -> dict[str, tuple[int, ...]]:
        """Return every file's signature, which changes with the file, such as size and times."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            OSError: it cannot be read, or has more than `MAX_BYTES`.
        """

    def head(self, name: str) -> bytes:
        """Return a file's first bytes, at least 16 where it has as many."""
        return self.read(name)

    @cached_property
    def files(self) -> dict[str, tuple[int, ...]]:
        """Return `list_files`.

        Raises:
            DataError: the files cannot be listed.
        """
        try:
            return self.list_files()
        except Exception as error:  # archives raise several types on a damaged table of contents
            raise DataError(
                printable(f"{self.name}={self.root}: the files cannot be listed: {error}"), {"layout"}
            ) from None

    @cached_property
    def images(self) -> dict[str, list[str]]:
        """Return image files by folder ("" for the root), sorted by name, without hidden and __MACOSX files.

        A file is an image by its ending or, with an unknown ending, by its first bytes.
        """
        folders: dict[str, list[str]] = {}
        for name in sorted(self.files):  # strings: path objects for 12,500 files take half a second
            if self._is_image(name) and not hidden(name):
                folders.setdefault(name.rpartition("/")[0], []).append(name)
        return folders

    @cached_property
    def others(self) -> list[str]:
        """Return the files that are neither images nor hidden."""
        images = {file for files in self.images.values() for file in files}
        return [name for name in sorted(self.files) if name not in images and not hidden(name)]

    def _is_image(self, name: str) -> bool:
        suffix = splitext(name)[1].lower()
        if suffix in IMAGE_SUFFIXES:
            return True
        if suffix in NO_IMAGES or hidden(name):
            return False
        try:
            return looks_like_an_image(self.head(name))
        except Exception:  # it cannot be read; as it has no image's ending, it is none
            return False


# Endings whose files are not opened to see whether they are images.
NO_IMAGES = {
    ".csv",
    ".tsv",
    ".txt",
    ".json",
    ".jsonl",
    ".md",
    ".yaml",
    ".yml",
    ".xml",
    ".html",
    ".py",
    ".ipynb",
    ".pdf",
}
NO_IMAGES |= {
    ".npy",
    ".npz",
    ".pkl",
    ".pt",
    ".pth",
    ".ckpt",
    ".parquet",
    ".arrow",
    ".zip",
    ".tar",
    ".gz",
    ".db",
    ".lock",
}


def hidden(name: str) -> bool:
    """Tell whether a file or one of its folders is hidden, or belongs to what macOS adds to archives."""
    return name.startswith(".") or "/." in name or "__MACOSX" in name.split("/")


def too_large(size: int) -> OSError:
    return OSError(f"{size:,} bytes are more than a file of this task has")
