"""What is told of one image: in a file, and in the terminal."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import exit_status
from helpers.tiny_data import encode, noise, png
from PIL import Image

from deepfake_lit.core.errors import UserError
from deepfake_lit.data.history import History
from deepfake_lit.explain.accuracy import been_through, measured
from deepfake_lit.explain.explainer import Explainer
from deepfake_lit.explain.html import part
from deepfake_lit.prediction import published
from deepfake_lit.prediction.predict import PredictConfig, predict
from deepfake_lit.settings.commands import ExplainConfig

KEPT = Path(__file__).parents[1] / "kept"


def row(kind: str, strength: float | None, accuracy: float) -> dict:
    ends = [accuracy - 0.02, accuracy + 0.02]
    name = kind if strength is None else f"{kind} {strength:g}"
    return {"name": name, "kind": kind, "strength": strength, "unit": "", "accuracy": accuracy, "interval": ends}


GRID = [row("clean", None, 0.95), row("jpeg", 95, 0.9), row("jpeg", 60, 0.8), row("webp", 90, 0.7)]
GRID += [row("down", 0.5, 0.6), row("up", 2, 0.85)]
CARD = {"robustness": {"conditions": GRID}}


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (History("PNG", None, "", None, None), [("nothing, as far as one sees", 0.95)]),
        (History("JPEG", 90, "", (0, 0), None), [("JPEG of quality 95", 0.9)]),
        (History("JPEG", 30, "exif", (0, 0), None), [("JPEG of quality 60", 0.8)]),
        (History("PNG", None, "", (3, 5), None), [("a JPEG of unknown strength", 0.8, 0.9)]),
        (History("WEBP", None, "", None, None), [("WebP of unknown strength", 0.7, 0.7)]),
        (
            History("JPEG", 70, "", (0, 0), 1.5),
            [("JPEG of quality 60", 0.8), ("a resize of unknown strength", 0.6, 0.85)],
        ),
    ],
)
def test_the_accuracy_after_what_a_file_went_through(history, expected):
    found = measured(CARD, history)
    assert [(f.after, f.accuracy) if f.accuracy else (f.after, f.low, f.high) for f in found] == expected
    assert been_through(history)[0].startswith(history.format)


def test_without_a_grid_the_run_s_own_accuracy_is_told():
    nothing = History("PNG", None, "", None, None)
    (own,) = measured({"accuracy": {"accuracy": 0.9, "interval": [0.8, 0.95], "images": 50}}, nothing)
    assert (own.accuracy, own.low, own.high) == (0.9, 0.8, 0.95)
    assert measured({}, nothing) == []


def test_the_answer_is_that_of_predict(explainer, data, tmp_path):
    settings = PredictConfig(images=str(data / "validation"), output=str(tmp_path), precision="fp32")
    theirs = predict([str(KEPT / "network.ckpt")], settings)
    files = [data / "validation" / f"{image_id}.png" for image_id in theirs.ids]
    ours = explainer.answers([explainer.see(file.name, file.read_bytes()) for file in files])
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-6)


def pictures(html: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


def test_a_part_has_answer_bars_pictures_and_limits(explainer, file):
    image = explainer.see("<b>.png", file.read_bytes())
    answers = explainer.answers([image])
    p = answers.probabilities[0]
    html = part(explainer, explainer.explain(image, answers))
    assert "&lt;b&gt;.png" in html
    assert f"<h2>class {p.argmax()}, {100 * p.max():.1f} %</h2>" in html
    widths = [float(w) for w in re.findall(r'style="width: ([\d.]+)%"', html)]
    assert widths == sorted((round(100 * each, 1) for each in p.tolist()), reverse=True)
    assert "What this does not say" in html
    assert "knows 3 classes and nothing else" in html
    found = pictures(html)
    assert len(found) == 2 + 4 + 4  # image and Grad-CAM; residuals and spectra of the image and three classes
    np.testing.assert_array_equal(np.asarray(found[0]), np.asarray(Image.open(file).convert("RGB")))
    assert not re.search(r'(src|href)="http', html)


def test_an_image_of_another_size_is_told(explainer):
    image = explainer.see("a.png", encode(noise(0, (40, 60, 3))))
    found = explainer.explain(image, explainer.answers([image]))
    assert (found.size, found.resized) == ("60 x 40 pixels, resized to 16 x 16", True)


def test_of_an_animation_the_first_frame_is_looked_at(explainer):
    image = explainer.see("a.gif", encode(noise(0), noise(1), noise(2), format="GIF"))
    assert "It has 3 frames" in explainer.explain(image, explainer.answers([image])).through[-1]


def test_a_bomb_is_refused(explainer):
    with pytest.raises(UserError, match="9000 x 9000 pixels, more than 67 million"):
        explainer.see("b.png", png(8, b"", 9000))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "the file is empty"), (b"text", "none of PNG, JPEG"), (encode(noise(0))[:-30], "OSError|truncated")],
)
def test_what_is_no_image_is_told(content, message, explainer):
    with pytest.raises(UserError, match=f"x.png: .*({message})"):
        explainer.see("x.png", content)


def test_a_file_with_the_page(file, tmp_path, capsys):
    command = ["explain", str(KEPT / "network.ckpt"), str(file), f"output={tmp_path / 'page.html'}"]
    assert exit_status(command) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{file.name}: class ")
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert len(pictures(page)) == 4  # this checkpoint has no means of classes


def test_figures_of_the_robustness_command_are_taken(tmp_path):
    conditions = [{**each, "confidence": 0.5} for each in GRID]
    names = [str(i) for i in range(3)]
    summary = {"mean": 0.8, "interval": [0.7, 0.9], "worst": 0.6, "worst_condition": "down 0.5"}
    report = {"checkpoints": ["x"], "class_names": names, "data": {"images": 50}, "summaries": [summary]}
    (tmp_path / "r.json").write_text(json.dumps(report | {"conditions": conditions, "results": [conditions]}))
    found = Explainer(str(KEPT / "network.ckpt"), ExplainConfig(robustness=str(tmp_path / "r.json")))
    image = found.see("a.jpg", encode(noise(0), format="JPEG", quality=90))
    assert "JPEG of quality 95: <strong>90.0 %</strong> (95 %: 88.0 to 92.0)" in part(
        found, found.explain(image, found.answers([image]))
    )
    large = found.see("a.png", encode(noise(0, (32, 32, 3))))
    assert "has another size" in part(found, found.explain(large, found.answers([large])))
    assert "80.0 % (70.0 to 90.0) in the mean of 5 distortions" in found.accuracy


def test_without_weights_a_checkpoint_must_be_named(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    assert exit_status(["explain", str(file)]) == 2
    assert "name a checkpoint" in capsys.readouterr().err
    assert exit_status(["explain", str(file), str(file)]) == 2
    assert "name one image" in capsys.readouterr().err
    assert exit_status(["explain", str(tmp_path / "gone.png")]) == 2
    assert "No such file" in capsys.readouterr().err
