"""The provenance that a result records: data, code, package versions and time."""

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import deepfake_lit
from deepfake_lit.data.images import ImageData
from deepfake_lit.data.shortcuts import shortcut_warnings

PACKAGES = [
    *("torch", "torchvision", "pytorch-lightning", "hydra-core", "omegaconf", "torchmetrics"),
    *("scikit-learn", "scikit-image", "scipy", "timm", "pillow", "numpy"),
]


def origin(data: ImageData) -> dict[str, Any]:
    """Describe the data, the code and the package versions, as fields of a `Result`."""
    return {
        "data": {
            "hash": data.hash,
            "class_names": data.class_names,
            "image_size": [int(side) for side in data.size],
            "images": {name: len(s) for name, s in data.splits.items()},
            "tolerated": {kind: len(data.problems.found[kind]) for kind in data.problems.kinds},
            "shortcuts": shortcut_warnings(data),
        },
        "code": code_version(),
        "versions": versions(),
    }


def now() -> str:
    """Return the current time in UTC, in ISO format to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions of Python and of `PACKAGES`."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


@cache
def code_version() -> dict[str, Any]:
    """Return this package's version and, in a checkout, its commit and whether the tree differs from that commit."""
    code = {"version": deepfake_lit.__version__, "commit": None, "modified": None}
    top = Path(deepfake_lit.__file__).parent.parent
    if not (top / ".git").exists():
        return code

    def git(*arguments: str) -> str:
        # `status` takes an optional lock, and would leave it behind if the run were killed meanwhile.
        command = ["git", "--no-optional-locks", "-C", str(top), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        code["commit"] = git("rev-parse", "HEAD") or None
        code["modified"] = bool(git("status", "--porcelain", "--", "deepfake_lit", "conf"))
    except (OSError, subprocess.SubprocessError):
        pass  # no git here: the commit stays unknown
    return code
