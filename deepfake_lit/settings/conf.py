"""Where the files of conf/ are. It imports nothing, so that help is quick."""

from pathlib import Path

import deepfake_lit


def config_dir() -> Path:
    """Return the path of `conf/`, which is beside the package in a checkout and inside it in an installed wheel."""
    package = Path(deepfake_lit.__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def choices(group: str) -> list[str]:
    """Return the files of a group in conf/."""
    return sorted(file.stem for file in (config_dir() / group.lstrip("+")).glob("*.yaml"))
