"""What a run is at - done, running, interrupted, failed - and who may write in its folder."""

import contextlib
import errno
import traceback
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from deepfake_lit.core.errors import Unfinished, UserError
from deepfake_lit.core.files import read_json, remove_partial, write_json
from deepfake_lit.results.provenance import now
from deepfake_lit.results.result import Result, read_result

UNWRITABLE = {  # what can be mended from outside, and how
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable"),
}


class Busy(UserError):
    """Another process is in the run."""


@contextlib.contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Make a run's folder and keep every other process out of it.

    The kernel holds the lock for the process, and gives it back when the process dies, in whatever way.

    Args:
        wait: for as long as another process is in it.

    Raises:
        Busy: another process is in it.
        UserError: the folder cannot be written.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if wait else 1)  # seconds: `in_use` holds it for a moment
    except Timeout:
        raise Busy(f"another process is in this run: {folder}") from None
    except NotImplementedError:
        raise UserError(f"the file system of {folder} has no locks; choose an output_dir on another") from None
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror or error}); choose another output_dir") from None
    try:
        remove_partial(folder)
        yield
    finally:
        lock.release()


def in_use(folder: Path) -> bool:
    """Whether a process is in a run."""
    if not (folder / ".lock").exists():
        return False
    try:
        with FileLock(folder / ".lock", timeout=0):
            return False
    except Timeout:
        return True


def failure(folder: Path) -> str | None:
    """Why a run failed when it was last tried; None where it did not."""
    try:
        return read_json(folder / "failure.json")["error"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        return f"failure.json cannot be read: {error}"


def state_of(folder: Path) -> tuple[str, Result | None, str | None]:
    """What a run is at: done, running, failed or interrupted; its result if done; the reason if it failed.

    Raises:
        UserError: as `read_result`.
    """
    busy = in_use(folder)  # asked first: it may end meanwhile, and then has a result
    if result := read_result(folder):
        return "done", result, None
    if busy:
        return "running", None, None
    reason = failure(folder)
    return "failed" if reason else "interrupted", None, reason


@contextlib.contextmanager
def recorded_failure(folder: Path) -> Iterator[None]:
    """Leaves `failure.json` when the run ends in an exception; the next try removes it.

    Raises:
        Unfinished: the disk is full, or has become read-only.
    """
    (folder / "failure.json").unlink(missing_ok=True)  # of an earlier try: if this one is killed it has not failed
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            remedy = UNWRITABLE[error.errno]
            raise Unfinished(f"{folder}: {error.strerror}; {remedy}, and the same command goes on") from error
        report = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        write_json(folder / "failure.json", report | {"time": now()})
        raise
