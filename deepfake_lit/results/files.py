"""What a run leaves: `result.json` and `predictions.npz`, how they are written, and how they are read as data."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import atomic, read_json, write_json

SCHEMA = 1
REQUIRED = ("schema", "name", "fingerprint", "config", "seed", "data", "code", "hardware", "best", "last")


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
