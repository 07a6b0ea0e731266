"""Pictures of a page: the images most often confused, where a network looks, and the spectra of the classes. They are
data URIs, so that the page needs no other file."""

import base64
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image
from torch.nn import functional as F

from deepfake_lit.core import plots
from deepfake_lit.data.audit import mean_log_spectra
from deepfake_lit.data.images import ImageData, SplitImages
from deepfake_lit.data.preprocess import tensors
from deepfake_lit.prediction.grad_cam import grad_cam
from deepfake_lit.prediction.trained import load_trained
from deepfake_lit.report.answers import which
from deepfake_lit.report.measure import Measured

SHOWN = 6
LARGEST = 800  # pixels; larger pictures are shrunk


@dataclass
class Picture:
    uri: str
    caption: str


@dataclass
class Confused:
    """Images of one class that a row's runs take for another, those that most runs get wrong first."""

    true: str
    predicted: str
    share: float  # of the true class's images, mean over runs
    ids: list[str]
    pictures: list[Picture]  # empty if the images are not at hand


def most_confused(
    measured: Measured, class_names: list[str], split: SplitImages | None, pairs: int = 2
) -> list[Confused]:
    """Find the pairs of classes with most mistakes in the mean of a row's runs.

    Their images come in the order of how many runs get them wrong, and then of how sure the runs are.
    """
    runs = measured.row.done
    labels, ids = runs[0].predictions["labels"], runs[0].predictions["ids"].tolist()
    p = np.stack([run.probabilities(which(measured.row, "last")) for run in runs])
    answers = p.argmax(2)
    k = p.shape[2]
    counts = np.zeros((k, k))
    for answer in answers:
        np.add.at(counts, (labels, answer), 1 / len(answers))
    np.fill_diagonal(counts, 0)
    found = []
    for flat in np.argsort(-counts, axis=None)[:pairs]:
        true, predicted = divmod(int(flat), k)
        if not counts[true, predicted]:
            break
        wrong = (answers == predicted).mean(0) * (labels == true)
        order = np.lexsort((-p[:, :, predicted].mean(0), -wrong))
        chosen = [i for i in order[:SHOWN] if wrong[i] > 0]
        pictures = [] if split is None else [_thumbnail(split, ids[i], p[:, i, predicted].mean()) for i in chosen]
        share = counts[true, predicted] / max((labels == true).sum(), 1)
        found.append(Confused(class_names[true], class_names[predicted], share, [ids[i] for i in chosen], pictures))
    return found


def _thumbnail(split: SplitImages, image_id: str, probability: float) -> Picture:
    pixels, _ = split.gather(np.array([split.ids.index(image_id)]))
    return Picture(_png(pixels[0]), f"{image_id[:8]}, {probability:.0%}")


def _png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(plots.shrunk(pixels, LARGEST)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def grad_cams(measured: Measured, class_names: list[str], split: SplitImages) -> list[Picture]:
    """Draw where the first network of a row looks in its surest right and wrong answers.

    Raises:
        UserError: its checkpoint is gone or damaged, or it has no feature map.
    """
    run = next(run for run in measured.row.done if not run.is_baseline)
    trained = load_trained(Path(run.folder) / "last.ckpt")
    p, labels = run.probabilities("last"), run.predictions["labels"]
    right = p.argmax(1) == labels
    chosen = [int(i) for wanted in (right, ~right) for i in np.argsort(-p.max(1) * wanted)[: SHOWN // 2] if wanted[i]]
    ids = run.predictions["ids"].tolist()
    pictures = []
    for i in chosen:
        pixels, transparency = split.gather(np.array([split.ids.index(ids[i])]))
        heat = grad_cam(trained, *tensors(pixels, transparency), int(p[i].argmax()))[0]
        heat = F.interpolate(heat[None, None], pixels.shape[1:3], mode="bilinear", align_corners=False)[0, 0].numpy()
        colour = colormaps["inferno"](heat)[..., :3] * 255
        shown = np.concatenate([pixels[0], (0.45 * pixels[0] + 0.55 * colour).astype(np.uint8)], 1)
        verdict = "right" if right[i] else f"wrong, is {class_names[labels[i]]}"
        pictures.append(Picture(_png(shown), f"says {class_names[int(p[i].argmax())]} ({p[i].max():.0%}): {verdict}"))
    return pictures


def spectra(data: ImageData) -> Picture:
    """Draw the mean log-spectra of the validation images, by class."""
    split = data.splits["validation"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spectra.png"
        spectra = mean_log_spectra(split, len(data.class_names), plots.FIRST)
        plots.spectra(path, *spectra, data.class_names)
        content = path.read_bytes()
    caption = f"Mean log-spectra of the {len(split):,} validation images, by class"
    return Picture("data:image/png;base64," + base64.b64encode(content).decode(), caption)
