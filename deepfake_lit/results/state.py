"""The state of a run (done, running, interrupted or failed), and the lock on its folder."""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from deepfake_lit.core.errors import Unfinished, UserError
from deepfake_lit.core.files import UNWRITABLE, read_json, remove_partial, write_json
from deepfake_lit.results.provenance import now
from deepfake_lit.results.result import Result, read_result


class Busy(UserError):
    """The error that another process is working on the run."""


@contextlib.contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Create a run's folder and hold its lock, which keeps every other process out.

    The kernel owns the lock and releases it however the process dies.

    Args:
        wait: wait as long as another process holds the lock.

    Raises:
        Busy: another process holds the lock, and `wait` is false.
        UserError: the folder cannot be written or locked.
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
    """Tell whether a process is working on a run."""
    if not (folder / ".lock").exists():
        return False
    try:
        with FileLock(folder / ".lock", timeout=0):
            return False
    except Timeout:
        return True


def failure(folder: Path) -> str | None:
    """Return why the last try of a run failed; None if it did not fail."""
    try:
        return read_json(folder / "failure.json")["error"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        return f"failure.json cannot be read: {error}"


def state_of(folder: Path) -> tuple[str, Result | None, str | None]:
    """Return the state (done, running, failed or interrupted), the result if done, and the reason if failed.

    Raises:
        UserError: as `read_result`.
    """
    busy = in_use(folder)  # before the result is read: a run that ends in between is then seen as done
    if result := read_result(folder):
        return "done", result, None
    if busy:
        return "running", None, None
    reason = failure(folder)
    return "failed" if reason else "interrupted", None, reason


@contextlib.contextmanager
def recorded_failure(folder: Path) -> Iterator[None]:
    """Write `failure.json` if the block raises an exception; the next try removes it.

    Raises:
        Unfinished: the disk is full or cannot be written, which can be fixed before the run goes on.
    """
    (folder / "failure.json").unlink(missing_ok=True)  # a try that is killed has not failed
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            remedy = UNWRITABLE[error.errno]
            raise Unfinished(f"{folder}: {error.strerror}; {remedy}, and the same command goes on") from error
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        report = {"error": f"{kind}{error}", "traceback": traceback.format_exc()}
        write_json(folder / "failure.json", report | {"time": now()})
        raise
