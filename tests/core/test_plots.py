"""Figures have a bounded size, whatever the number of classes, the length of their names and the size of images."""

import numpy as np
import pytest
from PIL import Image

from deepfake_lit.core import plots

SIDE = 4000  # pixels, the largest of any figure


def shape_of(path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize("classes", [2, 12, 30, 31, 1000])
def test_a_confusion_matrix_shows_the_worst(classes, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        plots, "_save", lambda figure, path: (seen.append(figure.axes[0]), figure.savefig(path, dpi=40))
    )
    counts = np.eye(classes, dtype=int) * 4
    counts[-1] = 0
    counts[-1, 0] = 4
    names = [f"$a long name of the class number {i}" for i in range(classes)]
    plots.confusion_matrix(tmp_path / "c.png", counts, names, "title")
    (axes,) = seen
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == min(classes, 30)
    assert max(map(len, labels)) <= 26
    assert ("the 30 classes with the least recall, of 1,000" in axes.get_title()) == (classes == 1000)
    assert (axes.get_xticklabels()[-1].get_text() == "others") == (classes > 30)
    shown = np.array([int(text.get_text()) for text in axes.texts]).reshape(len(labels), -1)
    assert shown.sum() == 4 * len(labels)
    assert shown[-1, 0] == 4  # the worst class, taken for the first
    assert max(shape_of(tmp_path / "c.png")) <= SIDE * 40 / 130


@pytest.mark.parametrize("classes", [3, 100])
def test_a_sheet_and_spectra_show_the_first(classes, tmp_path):
    taken = []

    def images():
        for _ in range(classes):
            taken.append(0)
            yield [np.full((900, 600, 3), 77, np.uint8)] * 8

    names = [f"class {i}" for i in range(classes)]
    plots.contact_sheet(tmp_path / "sheet.png", images(), names)
    assert len(taken) <= min(classes, 12) + 1
    own = np.random.default_rng(0).normal(size=(min(classes, 12), 16, 16))
    own[1] = np.nan  # a class without images
    plots.spectra(tmp_path / "spectra.png", own, np.nanmean(own, 0), names)
    for name in ("sheet", "spectra"):
        assert max(shape_of(tmp_path / f"{name}.png")) <= SIDE


def test_shrunk_images_are_whole():
    image = np.zeros((1000, 300, 3), np.uint8)
    assert plots.shrunk(image, 256).shape == (250, 75, 3)
    assert plots.shrunk(image, 1000) is image


def test_names_are_shortened_in_their_middle():
    assert plots.shortened("x" * 24) == "x" * 24
    for most in (9, 24, 25):
        short = plots.shortened("generator" + "x" * 50 + "-17", most)
        assert len(short) == most
        assert short.startswith("gen")
        assert short.endswith("-17")
