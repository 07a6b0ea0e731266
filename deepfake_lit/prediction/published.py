"""The weights that come with the package, by their names."""

from pathlib import Path

import deepfake_lit

FOLDER = Path(deepfake_lit.__file__).resolve().parent / "weights"


def names() -> list[str]:
    """Return the names of the published weights."""
    return sorted(file.stem for file in FOLDER.glob("*.ckpt"))


def file_of(name: str) -> Path | None:
    """Return the file of published weights; None if there are none of that name."""
    return FOLDER / f"{name}.ckpt" if name in names() else None
