"""`bench gpu`: what the owner of a GPU can measure in three minutes, on images that everyone can make."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from deepfake_lit.core import hardware
from deepfake_lit.core.errors import UserError
from deepfake_lit.data.samples import write_samples

NAMES = ("step", "fed", "utilisation", "end_to_end")
SECONDS = 150  # with the start of the command and the making of the images it ends within three minutes
IMAGES = {"train": 1600, "validation": 250, "image_size": 100}


def arranged(arguments: list[str]) -> list[str]:
    """Return the arguments of `bench` with the benches that `gpu` stands for, its output folder, images and time where
    they are not given.

    Raises:
        UserError: there is no GPU here.
    """
    if hardware.resolve().device != "cuda":
        raise UserError("bench gpu needs an NVIDIA GPU, and torch finds none on this machine")
    given = dict(a.split("=", 1) for a in arguments if "=" in a)
    output = Path(given.get("output", "outputs/gpu"))
    own = {"output": str(output), "data.root": str(output / "images"), "seconds": str(SECONDS)}
    if "data.root" not in given and not (output / "images" / "validation.csv").exists():
        write_samples(output / "images", **IMAGES)
    named = [a for argument in arguments for a in (NAMES if argument == "gpu" else [argument])]
    return named + [f"{name}={value}" for name, value in own.items() if name not in given]


def tests_of(path: Path) -> dict[str, Any] | None:
    """Return how many tests passed and skipped and the names of those that failed, from pytest's JUnit file."""
    if not path.exists():
        return None
    cases = ElementTree.parse(path).getroot().iter("testcase")
    found: dict[str, Any] = {"passed": 0, "skipped": 0, "failed": []}
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            found["failed"].append(f"{case.get('classname')}.{case.get('name')}")
        else:
            found["passed" if case.find("skipped") is None else "skipped"] += 1
    return found
