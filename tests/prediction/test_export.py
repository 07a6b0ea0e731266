"""A network that is given away: what is written is read back, and has its card inside."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.command_line import exit_status
from PIL import Image
from safetensors.torch import load_file

from deepfake_lit.core import hardware
from deepfake_lit.core.errors import UserError
from deepfake_lit.prediction import published
from deepfake_lit.prediction.calibrate import calibrate
from deepfake_lit.prediction.card import card_of, limits, markdown
from deepfake_lit.prediction.checkpoint import ENTRY, read_checkpoint
from deepfake_lit.prediction.export import export
from deepfake_lit.prediction.predict import PredictConfig, predict
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.prediction.robustness import RobustnessConfig, robustness
from deepfake_lit.settings.commands import CalibrateConfig, ExportConfig
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.schema import DataConfig
from deepfake_lit.training.run import run


@pytest.fixture(scope="module")
def measured(samples, tmp_path_factory) -> tuple[Path, Path]:
    """The folder of a run of seconds, and the robustness.json of its last epoch."""
    output = tmp_path_factory.mktemp("runs")
    cfg = compose([f"data.root={samples}", f"output_dir={output}", "trainer.max_epochs=1", "model.width=0.125"])
    folder = Path(run(cfg).main.folder)
    where = {"data": DataConfig(str(samples)), "output": str(output / "robustness"), "kinds": ["jpeg", "blur"]}
    robustness([str(folder / "last.ckpt")], RobustnessConfig(**where))
    return folder, output / "robustness" / "robustness.json"


@pytest.fixture(scope="module")
def published_folder(measured, samples, tmp_path_factory) -> Path:
    """A folder of published weights, `tiny`."""
    folder, grid = measured
    target = tmp_path_factory.mktemp("weights")
    about = {"about": "Trained on made-up images.", "licence": "MIT", "robustness": str(grid)}
    wanted = ExportConfig(str(target / "tiny.ckpt"), data=DataConfig(str(samples), cache_dir=str(target)), **about)
    assert export(str(folder / "last.ckpt"), wanted) == 0
    return target


@pytest.fixture
def tiny(published_folder, monkeypatch) -> Path:
    monkeypatch.setattr(published, "FOLDER", published_folder)
    return published_folder / "tiny.ckpt"


def probabilities(checkpoint: str, images: Path, output: Path) -> np.ndarray:
    return predict([checkpoint], PredictConfig(images=str(images), output=str(output))).probabilities


def test_a_name_stands_for_published_weights(tiny, measured, samples, tmp_path, monkeypatch):
    own = probabilities(str(measured[0] / "last.ckpt"), samples, tmp_path / "a")
    np.testing.assert_array_equal(probabilities("tiny", samples, tmp_path / "b"), own)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()  # a folder of that name that holds no checkpoint is not in the way
    assert exit_status(["predict", "tiny", f"images={samples}", "output=c"]) == 0
    assert (tmp_path / "c" / "submission.csv").read_bytes() == (tmp_path / "b" / "submission.csv").read_bytes()
    assert exit_status(["evaluate", "tiny", f"data.root={samples}", "output=d"]) == 0
    same = ["model.kind=deepfake_net", "model.width=0.125", "trainer.max_epochs=1", f"data.root={samples}"]
    assert exit_status(["train", "init_from=tiny", *same, f"output_dir={tmp_path}"]) == 0


def test_a_name_that_is_none_is_told(tiny, samples, tmp_path):
    with pytest.raises(UserError, match=r"no such checkpoint.*did you mean tiny"):
        probabilities("tniy", samples, tmp_path)


def test_weights_are_small_and_name_no_path(tiny, measured, samples):
    content = read_checkpoint(tiny)
    assert content.keys() == {"epoch", "state_dict", ENTRY, "means"}
    assert tiny.stat().st_size < (measured[0] / "last.ckpt").stat().st_size
    assert str(samples) not in str(content[ENTRY])
    assert content[ENTRY]["config"]["data"]["root"] == "PATH"


def test_the_card_has_the_figures_of_the_run_and_of_the_grid(tiny, measured):
    card = card_of(tiny, read_checkpoint(tiny))
    result = json.loads((measured[0] / "result.json").read_text())["last"]
    grid = json.loads(measured[1].read_text())
    assert card["accuracy"] == {"selected": False} | {k: result[k] for k in ("accuracy", "interval", "images")}
    assert card["images"] == 100
    rows = card["robustness"]["conditions"]
    assert [row["name"] for row in rows] == [row["name"] for row in grid["conditions"]]
    assert [row["accuracy"] for row in rows] == [row["accuracy"] for row in grid["results"][0]]
    text = (tiny.with_suffix(".md")).read_text()
    assert f"| jpeg 95, quality, 4:2:0 | {rows[1]['accuracy']:.3f} |" in text
    assert "Trained on made-up images." in text
    assert "Licence: MIT." in text
    assert f"{100 * result['accuracy']:.1f} %" in text


def test_the_means_are_those_of_the_classes(tiny, samples):
    means = read_checkpoint(tiny)["means"]
    assert {key: value.shape for key, value in means.items()} == dict.fromkeys(("residual", "spectrum"), (5, 32, 32))
    spectrum = means["spectrum"].float()
    assert torch.isfinite(spectrum).all()
    assert all((spectrum[0] - other).abs().max() > 0.1 for other in spectrum[1:])  # made-up generators differ in it


def test_a_card_without_figures_says_so():
    card = {"classes": ["a", "b"], "image_size": [8, 8], "fit": "crop", "parameters": 3, "data_hash": "x"}
    assert any("not measured" in limit for limit in limits(card))
    assert "windows" in markdown(card, "nameless")


def test_a_folder_is_read_back(tiny, samples, tmp_path):
    assert export("tiny", ExportConfig(str(tmp_path / "net"))) == 0
    own = probabilities("tiny", samples, tmp_path / "a")
    np.testing.assert_array_equal(probabilities(str(tmp_path / "net"), samples, tmp_path / "b"), own)
    assert exit_status(["predict", str(tmp_path / "net"), f"images={samples}", f"output={tmp_path / 'c'}"]) == 0
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    assert config["id2label"] == {str(i): str(i) for i in range(5)}
    tensors = load_file(tmp_path / "net" / "model.safetensors")
    assert tensors["means.spectrum"].shape == (5, 32, 32)
    readme = (tmp_path / "net" / "README.md").read_text()
    assert readme.startswith('---\nlicense: "mit"\n')
    assert "## Limits" in readme
    shutil.copytree(tmp_path / "net", tmp_path / "again")
    assert export(str(tmp_path / "again"), ExportConfig(str(tmp_path / "back.ckpt"))) == 0  # and from there a file
    stored = read_checkpoint(tmp_path / "back.ckpt")
    assert stored[ENTRY]["card"] == read_checkpoint(tiny)[ENTRY]["card"]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "config.json").write_text("{}"), "not of deepfake_lit"),
        (lambda folder: (folder / "config.json").write_text("[1"), "not a readable folder"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 20), "not a readable folder"),
    ],
)
def test_a_damaged_folder_is_told(break_it, message, tiny, tmp_path):
    export("tiny", ExportConfig(str(tmp_path / "net")))
    break_it(tmp_path / "net")
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / "net")


def test_onnx_gives_the_probabilities_and_says_what_it_is(tiny, samples, tmp_path):
    assert export("tiny", ExportConfig(str(tmp_path / "net.onnx"))) < 1e-4
    properties = {each.key: each.value for each in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert properties["class_names"] == "0,1,2,3,4"
    assert json.loads(properties["input"])["shape"] == ["batch", 32, 32, 3]
    assert json.loads(properties["card"])["licence"] == "MIT"
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    (ours,) = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"pixels": pixels})
    predictor = Predictor.load(["tiny"], hardware.resolve("cpu", "fp32"))
    theirs = predictor.by_view(torch.from_numpy(pixels), None, ["identity"])[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.fixture(scope="module")
def calibrated(measured, samples) -> str:
    """A calibrated checkpoint, whose score of unfamiliarity keeps arrays of the training images."""
    wanted = CalibrateConfig(DataConfig(str(samples)), score="knn", output=str(measured[0] / "calibrated.ckpt"))
    calibrate([str(measured[0] / "last.ckpt")], wanted)
    return wanted.output


def test_a_calibration_is_inside_of_all_that_is_written(calibrated, samples, tmp_path):
    expected = predict([calibrated], PredictConfig(images=str(samples), output=str(tmp_path / "a"), precision="fp32"))
    for name in ("net", "net.ckpt"):
        assert export(calibrated, ExportConfig(str(tmp_path / name))) == 0
        config = PredictConfig(images=str(samples), output=str(tmp_path / "b"), precision="fp32")
        found = predict([str(tmp_path / name)], config)
        for own, theirs in zip(found.answers, expected.answers, strict=True):
            np.testing.assert_array_equal(own, theirs)
    assert export(calibrated, ExportConfig(str(tmp_path / "net.onnx"))) < 1e-4
    pixels = np.stack([np.asarray(Image.open(samples / "test" / f"{i}.png").convert("RGB")) for i in expected.ids])
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (ours,) = session.run(None, {"pixels": pixels})
    np.testing.assert_allclose(ours, expected.probabilities, atol=1e-4)
    told = json.loads(session.get_modelmeta().custom_metadata_map["calibration"])
    np.testing.assert_array_equal(ours >= told["set_above"], expected.answers.sets)


def test_the_card_of_a_calibrated_network(calibrated, tmp_path):
    export(calibrated, ExportConfig(str(tmp_path / "net.ckpt")))
    content = read_checkpoint(tmp_path / "net.ckpt")
    card = card_of(tmp_path / "net.ckpt", content)
    assert card["calibration"]["coverage"] == 0.95
    assert card["accuracy"]["images"] == 50  # of the run's last epoch
    text = (tmp_path / "net.md").read_text()
    assert "it can say none of these" in text
    assert "5 % none of these" in text


def test_figures_of_another_network_are_refused(measured, tmp_path):
    folder, grid = measured
    foreign = json.loads(grid.read_text()) | {"class_names": ["a", "b"]}
    (tmp_path / "foreign.json").write_text(json.dumps(foreign))
    with pytest.raises(UserError, match="is about the classes a, b"):
        export(str(folder), ExportConfig(str(tmp_path / "x.ckpt"), robustness=str(tmp_path / "foreign.json")))
    two = json.loads(grid.read_text())
    two["checkpoints"] = ["x.ckpt", "y.ckpt"]
    (tmp_path / "two.json").write_text(json.dumps(two))
    with pytest.raises(UserError, match=r"is about x.ckpt, y.ckpt"):
        export(str(folder), ExportConfig(str(tmp_path / "x.ckpt"), robustness=str(tmp_path / "two.json")))
    (tmp_path / "none.json").write_text("{}")
    for path, message in (("none.json", "is not a robustness.json"), ("gone.json", "there is no such file")):
        with pytest.raises(UserError, match=message):
            export(str(folder), ExportConfig(str(tmp_path / "x.ckpt"), robustness=str(tmp_path / path)))


def test_the_list_of_weights(tiny, capsys):
    assert exit_status(["weights"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("tiny  (")
    assert "Trained on made-up images." in said
    assert "in the mean of 10 distortions" in said.replace("\n", " ")


@pytest.mark.parametrize("name", published.names())
def test_the_weights_that_come_with_the_package(name):
    file = published.file_of(name)
    card = card_of(file, read_checkpoint(file))
    assert {"about", "licence", "accuracy", "robustness"} <= card.keys()
    assert file.with_suffix(".md").read_text() == markdown(card, name)
    assert file.stat().st_size < 5e6
    Predictor.load([name], hardware.resolve("cpu", "fp32"))
