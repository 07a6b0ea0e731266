"""Tables before they are measured: their rows, and the runs behind each row."""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.metrics import METRICS
from deepfake_lit.results.files import read_predictions
from deepfake_lit.results.result import Result
from deepfake_lit.results.state import state_of
from deepfake_lit.settings.identity import of_role, setting_of

HIDDEN = of_role("place", "work")
LAST, VIEWS = "probabilities_last", "probabilities_last_tta"
KNOWN: dict[tuple, np.ndarray] = {}  # ids and labels of the runs that were read
SMALL = 2**16  # bytes of probabilities that stay in memory: 50 MB for 2,000 runs of 1,250 images and 5 classes


@dataclass
class Run:
    """One run of a row: its state and, if it is done, its result."""

    seed: int | None
    state: str  # done | running | interrupted | failed | missing | damaged
    folder: str | None = None
    result: Result | None = None
    reason: str | None = None
    overrides: list[str] = field(default_factory=list)
    fold: int | None = None  # of the training images, that it was measured on; None: the validation images
    folds: int | None = None  # into which the training images are divided

    _kept: dict[str, np.ndarray] = field(default_factory=dict, repr=False)  # probabilities, and what is made of them

    @functools.cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """The ids, labels and answers of the last epoch in `predictions.npz`, read once.

        UserError if the file is missing or damaged.
        """
        return self._read("ids", "labels", LAST)

    @functools.cached_property
    def _views(self) -> dict[str, np.ndarray]:
        return self._read(VIEWS)

    def _read(self, *wanted: str) -> dict[str, np.ndarray]:
        arrays = self._arrays(*wanted)
        self._kept |= {name: a for name, a in arrays.items() if name in (LAST, VIEWS) and a.nbytes <= SMALL}
        return {name: a.argmax(1) if name in (LAST, VIEWS) else a for name, a in arrays.items()}

    def _arrays(self, *wanted: str) -> dict[str, np.ndarray]:
        return read_predictions(Path(self.folder) / "predictions.npz", wanted, KNOWN)

    def _name(self, which: str) -> str:
        return VIEWS if which == "last_tta" and VIEWS in self._views else LAST

    def answers(self, which: str) -> np.ndarray:
        """Return the likeliest class of each image, int64 (N,), for "last" or "last_tta".

        What is not stored equals "last": a baseline has one state, and the published runs of a sweep lack views that
        are the image alone.
        """
        name = self._name(which)
        return self.predictions[LAST] if name == LAST else self._views[VIEWS]

    def probabilities(self, which: str) -> np.ndarray:
        """Return probabilities, float (N, K), as `answers`; large ones are read from the file each time."""
        name, _ = self._name(which), self.predictions
        return self._kept[name] if name in self._kept else self._arrays(name)[name]

    def of_images(self, which: str, metric: str) -> np.ndarray:
        """Return what each image gives of a metric that is a mean over images, float (N,), computed once."""
        key = f"{metric} {which}"
        if key not in self._kept:
            self._kept[key] = METRICS[metric].of_images(self.probabilities(which), self.predictions["labels"])
        return self._kept[key]

    @property
    def block(self) -> int | None:
        """Return what it shares with a run of another row: the fold, or else the seed."""
        return self.seed if self.fold is None else self.fold

    @property
    def is_random(self) -> bool:
        """Return whether another seed would give another result."""
        return not self.is_baseline or bool(self.result.random)

    @property
    def has_probabilities(self) -> bool:
        return not self.result.labels_only

    @property
    def is_baseline(self) -> bool:
        return self.result is not None and self.result.kind == "baseline"


@dataclass
class Row:
    key: str
    label: str
    runs: list[Run]  # one a seed
    reported: dict[str, Any] = field(default_factory=dict)  # accuracy, ...; empty without a report
    view: str = ""  # "tta": with test-time augmentation
    baseline: str = ""  # of a row that is one k of a KNN: its name
    k: int | None = None
    x: float | None = None  # place on the axis of the table's plot

    @property
    def done(self) -> list[Run]:
        return [run for run in self.runs if run.state == "done"]


@dataclass
class Table:
    key: str
    title: str
    rows: list[Row]
    reference: str  # key of the row that the others are compared with
    axis: dict[str, Any] | None = None


@dataclass
class Section:
    """The tables of a report at one scale, or of a sweep."""

    key: str
    title: str
    tables: list[Table]
    scale: str | None = None
    reported: dict[str, Any] = field(default_factory=dict)  # all values of the report
    command: str = ""
    looks: tuple[int, ...] = ()  # numbers of seeds at which the plan's verdicts are read; empty: of no plan
    alpha: dict[str, Any] | None = None  # what `audit.alpha_finding` said of the images
    sequential: bool = False  # each claim has as many seeds as it needed, at the most the last look's
    search: dict[str, Any] | None = None  # what `search.json` has


@functools.lru_cache(maxsize=4096)
def run_at(folder: str, seed: int | None, overrides: tuple[str, ...] = ()) -> Run:
    """Read the run in a folder; a folder that is not there is a "missing" run."""
    try:
        state, result, reason = state_of(Path(folder))
    except UserError as error:
        return Run(seed, "failed", folder, None, str(error), list(overrides))
    if state == "interrupted" and not Path(folder).exists():
        state = "missing"
    return Run(seed, state, folder, result, reason, list(overrides))


def shown(overrides: list[str]) -> list[str]:
    """Return the overrides without those of places and of how work is divided or shown."""
    return [o for o in overrides if setting_of(o) not in HIDDEN]


def command_line(overrides: list[str], command: str = "train") -> str:
    """Return the command that a user types, with PATH for the folder of the images."""
    quoted = [f"'{o}'" if any(c in o for c in "{[* ") else o for o in shown(overrides)]
    return " ".join(["deepfake-lit", command, *quoted, "data.root=PATH"])
