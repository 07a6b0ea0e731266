"""Sources of image files: each kind of place has its own file and the interface of `base.Source`."""

import tarfile
import zipfile
from pathlib import Path

from deepfake_lit.data.problems import DataError
from deepfake_lit.data.sources.base import Source
from deepfake_lit.data.sources.folder import Folder
from deepfake_lit.data.sources.table import ENDINGS, Table, holds_tables
from deepfake_lit.data.sources.tar import Tar
from deepfake_lit.data.sources.zip import Zip


def open_source(root: str | Path, name: str = "data.root", tables: bool = True) -> Source:
    """Open a folder, a .zip, a .tar or a table of images as a source of files.

    Args:
        name: the setting that holds the root, for messages.
        tables: whether a folder with tables of images in it is opened as these tables.

    Raises:
        DataError: the root does not exist or is none of these.
    """

    def wrong(reason: str) -> DataError:
        return DataError(f"{name}={root}: {reason}", {"layout"})

    try:
        path = Path(root).expanduser().absolute()  # a worker process may have another working directory
        if not path.exists():
            raise wrong("there is no such folder or file")
        if path.is_dir():
            return Table(path, name) if tables and holds_tables(path) else Folder(path, name)
        if path.is_file() and zipfile.is_zipfile(path):
            return Zip(path, name)
        if path.suffix in ENDINGS:
            return Table(path, name)
        if path.is_file() and tarfile.is_tarfile(path):
            with open(path, "rb") as file:
                if file.read(2) in (b"\x1f\x8b", b"BZ", b"\xfd7"):
                    raise wrong("a compressed .tar cannot be read in place; unpack it, or make a .tar or .zip of it")
            return Tar(path, name)
    except (OSError, RuntimeError) as error:  # RuntimeError: ~ of an unknown user
        raise DataError(f"{name}={root} cannot be read: {error}", {"layout"}) from None
    raise wrong("neither a folder nor a readable .zip, .tar or .parquet file")
