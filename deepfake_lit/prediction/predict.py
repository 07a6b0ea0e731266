"""Checkpoints on new images: probabilities, labels, a submission; and on labelled ones: figures."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deepfake_lit.core import console, hardware
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import atomic, check_writable
from deepfake_lit.core.groups import grouped
from deepfake_lit.data.history import History, history_of, said
from deepfake_lit.data.pool import decode_stream
from deepfake_lit.data.preprocess import tensors
from deepfake_lit.data.views import by_place, check_places
from deepfake_lit.prediction.answers import Answers, joined
from deepfake_lit.prediction.inputs import find_images
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.settings.checks import check_views
from deepfake_lit.settings.commands import PredictConfig

FEW = 500  # images of which the history is looked at without being asked for


@dataclass
class Predictions:
    """The answers for the N `ids` that could be read, and the names of the K classes.

    `histories` are of the same images, empty if nobody asked for them. `unreadable` and `skipped` are (id, file,
    reason): images that lack an answer, and files that were left out on purpose, such as hidden ones.
    """

    ids: list[str]
    answers: Answers
    unreadable: list[tuple[str, str, str]]
    resized: int  # images of another size than the network was trained on; others are cut to it, as its own were
    class_names: list[str]
    skipped: list[tuple[str, str, str]]
    histories: list[History | None] = field(default_factory=list)
    groups: dict[str, list[int]] | None = None  # the classes that are put together

    @property
    def probabilities(self) -> np.ndarray:
        """Return float32 (N, K), calibrated where the checkpoint is."""
        return self.answers.probabilities


def predict(checkpoints: list[str], cfg: PredictConfig) -> Predictions:
    """Probabilities of every image, written to `cfg.output`.

    Writes `submission.csv` (`image_id,label`), `probabilities.csv` (one column a class, and the name of the answer
    where classes have names), where files have no answer `unreadable.csv` and, with `cfg.history`, `files.csv`. The
    order is that of `sample_submission.csv` or the CSV, else by file name. Images are decoded as they are needed: of
    all of them memory holds the names and the answers, 4 bytes a class.

    Raises:
        UserError: the checkpoints or the images cannot be found or do not fit each other.
    """
    check_views(cfg.views)
    if not cfg.images:
        raise UserError("images is not set; give it on the command line, as in images=FOLDER or images=[a.jpg,b.png]")
    predictor = Predictor.load(checkpoints, hardware.resolve(cfg.accelerator, cfg.precision))
    groups = predictor.groups(cfg.groups)
    found = find_images(cfg.images)
    unreadable = [(i, "", "no such file") for i, file in zip(found.ids, found.files, strict=True) if file is None]
    present = [row for row in zip(found.files, found.ids, found.places, strict=True) if row[0] is not None]
    size, cut = predictor.members[0].image_size, predictor.fit != "resize"
    check_places(cfg.views, cut)
    fit = tuple(by_place(cfg.views)) if cut else "resize"
    step = predictor.together(size, cfg.batch_size)
    check_writable(Path(cfg.output))

    done: list[str] = []
    histories: list[History | None] = []
    looks = len(present) <= FEW if cfg.history is None else cfg.history
    parts = [Answers.nothing(len(predictor.class_names), predictor.calibration is not None)]
    resized, start = 0, 0
    stream = decode_stream(found.source, [row[0] for row in present], size, step, cfg.decode_workers, fit)
    for chunk, pixels, transparency, facts in console.progress(stream, "predicting", len(present), step):
        rows = present[start : start + len(chunk)]
        start += len(chunk)
        good = [i for i, fact in enumerate(facts) if fact.error is None]
        unreadable += [(i, place, fact.error[1]) for (_, i, place), fact in zip(rows, facts, strict=True) if fact.error]
        if not good:
            continue
        if not cut:
            resized += sum((facts[i].height, facts[i].width) != size for i in good)
            pixels, transparency = pixels[:, None], None if transparency is None else transparency[:, None]
        windows = [
            tensors(pixels[good, place], None if transparency is None else transparency[good, place])
            for place in range(pixels.shape[1])
        ]
        parts.append(predictor.answers(windows, cfg.views))
        done += [rows[i][1] for i in good]
        histories += [history_of(found.source.read(rows[i][0])) for i in good] if looks else []

    names, answers = predictor.class_names, joined(parts)
    result = Predictions(done, answers, unreadable, resized, names, found.skipped, histories, groups)
    write_predictions(Path(cfg.output), result)
    (Path(cfg.output) / "files.csv").unlink(missing_ok=True)  # of an earlier prediction
    if histories:
        write_histories(Path(cfg.output) / "files.csv", done, histories)
    return result


def write_predictions(folder: Path, result: Predictions) -> None:
    """Write the CSV files; a file's name that is no text is escaped in them."""
    names = result.class_names
    numbered = names == [str(i) for i in range(len(names))]
    ids, labels = list(map(_text, result.ids)), result.answers.labels.tolist()
    with atomic(folder / "submission.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image_id", "label"])
        writer.writerows(zip(ids, labels, strict=True))
    with atomic(folder / "probabilities.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        more = _more_columns(result.answers, names) | _group_columns(result)
        head = [*(f"p_{name}" for name in names), *([] if numbered else ["class"]), *more]
        writer.writerow(["image_id", "label", *head])
        for row, (image_id, label, p) in enumerate(zip(ids, labels, result.probabilities, strict=True)):
            own = [*([] if numbered else [names[label]]), *(column[row] for column in more.values())]
            writer.writerow([image_id, label, *(f"{each:.6f}" for each in p), *own])
    (folder / "unreadable.csv").unlink(missing_ok=True)  # of an earlier prediction
    if left := result.unreadable + result.skipped:
        with atomic(folder / "unreadable.csv") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["image_id", "file", "reason"])
            writer.writerows(map(_text, row) for row in left)


def _more_columns(answers: Answers, names: list[str]) -> dict[str, list[str]]:
    """Return the columns that only a calibrated checkpoint has, by their name."""
    if answers.sets is None:
        return {}
    return {
        "answer": answers.names(names),
        "prediction_set": ["|".join(answers.set_of(row, names)) for row in range(len(answers.sets))],
        "unfamiliarity": [f"{score:.6g}" for score in answers.unfamiliarity],
    }


def _group_columns(result: Predictions) -> dict[str, list[str]]:
    """Return the columns of classes that are put together, by their name."""
    if result.groups is None:
        return {}
    p, names = grouped(result.probabilities, result.groups), list(result.groups)
    columns = {f"p_group_{name}": [f"{each:.6f}" for each in p[:, i]] for i, name in enumerate(names)}
    return {"group": [names[i] for i in p.argmax(1)]} | columns


def write_histories(path: Path, ids: list[str], histories: list[History | None]) -> None:
    """Write a row for each image: format, JPEG quality, metadata, where the blocks of a JPEG begin, and the period that
    a resize left."""
    with atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image_id", "format", "jpeg_quality", "metadata", "signs", "jpeg_grid", "resize_period"])
        for image_id, history in zip(ids, histories, strict=True):
            if history:
                grid = "" if history.grid is None else "{} {}".format(*history.grid)
                period = "" if history.period is None else f"{history.period:.2f}"
                head = (history.format, history.quality, history.metadata, said(history.grid, history.period))
                writer.writerow([_text(image_id), *head, grid, period])


def _text(name: str) -> str:
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
