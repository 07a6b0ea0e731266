"""The result of a finished run, and the only reader and writer of `result.json`."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import read_json, write_json
from deepfake_lit.core.metrics import AGAINST_REST, METRICS, PER_CLASS
from deepfake_lit.results.files import read_predictions, write_predictions

SCHEMA = 1
REQUIRED = ("schema", "name", "fingerprint", "config", "seed", "data", "code", "hardware", "best", "last")
# Field of a result -> the array of `predictions.npz` from which its figures are computed.
ARRAYS = {
    "best": "probabilities",
    "best_tta": "probabilities_tta",
    "last": "probabilities_last",
    "last_tta": "probabilities_last_tta",
}


@dataclass
class Result:
    """The result of a finished run.

    `best` and `last` hold the figures of `figures_of` for the selected epoch and for the last one; `best_tta` and
    `last_tta` hold those with test-time augmentation. A baseline has one state, which counts as both epochs.
    """

    kind: str  # network | ensemble | baseline
    name: str
    fingerprint: str
    config: dict[str, Any]  # from `identity.to_dict`; a baseline stores only `baseline` and `data.channels`
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
    images_per_second: float | None = None  # in training
    selected_on: str | None = None  # monitored metric; None: nothing was selected on the validation images
    best_epoch: int | None = None  # counted from 0
    history: list[dict[str, float]] = field(default_factory=list)
    parameters: int | None = None
    checkpoints: dict[str, float] | None = None  # number written, and the seconds spent on writing them
    init_from: dict[str, Any] | None = None  # the lineage of the weights that it started with
    members: list[dict[str, Any]] | None = None  # ensembles: each member with the ensemble's gain over it
    features: int | None = None  # baselines: the number of features per image
    random: bool | None = None  # baselines: whether another seed could give another result
    labels_only: bool | None = None  # another program's answers: there are no probabilities
    seconds: dict[str, float] | None = None  # baselines: time for features, fitting and predicting
    folder: str = ""  # the run's folder; not stored in the file

    def figures(self, epoch: str, view: str = "") -> dict[str, Any]:
        """Return the figures of the "best" or "last" epoch; with view "tta" those with augmentation, if there are."""
        return (view and getattr(self, f"{epoch}_{view}")) or getattr(self, epoch)

    def value(self, metric: str, epoch: str, view: str = "") -> Any:
        """Return a metric. If the run is older than the metric, compute it from the stored predictions.

        Raises:
            UserError: the predictions are needed and missing.
        """
        found = self.figures(epoch, view)
        if metric not in found:
            arrays = read_predictions(Path(self.folder) / "predictions.npz")
            wanted = ARRAYS[f"{epoch}_{view}" if view and getattr(self, f"{epoch}_{view}") else epoch]
            if wanted not in arrays:
                raise UserError(f"{self.folder} holds no {wanted}")
            found[metric] = (METRICS | PER_CLASS | AGAINST_REST)[metric].compute(arrays[wanted], arrays["labels"])
        return found[metric]

    @property
    def neighbours(self) -> int | None:
        """Return the k of a KNN baseline, else None."""
        steps = self.config.get("baseline", {}).get("steps", [])
        return next((values.get("n_neighbors") for name, values in steps if name == "KNN" and values), None)


ALWAYS = ("selected_on", "best_epoch")  # written even when null


@dataclass
class Results:
    """The results of one configuration: those of its baselines, and that of its network if it has one."""

    baselines: list[Result]
    network: Result | None = None

    @property
    def main(self) -> Result:
        """Return the network's result, or the last baseline's if there is no network."""
        return self.network or self.baselines[-1]

    @property
    def every(self) -> list[Result]:
        """Return the baselines' results, then the network's."""
        return [*self.baselines, *([self.network] if self.network else [])]


def write_result(result: Result, predictions: dict[str, np.ndarray]) -> None:
    """Write `predictions.npz`, then `result.json`. The latter marks the run as finished, so it comes last.

    Args:
        predictions: `ids` str (N,), `labels` int64 (N,), and those of `ARRAYS` that the run has, float32 (N, K).

    Raises:
        UserError: a probability or figure is NaN or infinite; `result.json` is not written then.
    """
    for name in ARRAYS.values():
        if name in predictions and not np.isfinite(predictions[name]).all():
            raise UserError(f"{result.folder}: {name} has NaN or infinity: the run has failed")
    write_predictions(Path(result.folder) / "predictions.npz", predictions)
    tree = {f.name: getattr(result, f.name) for f in dataclasses.fields(result) if f.name != "folder"}
    tree = {name: value for name, value in tree.items() if value is not None or name in ALWAYS}
    try:
        write_json(Path(result.folder) / "result.json", {"schema": SCHEMA, **tree}, finite=True)
    except ValueError as error:
        raise UserError(f"{result.folder}: a figure is NaN or infinite ({error}): the run has failed") from None


def read_result(folder: Path) -> Result | None:
    """Read the result in a run's folder; None if the run is not finished.

    Raises:
        UserError: the file is not a result of this program, or a newer version wrote it.
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
    """Infer the kind of a result that was written before results stored it."""
    if tree.get("selected_on") is None:
        return "baseline"
    return "ensemble" if tree["config"].get("model", {}).get("kind") == "ensemble" else "network"
