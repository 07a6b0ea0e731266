"""What a run leaves: `result.json` and `predictions.npz`, how they are written, and how they are read as data."""

import contextlib
import errno
import platform
import subprocess
import traceback
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

import deepfake_lit
from deepfake_lit.core.errors import Unfinished, UserError
from deepfake_lit.core.files import atomic, read_json, remove_partial, write_json
from deepfake_lit.data.dataset import ImageData

SCHEMA = 1
UNWRITABLE = {  # what can be mended from outside, and how
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable"),
}
REQUIRED = ("schema", "name", "fingerprint", "config", "seed", "data", "code", "hardware", "best", "last")
PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "torchmetrics",
    "scikit-learn",
    "scikit-image",
    "scipy",
    "timm",
    "pillow",
    "numpy",
)


def write_result(folder: Path, result: dict[str, Any], predictions: dict[str, np.ndarray]) -> None:
    """`predictions.npz` first: a `result.json` says that everything is there.

    Args:
        predictions: `ids` (N,) str, `labels` int64 (N,), `probabilities` float32 (N, K) of the selected checkpoint, and
            `probabilities_tta`, `probabilities_last`, `probabilities_last_tta` of the same shape.
    """
    with atomic(folder / "predictions.npz", "wb") as file:
        np.savez_compressed(file, **predictions)
    write_json(folder / "result.json", {"schema": SCHEMA, **result})


def read_result(folder: Path) -> dict[str, Any] | None:
    """The finished result in a run's folder; None where there is none yet.

    Raises:
        UserError: the file is no result of this program, or of a newer version of it.
    """
    path = folder / "result.json"
    try:
        tree = read_json(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}); move it away and run again") from None
    missing = [key for key in REQUIRED if not isinstance(tree, dict) or key not in tree]
    if missing:
        raise UserError(f"{path} is not a result of deepfake_lit: it lacks {', '.join(missing)}")
    if not isinstance(tree["schema"], int) or tree["schema"] > SCHEMA:
        raise UserError(f"{path} was written by a newer version of deepfake_lit (schema {tree['schema']})")
    return tree


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `predictions.npz`; pickled objects are refused. Those of a published sweep's runs are of
    the last epoch alone."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} cannot be read as predictions ({error})") from None
    if missing := {"ids", "labels", "probabilities_last"} - found.keys():
        raise UserError(f"{path} holds no {', '.join(sorted(missing))}")
    return found


def origin(data: ImageData) -> dict[str, Any]:
    """What a result says of its data and its code."""
    return {
        "data": {
            "hash": data.hash,
            "class_names": data.class_names,
            "image_size": [int(side) for side in data.size],
            "images": {name: len(s) for name, s in data.splits.items()},
            "tolerated": {kind: len(data.problems.found[kind]) for kind in data.problems.kinds},
        },
        "code": code_version(),
        "versions": versions(),
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


def state_of(folder: Path) -> tuple[str, dict[str, Any] | None, str | None]:
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


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


@cache
def code_version() -> dict[str, Any]:
    """Version and, in a checkout, commit of this package, and whether the tree differed from that commit."""
    code = {"version": deepfake_lit.__version__, "commit": None, "modified": None}
    top = Path(deepfake_lit.__file__).parent.parent
    if not (top / ".git").exists():
        return code

    def git(*arguments: str) -> str:
        # Without optional locks: `status` would leave one behind where a run is killed in it.
        command = ["git", "--no-optional-locks", "-C", str(top), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        code["commit"] = git("rev-parse", "HEAD") or None
        code["modified"] = bool(git("status", "--porcelain", "--", "deepfake_lit", "conf"))
    except (OSError, subprocess.SubprocessError):
        pass  # no git here: the commit stays unknown
    return code
