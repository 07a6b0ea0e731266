"""Atomic writing of files: each is written beside its target, flushed to the disk, then renamed."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

PARTIAL = ".partial"


def remove_partial(folder: Path) -> None:
    """Remove the unfinished files of a killed process. No other process may be writing in the folder."""
    for path in folder.glob(f".*{PARTIAL}"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file that becomes `path` when the block ends without an exception.

    Raises:
        OSError: the disk is full or the folder cannot be written; `path` is then unchanged.
    """
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


def write_json(path: Path, tree: Any) -> None:
    """Write a JSON file atomically."""
    with atomic(path) as file:
        json.dump(tree, file, indent=1)
        file.write("\n")
