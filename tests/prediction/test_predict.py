"""Prediction and evaluation from checkpoint files alone."""

import csv
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from deepfake_lit.cli.main import COMMANDS
from deepfake_lit.core import hardware, system
from deepfake_lit.core.errors import UserError
from deepfake_lit.data.samples import write_samples
from deepfake_lit.prediction.evaluate import EvaluateConfig, evaluate
from deepfake_lit.prediction.export import export
from deepfake_lit.prediction.predict import PredictConfig, find_images, predict
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.results.files import read_predictions
from deepfake_lit.settings.commands import ExportConfig
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.run import run


@pytest.fixture(scope="module")
def trained(samples, tmp_path_factory):
    """Checkpoints of two members that differ in network, channels and input size, and the first one's result."""
    output = tmp_path_factory.mktemp("trained")
    common = [f"data.root={samples}", f"output_dir={output}", "trainer.max_epochs=1", "model.width=0.125"]
    first = run(compose(common)).main
    second = run(compose([*common, "model=residual_cnn", "data.channels=rgba", "data.image_size=40"])).main
    return [str(Path(r.folder) / "best.ckpt") for r in (first, second)], first


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def on(images, output, **settings) -> PredictConfig:
    return PredictConfig(images=str(images), output=str(output), **settings)


def test_the_submission_has_the_order_of_the_sample(trained, samples, tmp_path):
    predict(trained[0][:1], on(samples, tmp_path))
    wanted = [row["image_id"] for row in rows(samples / "sample_submission.csv")]
    submission = rows(tmp_path / "submission.csv")
    assert [row["image_id"] for row in submission] == wanted
    assert list(submission[0]) == ["image_id", "label"]
    table = rows(tmp_path / "probabilities.csv")
    for row in table:
        p = [float(row[f"p_{k}"]) for k in range(5)]
        assert sum(p) == pytest.approx(1, abs=1e-5)
        assert int(row["label"]) == np.argmax(p)


def test_what_files_have_been_through(trained, samples, tmp_path, monkeypatch):
    image = Image.open(next((samples / "train").glob("*.png"))).convert("RGB").resize((64, 64))
    image.save(tmp_path / "a.jpg", quality=70)
    image.save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"no image")
    predict(trained[0][:1], on(tmp_path, tmp_path / "out"))
    first, second = rows(tmp_path / "out" / "files.csv")
    assert (first["image_id"], first["format"], first["jpeg_quality"]) == ("a", "JPEG", "70")
    assert (second["image_id"], second["format"], second["jpeg_quality"]) == ("b", "PNG", "")
    monkeypatch.setattr("deepfake_lit.prediction.predict.FEW", 1)  # as of many images
    assert not predict(trained[0][:1], on(tmp_path, tmp_path / "out")).histories
    assert not (tmp_path / "out" / "files.csv").exists()
    assert len(predict(trained[0][:1], on(tmp_path, tmp_path / "out", history=True)).histories) == 2


def test_predict_gives_what_training_stored(trained, samples, tmp_path):
    """Decoding, preprocessing and views from the checkpoint alone repeat the run's own evaluation."""
    (checkpoint, _), result = trained
    found = predict([checkpoint], on(samples / "validation", tmp_path, views=["identity"]))
    stored = read_predictions(Path(result.folder) / "predictions.npz")
    by_id = dict(zip(stored["ids"], stored["probabilities"], strict=True))
    np.testing.assert_allclose(found.probabilities, [by_id[i] for i in found.ids], atol=1e-5)
    with_tta = predict([checkpoint], on(samples / "validation", tmp_path))
    by_id = dict(zip(stored["ids"], stored["probabilities_tta"], strict=True))
    np.testing.assert_allclose(with_tta.probabilities, [by_id[i] for i in with_tta.ids], atol=1e-5)


def test_a_result_is_what_its_epoch_was_selected_for(trained):
    """To the last digit: prediction is the validation's arithmetic."""
    checkpoints, result = trained
    epoch = result.history[result.best_epoch]
    assert result.best["accuracy"] == pytest.approx(epoch["val/accuracy"], abs=1e-6)
    stored = read_predictions(Path(checkpoints[0]).with_name("predictions.npz"))
    right = stored["probabilities"][np.arange(len(stored["labels"])), stored["labels"]]
    assert -np.log(right).mean() == pytest.approx(epoch["val/loss"], rel=1e-5)


