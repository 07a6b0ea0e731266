"""Atomic writing of files: each is written beside its target, flushed to the disk, then renamed."""

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

PARTIAL = ".partial"
UNWRITABLE = {  # errors of writing that the user can fix, and how
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable"),
}


def remove_partial(folder: Path) -> None:
    """Remove the unfinished files of a killed process. No other process may be writing in the folder."""
    for path in folder.glob(f".*{PARTIAL}"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file that becomes `path` when the block ends without an exception.

    Raises:
        OSError: the disk is full or the folder cannot be written; `path` is then unchanged, and the error names it.
    """
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(PARTIAL, f".{path.name}.", path.parent)
        partial = Path(name)
        try:
            options = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
            with os.fdopen(fd, mode, **options) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            partial.chmod(0o666 & ~umask)  # mkstemp makes files private; whoever may read the folder may read these
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Let errors of writing name the path that was meant: `write` names none, others name a temporary file."""
    try:
        yield
    except OSError as error:
        if error.filename is None or str(error.filename).endswith(PARTIAL):
            error.filename = str(path)
        raise


def check_writable(folder: Path) -> None:
    """Write and remove a file in a folder, before the work whose results are to be written there.

    Raises:
        OSError: the folder cannot be made or written, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with named(folder), tempfile.NamedTemporaryFile(dir=folder, suffix=PARTIAL) as file:
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read or is not JSON; the message says why.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None


def write_json(path: Path, tree: Any, finite: bool = False) -> None:
    """Write a JSON file atomically.

    Args:
        finite: refuse NaN and infinity with a `ValueError`. JSON has neither; Python writes and reads them anyway.
    """
    with atomic(path) as file:
        json.dump(tree, file, indent=1, allow_nan=not finite)
        file.write("\n")
