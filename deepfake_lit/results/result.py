"""What a finished run leaves as `result.json`: one type, one writer."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import read_json, write_json
from deepfake_lit.core.metrics import METRICS, PER_CLASS
from deepfake_lit.results.files import read_predictions, write_predictions

SCHEMA = 1
REQUIRED = ("schema", "name", "fingerprint", "config", "seed", "data", "code", "hardware", "best", "last")
# figure of a result -> array of `predictions.npz` that it is computed from
ARRAYS = {
    "best": "probabilities",
    "best_tta": "probabilities_tta",
    "last": "probabilities_last",
    "last_tta": "probabilities_last_tta",
}


@dataclass
class Result:
    """A finished run.

    `best`, `last` and, with test-time augmentation, `best_tta` and `last_tta` hold the figures of `figures_of`: of the
    selected epoch and of the last one. A baseline has one state, which counts as both.
    """

    kind: str  # network | ensemble | baseline
    name: str
    fingerprint: str
    config: dict[str, Any]  # as `identity.to_dict` gives it; of a baseline `baseline` and `data.channels`
    seed: int
    data: dict[str, Any]  # hash, class_names, image_size, images, tolerated
    code: dict[str, Any]  # version, commit, modified
    hardware: dict[str, Any]
    best: dict[str, Any]
    last: dict[str, Any]
    best_tta: dict[str, Any] | None = None
    last_tta: dict[str, Any] | None = None
    versions: dict[str, str] | None = None
    finished: str | None = None
    wall_seconds: float | None = None
    images_per_second: float | None = None  # of training
    selected_on: str | None = None  # None: nothing was selected on the validation images
    best_epoch: int | None = None  # counted from 0
    history: list[dict[str, float]] = field(default_factory=list)
    parameters: int | None = None
    checkpoints: dict[str, float] | None = None  # how many were written, and the seconds that it took
    init_from: dict[str, Any] | None = None  # the lineage of the weights that it started with
    members: list[dict[str, Any]] | None = None  # of an ensemble, each with its gain
    features: int | None = None  # of a baseline, an image
    random: bool | None = None  # of a baseline: whether another seed would give another result
    seconds: dict[str, float] | None = None  # of a baseline's parts
    folder: str = ""  # where it lies; not part of the file

    def figures(self, epoch: str, view: str = "") -> dict[str, Any]:
        """Return the figures of the "best" or "last" epoch, with test-time augmentation for the view "tta"."""
        return (view and getattr(self, f"{epoch}_{view}")) or getattr(self, epoch)

    def value(self, metric: str, epoch: str, view: str = "") -> Any:
        """Return a metric; of a run that is older than it computed from the stored predictions.

        Raises:
            UserError: the predictions are not there.
        """
        found = self.figures(epoch, view)
        if metric not in found:
            arrays = read_predictions(Path(self.folder) / "predictions.npz")
            wanted = ARRAYS[f"{epoch}_{view}" if view and getattr(self, f"{epoch}_{view}") else epoch]
            if wanted not in arrays:
                raise UserError(f"{self.folder} holds no {wanted}")
            found[metric] = (METRICS | PER_CLASS)[metric].compute(arrays[wanted], arrays["labels"])
        return found[metric]

    @property
    def neighbours(self) -> int | None:
        """The k of a KNN."""
        steps = self.config.get("baseline", {}).get("steps", [])
        return next((values.get("n_neighbors") for name, values in steps if name == "KNN" and values), None)


ALWAYS = ("selected_on", "best_epoch")  # in the file as null too


@dataclass
class Results:
    """What one configuration leaves: the results of its baselines, and of its network where it has one."""

    baselines: list[Result]
    network: Result | None = None

    @property
    def main(self) -> Result:
        """The network's, else that of the last baseline."""
        return self.network or self.baselines[-1]

    @property
    def every(self) -> list[Result]:
        """The baselines', then the network's."""
        return [*self.baselines, *([self.network] if self.network else [])]


def write_result(result: Result, predictions: dict[str, np.ndarray]) -> None:
    """Write `predictions.npz`, then `result.json`, which says that everything is there.

    Args:
        predictions: `ids` (N,) str, `labels` int64 (N,), and of `ARRAYS` those that the run has, float32 (N, K).
    """
    write_predictions(Path(result.folder) / "predictions.npz", predictions)
    tree = {f.name: getattr(result, f.name) for f in dataclasses.fields(result) if f.name != "folder"}
    tree = {name: value for name, value in tree.items() if value is not None or name in ALWAYS}
    write_json(Path(result.folder) / "result.json", {"schema": SCHEMA, **tree})


def read_result(folder: Path) -> Result | None:
    """Read the finished result in a run's folder; None where there is none yet.

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
    known = {f.name for f in dataclasses.fields(Result)}
    tree = {"kind": _kind(tree)} | {name: value for name, value in tree.items() if name in known}
    return Result(**tree | {"folder": str(folder)})


def _kind(tree: dict[str, Any]) -> str:
    """The kind of a result that was written before results said it."""
    if tree.get("selected_on") is None:
        return "baseline"
    return "ensemble" if tree["config"].get("model", {}).get("kind") == "ensemble" else "network"