def test_an_ensemble_is_the_mean_of_its_members(trained, samples, tmp_path):
    single = [predict([c], on(samples / "test", tmp_path)).probabilities for c in trained[0]]
    both = predict(trained[0], on(samples / "test", tmp_path)).probabilities
    np.testing.assert_allclose(both, np.mean(single, 0), atol=1e-6)
    assert np.abs(single[0] - single[1]).max() > 1e-3


def test_folder_zip_and_csv_agree(trained, samples, tmp_path):
    archive = tmp_path / "download.zip"
    with zipfile.ZipFile(archive, "w") as z:
        for file in samples.rglob("*.*"):
            z.write(file, f"competition/{file.relative_to(samples)}")
    results = [
        predict(trained[0][:1], on(images, tmp_path / "p")) for images in (samples, archive, samples / "test.csv")
    ]
    for other in results[1:]:
        assert dict(zip(other.ids, other.probabilities.tolist(), strict=True)) == dict(
            zip(results[0].ids, results[0].probabilities.tolist(), strict=True)
        )


def test_unreadable_images_are_reported_not_dropped(trained, samples, tmp_path, capsys):
    folder = tmp_path / "images"
    shutil.copytree(samples / "test", folder)
    files = sorted(folder.iterdir())
    files[2].write_bytes(files[2].read_bytes()[:60])
    files[4].write_text("no image")
    status = COMMANDS["predict"]([trained[0][0], f"images={folder}", f"output={tmp_path / 'p'}"])
    assert status == 1
    assert len(rows(tmp_path / "p" / "submission.csv")) == 8
    listed = {row["image_id"]: row["reason"] for row in rows(tmp_path / "p" / "unreadable.csv")}
    assert listed.keys() == {files[2].stem, files[4].stem}
    assert all(listed.values())
    assert "2 images could not be read and are NOT in the submission" in capsys.readouterr().err
    for file in (files[2], files[4]):
        file.unlink()
    assert COMMANDS["predict"]([trained[0][0], f"images={folder}", f"output={tmp_path / 'p'}"]) == 0
    assert not (tmp_path / "p" / "unreadable.csv").exists()


