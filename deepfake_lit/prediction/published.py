"""The weights that come with the package, by their names."""

from pathlib import Path

import deepfake_lit
from deepfake_lit.core.errors import UserError, did_you_mean

DEFAULTS = ("robust", "speedrun_95")  # what is taken where none is named: the first one that there is
FOLDER = Path(deepfake_lit.__file__).resolve().parent / "weights"


def names() -> list[str]:
    """Return the names of the published weights."""
    return sorted(file.stem for file in FOLDER.glob("*.ckpt"))


def file_of(name: str) -> Path | None:
    """Return the file of published weights; None if there are none of that name."""
    return FOLDER / f"{name}.ckpt" if name in names() else None


def chosen(checkpoints: list[str]) -> str:
    """Return the checkpoint that somebody named, or the weights that are taken without one.

    Raises:
        UserError: none is named, and this version comes without those weights; or what is named is not there.
    """
    named = [*checkpoints, *(name for name in DEFAULTS if name in names())]
    if not named:
        raise UserError("name a checkpoint, such as outputs/runs/NAME/FINGERPRINT/best.ckpt")
    wanted = named[0]
    if wanted not in names() and not Path(wanted).exists():
        raise missing(wanted)
    return wanted


def missing(name: str) -> UserError:
    """Return what is said of a checkpoint that is not there."""
    near = did_you_mean(name, names()) or ", and `deepfake-lit weights` what can be named"
    return UserError(f"{name}: there is no such checkpoint; `deepfake-lit status` lists the runs{near}")
