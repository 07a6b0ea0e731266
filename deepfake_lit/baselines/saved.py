"""A fitted baseline as a file that holds data only, for `predict`, `evaluate` and ensembles."""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from torch import Tensor
from torch.nn import functional as F

from deepfake_lit.baselines.build import OWN
from deepfake_lit.baselines.features import check_features, features_of
from deepfake_lit.core.console import warn
from deepfake_lit.core.errors import UserError, check_finite
from deepfake_lit.core.files import atomic
from deepfake_lit.core.hardware import Hardware
from deepfake_lit.data.images import ImageData
from deepfake_lit.data.views import apply_view
from deepfake_lit.results.provenance import code_version
from deepfake_lit.settings.schema import DataConfig

# Beside what skops itself trusts. Not among them: trees, whose node indices a stranger could point outside of memory.
SMALLEST = 1e-6  # probability of a class, whose logarithm stands for a logit
META = "deepfake_lit.json"  # file in the archive that says what was fitted, for those who need no more
TRUSTED = {f"{cls.__module__}.{cls.__qualname__}" for cls in OWN.values()}
TRUSTED |= {"sklearn.calibration._CalibratedClassifier", "sklearn.calibration._TemperatureScaling"}


@dataclass
class SavedBaseline:
    """A fitted pipeline with all that prediction needs: a member of a `Predictor` or an ensemble."""

    pipeline: Pipeline
    features: dict[str, dict[str, Any]]
    channels: str
    class_names: list[str]
    image_size: tuple[int, int]  # (height, width) of the files it was fitted on
    meta: dict[str, Any]
    path: str  # of the file, for messages

    net = None  # it is no network

    @property
    def pixels(self) -> int:
        return math.prod(self.image_size)

    def expect(self, image_size: tuple[int, int], name: str) -> None:
        """Nothing: images of another size are resized as they come."""

    def to(self, machine: Hardware) -> None:
        for estimator in _on_device(self.pipeline):
            estimator.device = machine.device

    def logits(self, pixels: Tensor, transparency: Tensor | None, views: list[str], machine: Hardware) -> Tensor:
        """Return the logarithms of its probabilities."""
        return self.probabilities(pixels, transparency, views, machine).clamp_min(SMALLEST).log()

    def kept(self, path: Path) -> dict[str, Any]:
        return {"skops": torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)}

    def probabilities(self, pixels: Tensor, transparency: Tensor | None, views: list[str], machine: Hardware) -> Tensor:
        planes = [pixels.permute(0, 3, 1, 2)] + ([] if transparency is None else [transparency[:, None]])
        if pixels.shape[1:3] != self.image_size:  # another member of an ensemble has images of another size
            planes = [F.interpolate(p, self.image_size, mode="bilinear", antialias=True) for p in planes]
        answers = []
        for view in views:
            seen = [apply_view(view, p).permute(0, 2, 3, 1).contiguous().numpy() for p in planes]
            X = features_of(self.features, seen[0], seen[1][..., 0] if len(seen) > 1 else None, self.channels)
            answers.append(torch.from_numpy(self.pipeline.predict_proba(X).astype(np.float32)))
        found = torch.stack(answers)
        check_finite(found, self.path)
        return found


def save_baseline(path: Path, pipeline: Pipeline, features: dict, cfg: DataConfig, data: ImageData) -> None:
    """Write the file into its run's folder; warn and write none where the pipeline could not be read back as data."""
    meta = {
        "features": features,
        "channels": cfg.channels,
        "folds": cfg.folds,
        "fold": cfg.fold,
        "class_names": list(data.class_names),
        "image_size": [int(side) for side in data.size],
        "fit": data.fit,
        "left_out": list(data.left_out),
        "data_hash": data.hash,
        "code": code_version(),
        "fingerprint": path.parent.name,
    }
    import skops.io  # slow to import, and no network needs it

    content = skops.io.dumps({"deepfake_lit": meta, "pipeline": pipeline})
    if foreign := set(skops.io.get_untrusted_types(data=content)) - TRUSTED:
        warn(f"{path.name} is not written: {', '.join(sorted(foreign))} cannot be read back as data alone")
        return
    whole = io.BytesIO(content)
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr(META, json.dumps({"fingerprint": meta["fingerprint"]}))
    with atomic(path, "wb") as file:
        file.write(whole.getbuffer())


def baseline_digest(path: Path) -> str:
    """Return 16 digits that stand for a fitted baseline: its run's fingerprint, which two fits of it share.

    Two dumps of equal pipelines differ in their bytes, which is all that files of before 2026-11-27 can be told by.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if META in archive.namelist():
                return str(json.loads(archive.read(META))["fingerprint"])
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a readable baseline: {error}") from None


def _on_device(node: Any) -> Iterator[BaseEstimator]:
    """The estimators of this package inside a fitted one, at any depth."""
    if isinstance(node, tuple(OWN.values())):
        if hasattr(node, "device"):
            yield node
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _on_device(item)
    elif type(node).__module__.startswith("sklearn."):
        for item in vars(node).values():
            yield from _on_device(item)


def load_baseline(path: Path) -> SavedBaseline:
    """Load a fitted baseline; a file that holds more than data is refused.

    Raises:
        UserError: no such file, damaged or foreign, or it holds types that are neither scikit-learn's nor this
            package's.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such baseline")
    import skops.io

    try:
        if foreign := set(skops.io.get_untrusted_types(file=path)) - TRUSTED:
            raise UserError(f"{path} holds more than data and was not opened: {', '.join(sorted(foreign))}")
        content = skops.io.load(path, trusted=sorted(TRUSTED))
        meta = content["deepfake_lit"]
        check_features(meta["features"])
        height, width = meta["image_size"]
        return SavedBaseline(
            content["pipeline"],
            meta["features"],
            meta["channels"],
            meta["class_names"],
            (height, width),
            meta,
            str(path),
        )
    except UserError:
        raise
    except Exception as error:  # whatever a damaged archive raises inside skops
        raise UserError(f"{path} is not a readable baseline: {type(error).__name__}: {error}") from None