def test_a_row_without_a_file_is_reported(trained, samples, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(samples, root)
    lost = rows(root / "sample_submission.csv")[3]["image_id"]
    (root / "test" / f"{lost}.png").unlink()
    found = predict(trained[0][:1], on(root, tmp_path / "p"))
    assert found.unreadable == [(lost, "", "no such file")]
    assert len(found.ids) == 9


def test_images_of_another_size_are_resized_and_counted(trained, tmp_path):
    write_samples(tmp_path / "large", train=5, validation=5, test=4, image_size=48)
    found = predict(trained[0], on(tmp_path / "large", tmp_path / "p"))
    assert (len(found.ids), found.resized) == (4, 4)


def test_find_images_without_a_list_takes_them_by_name(samples):
    found = find_images(samples / "test")
    assert found.ids == sorted(found.ids)
    assert len(found.files) == 10


def test_what_cannot_be_predicted(trained, samples, tmp_path):
    checkpoints = trained[0]
    with pytest.raises(UserError, match="at least one checkpoint"):
        predict([], on(samples, tmp_path))
    with pytest.raises(UserError, match="no such checkpoint"):
        predict(["nothing.ckpt"], on(samples, tmp_path))
    with pytest.raises(UserError, match="there is no such folder"):
        predict(checkpoints, on(tmp_path / "nothing", tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images found"):
        predict(checkpoints, on(tmp_path / "empty", tmp_path))


def test_members_must_know_the_same_classes(trained, tmp_path):
    write_samples(tmp_path / "images", train=50, validation=25, image_size=32)
    settings = [f"data.root={tmp_path / 'images'}", f"output_dir={tmp_path}", "data.num_classes=6"]
    settings += ["data.tolerate=[]", "trainer.max_epochs=1", "model.width=0.125"]
    for split in ("train", "validation"):  # a sixth class
        rows = (tmp_path / "images" / f"{split}.csv").read_text().splitlines()
        rows[1] = rows[1].rpartition(",")[0] + ",5"
        (tmp_path / "images" / f"{split}.csv").write_text("\n".join(rows))
    other = run(compose(settings)).main
    with pytest.raises(UserError, match=r"have different classes: .*: 0, 1, 2, 3, 4; .*: 0, 1, 2, 3, 4, 5"):
        predict([trained[0][0], str(Path(other.folder) / "best.ckpt")], on(tmp_path / "images", tmp_path))


def test_evaluate_repeats_the_runs_figures(trained, samples, tmp_path):
    (checkpoint, _), result = trained
    cfg = EvaluateConfig(output=str(tmp_path / "evaluation"))
    cfg.data.root = str(samples)
    report = evaluate([checkpoint], cfg)
    assert report["plain"]["confusion"] == result.best["confusion"]
    assert report["tta"]["accuracy"] == result.best_tta["accuracy"]
    assert json.loads((tmp_path / "evaluation" / "evaluation.json").read_text()) == report
    assert Image.open(tmp_path / "evaluation" / "confusion.png").size[0] > 300
    cfg.split = "test"
    with pytest.raises(UserError, match="labels exist in"):
        evaluate([checkpoint], cfg)


def test_answers_do_not_depend_on_how_many_images_fit_the_memory(trained, samples, tmp_path, monkeypatch):
    """Large images are asked for one by one."""
    (checkpoint, _), result = trained
    monkeypatch.setattr(system, "AT_ONCE", 1)
    assert Predictor.load([checkpoint], hardware.resolve()).together((32, 32), 250) == 1
    found = predict([checkpoint], on(samples / "validation", tmp_path, views=["identity"]))
    stored = read_predictions(Path(result.folder) / "predictions.npz")
    by_id = dict(zip(stored["ids"], stored["probabilities"], strict=True))
    np.testing.assert_allclose(found.probabilities, [by_id[i] for i in found.ids], atol=1e-5)
    cfg = EvaluateConfig(output=str(tmp_path / "evaluation"))
    cfg.data.root = str(samples)
    assert evaluate([checkpoint], cfg)["tta"]["confusion"] == result.best_tta["confusion"]


def test_fewer_large_images_are_asked_for_at_once(trained):
    for checkpoints in ([c] for c in trained[0]):
        predictor = Predictor.load(checkpoints, hardware.resolve())
        assert predictor.together((128, 128), 250) == 250  # what it always was
        assert predictor.together((1024, 1024), 250) == 4
        assert predictor.together((6000, 4000), 250) == 1


@pytest.mark.slow
@pytest.mark.parametrize("member", [0, 1], ids=["rgb", "rgba, resized"])
def test_an_exported_file_gives_the_checkpoints_probabilities(member, trained, samples, tmp_path):
    """From the pixels of the files: preprocessing is inside, and the batch is of any size."""
    checkpoint, target = trained[0][member], tmp_path / "model.onnx"
    assert export(checkpoint, ExportConfig(str(target))) < 1e-4
    session = onnxruntime.InferenceSession(target)
    assert session.get_modelmeta().custom_metadata_map["class_names"] == "0,1,2,3,4"
    found = predict([checkpoint], on(samples / "test", tmp_path / "p", views=["identity"], precision="fp32"))
    mode = ("RGB", "RGBA")[member]
    pixels = np.stack([np.asarray(Image.open(samples / "test" / f"{i}.png").convert(mode)) for i in found.ids])
    (probabilities,) = session.run(None, {"pixels": pixels})
    np.testing.assert_allclose(probabilities, found.probabilities, atol=1e-4)


def test_settings_of_commands_are_checked(trained, samples, capsys):
    from deepfake_lit.cli.main import main

    for arguments, message in (
        (["predict", trained[0][0], "imges=x"], "there is no setting imges; did you mean images?"),
        (["predict", trained[0][0]], "images is not set"),
        (["predict", trained[0][0], f"images={samples}", "views=[mirror]"], "views has 'mirror'"),
        (["evaluate", trained[0][0], f"data.root={samples}", "batch_size=x"], "batch_size"),
        (["fly"], "there is no command 'fly'"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err


def test_no_unpickling_in_the_package():
    """Every torch.load and np.load says that its file is data."""
    source = Path(__file__).parents[2] / "deepfake_lit"
    calls = subprocess.run(["grep", "-rnE", r"(torch|np)\.load\(", source], capture_output=True, text=True).stdout
    assert calls.count("\n") >= 3
    for line in calls.splitlines():
        assert "weights_only=True" in line or "allow_pickle=False" in line, line
