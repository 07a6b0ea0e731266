"""Checkpoints on new images: probabilities, labels, a submission; and on labelled ones: figures."""

import csv
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from deepfake_lit.core import console, hardware
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import atomic
from deepfake_lit.data.csv_rows import image_ids
from deepfake_lit.data.pool import decode_stream
from deepfake_lit.data.preprocess import tensors
from deepfake_lit.data.sources import Source, open_source
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.settings.checks import check_views


@dataclass
class PredictConfig:
    images: str = "???"  # folder, .zip, or a CSV with image_id whose files lie in a folder of its name beside it
    output: str = "outputs/predictions"
    views: list[str] = field(default_factory=lambda: ["identity", "hflip"])
    batch_size: int = 250
    accelerator: str = "auto"
    precision: str = "auto"
    decode_workers: int | None = None


@dataclass
class Predictions:
    """`probabilities` float32 (N, K) of the `ids` that could be read; `unreadable` (id, file, reason)."""

    ids: list[str]
    probabilities: np.ndarray
    unreadable: list[tuple[str, str, str]]
    resized: int  # images of another size than the network was trained on


def predict(checkpoints: list[str], cfg: PredictConfig) -> Predictions:
    """Probabilities of every image, written to `cfg.output`.

    Writes `submission.csv` (`image_id,label`), `probabilities.csv` (one column a class) and, where images could not be
    read, `unreadable.csv`. The order is that of `sample_submission.csv` or the CSV, else by file name. Images are
    decoded as they are needed: memory does not grow with their number.

    Raises:
        UserError: the checkpoints or the images cannot be found or do not fit each other.
    """
    check_views(cfg.views)
    predictor = Predictor.load(checkpoints, hardware.resolve(cfg.accelerator, cfg.precision))
    source, ids, files = find_images(Path(cfg.images))
    unreadable = [(i, "", "no such file") for i, f in zip(ids, files, strict=True) if f is None]
    present = {f: i for i, f in zip(ids, files, strict=True) if f is not None}
    size = predictor.members[0].image_size

    done: list[str] = []
    parts: list[np.ndarray] = []
    resized = 0
    stream = decode_stream(source, list(present), size, cfg.batch_size, cfg.decode_workers)
    for chunk, pixels, transparency, facts in console.progress(stream, "predicting", len(present), cfg.batch_size):
        good = [i for i, fact in enumerate(facts) if fact.error is None]
        unreadable += [(present[f], f, fact.error[1]) for f, fact in zip(chunk, facts, strict=True) if fact.error]
        if not good:
            continue
        resized += sum((facts[i].height, facts[i].width) != size for i in good)
        batch = tensors(pixels[good], None if transparency is None else transparency[good])
        by_view = predictor.by_view(*batch, cfg.views)
        parts.append(by_view.mean(0).numpy())
        done += [present[chunk[i]] for i in good]

    p = np.concatenate(parts) if parts else np.zeros((0, len(predictor.class_names)), np.float32)
    result = Predictions(done, p, unreadable, resized)
    write_predictions(Path(cfg.output), result, predictor.class_names)
    return result


def find_images(path: Path) -> tuple[Source, list[str], list[str | None]]:
    """Return where the images are, their ids in the order of the answer, and their files (None: there is no file).

    Raises:
        UserError: nothing there, or two files with the same id.
    """
    if path.suffix.lower() == ".csv":
        source = open_source(path.parent)
        wanted, folder = image_ids(source, path.name), path.stem
    else:
        source = open_source(path)
        lists = [n for n in source.files if PurePosixPath(n).name in ("sample_submission.csv", "test.csv")]
        lists.sort(key=lambda n: (PurePosixPath(n).name != "sample_submission.csv", n.count("/")))
        wanted = image_ids(source, lists[0]) if lists else None
        folder = str(PurePosixPath(lists[0]).parent / "test") if lists else None
    by_id: dict[str, str] = {}
    chosen = [f for name, fs in source.images.items() if folder is None or name == folder for f in fs]
    if not chosen and path.suffix.lower() == ".csv":  # the files lie beside the CSV itself
        chosen = source.images.get("", [])
    for file in chosen:
        stem = PurePosixPath(file).stem
        if stem in by_id:
            raise UserError(f"{by_id[stem]} and {file} would have the same image id {stem}")
        by_id[stem] = file
    if not by_id:
        raise UserError(f"no images found in {path}" + (f" (looked in {folder}/)" if folder else ""))
    if wanted is None:
        return source, list(by_id), list(by_id.values())
    if len(set(wanted)) < len(wanted):
        twice = next(i for i in wanted if wanted.count(i) > 1)
        raise UserError(f"{path}: the image id {twice} stands there more than once")
    return source, wanted, [by_id.get(i) or by_id.get(PurePosixPath(i).stem) for i in wanted]


def write_predictions(folder: Path, result: Predictions, class_names: list[str]) -> None:
    labels = result.probabilities.argmax(1)
    with atomic(folder / "submission.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image_id", "label"])
        writer.writerows(zip(result.ids, labels.tolist(), strict=True))
    with atomic(folder / "probabilities.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image_id", "label", *(f"p_{name}" for name in class_names)])
        for image_id, label, row in zip(result.ids, labels.tolist(), result.probabilities, strict=True):
            writer.writerow([image_id, label, *(f"{p:.6f}" for p in row)])
    (folder / "unreadable.csv").unlink(missing_ok=True)  # of an earlier prediction
    if result.unreadable:
        with atomic(folder / "unreadable.csv") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["image_id", "file", "reason"])
            writer.writerows(result.unreadable)
