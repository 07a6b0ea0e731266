"""Reading and writing of `predictions.npz`, the stored predictions. Nothing in the file is ever executed."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import atomic


def write_predictions(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays to one compressed `.npz` atomically."""
    with atomic(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_predictions(
    path: Path, wanted: tuple[str, ...] | None = None, known: dict[tuple, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Read the arrays of a `predictions.npz`. Runs of a published sweep hold those of the last epoch alone.

    Args:
        wanted: the arrays to read where the file has them; None: all.
        known: ids and labels that other files had, by size and checksum. Those of this file are added; what is there
            already is not read again, since most runs are on the same images.

    Raises:
        UserError: the file cannot be read, holds pickled objects, or lacks the arrays that every run has.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = set(arrays.files)
            found = {name: _array(arrays, name, known) for name in arrays.files if wanted is None or name in wanted}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} cannot be read as predictions ({error})") from None
    if missing := {"ids", "labels", "probabilities_last"} - names:
        raise UserError(f"{path} holds no {', '.join(sorted(missing))}")
    return found


def _array(arrays: np.lib.npyio.NpzFile, name: str, known: dict[tuple, np.ndarray] | None) -> np.ndarray:
    if known is None or name not in ("ids", "labels"):
        return arrays[name]
    entry = arrays.zip.getinfo(f"{name}.npy")
    key = name, entry.file_size, entry.CRC
    if key not in known:
        known[key] = arrays[name]
    return known[key]
