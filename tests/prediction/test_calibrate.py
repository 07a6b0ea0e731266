"""The command `calibrate`: what it writes, what predict and evaluate make of it, and what it refuses."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from helpers.command_line import exit_status

from deepfake_lit.core.errors import UserError
from deepfake_lit.prediction.calibrate import calibrate
from deepfake_lit.prediction.evaluate import evaluate
from deepfake_lit.prediction.predict import predict
from deepfake_lit.settings.commands import CalibrateConfig, EvaluateConfig, PredictConfig
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.run import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(settings, tmp_path_factory) -> Path:
    """The folder of a run that has never seen class 4."""
    overrides = [*settings, f"output_dir={tmp_path_factory.mktemp('out')}", "data.leave_out=[4]"]
    return Path(
        run(compose([*overrides, "model=whitening_cnn", "model.width=0.125", "trainer.max_epochs=4"])).main.folder
    )


def configured(cls, samples, **more):
    cfg = cls(**more)
    cfg.data.root = str(samples)
    return cfg


@pytest.fixture(scope="module")
def calibrated(trained, samples) -> tuple[Path, dict]:
    cfg = configured(CalibrateConfig, samples, score="knn", coverage=0.8, rejected=0.2)
    (report,) = calibrate([str(trained / "last.ckpt")], cfg)
    return trained / "calibrated.ckpt", report


def test_its_figures_are_of_images_that_it_was_not_fitted_on(calibrated):
    path, report = calibrated
    on, figures = report["fitted_on"], report["figures"]
    assert (report["output"], on["split"], on["images"]) == (str(path), "validation", 40)
    assert report["measured_on"] == "validation: 40 images, in 5 folds, each by a fit on the others"
    assert figures["accuracy"] == report["before"]["accuracy"]  # a temperature changes no answer
    assert figures["log_loss"] < report["before"]["log_loss"] + 0.1
    assert figures["coverage"] == pytest.approx(0.8, abs=0.2)
    assert figures["rejected"] == pytest.approx(0.2, abs=0.2)
    assert list(report["unknown"]) == ["4"]
    assert json.loads(path.with_suffix(".json").read_text())["figures"] == figures


def test_it_uses_the_cache_of_the_run(calibrated):
    run_folder = calibrated[0].parent
    assert sorted(path.name for path in run_folder.parents[2].iterdir()) == ["cache", "runs"]
    assert [path.name for path in run_folder.parent.iterdir()] == [run_folder.name]


def test_predict_says_more_and_the_submission_is_as_it_was(calibrated, samples, tmp_path):
    path, _ = calibrated
    several = {}
    for name, checkpoint in (("plain", path.with_name("last.ckpt")), ("calibrated", path)):
        cfg = PredictConfig(images=[str(samples / "test")], output=str(tmp_path / name), history=False)
        several[name] = predict([str(checkpoint)], cfg)
    plain, found = several["plain"], several["calibrated"]
    assert (tmp_path / "plain/submission.csv").read_text() == (tmp_path / "calibrated/submission.csv").read_text()
    assert plain.answers.sets is None
    with (tmp_path / "calibrated" / "probabilities.csv").open() as file:
        rows = list(csv.DictReader(file))
    head = ["image_id", "label", "p_0", "p_1", "p_2", "p_3", "answer", "prediction_set", "unfamiliarity"]
    assert list(rows[0]) == head
    for i, row in enumerate(rows):
        assert row["answer"] == ("none_of_these" if found.answers.rejected[i] else row["label"])
        assert row["prediction_set"].split("|") == (found.answers.set_of(i, found.class_names) or [""])
        assert float(row["unfamiliarity"]) == pytest.approx(found.answers.unfamiliarity[i], rel=1e-4)
        assert float(row[f"p_{row['label']}"]) == pytest.approx(found.probabilities[i].max(), abs=1e-5)


def test_the_terminal_counts_what_is_none_of_these(trained, samples, tmp_path, capsys):
    cfg = configured(CalibrateConfig, samples, rejected=0.9, output=str(tmp_path / "strict.ckpt"))
    calibrate([str(trained / "last.ckpt")], cfg)
    command = ["predict", cfg.output, f"images={samples / 'test'}", f"output={tmp_path / 'out'}"]
    assert exit_status(command) == 0
    assert "classes: none_of_these" in capsys.readouterr().out


def test_evaluate_uses_it_and_knows_the_class_left_out_as_unknown(calibrated, trained, samples, tmp_path, capsys):
    path, report = calibrated
    found = evaluate([str(path)], configured(EvaluateConfig, samples, output=str(tmp_path / "calibrated")))
    plain = evaluate([str(trained / "last.ckpt")], configured(EvaluateConfig, samples, output=str(tmp_path / "plain")))
    assert found["tta"]["accuracy"] == plain["tta"]["accuracy"]
    assert found["tta"]["log_loss"] < plain["tta"]["log_loss"]
    assert found["tta"]["rejected"] <= 0.2  # of the very images that it was fitted on
    assert found["unknown"] == report["unknown"]
    assert "coverage" not in plain["tta"]
    assert plain["unknown"]["4"]["images"] == sum(plain["unknown"]["4"]["taken_for"]) == 10
    assert exit_status(["evaluate", str(path), f"data.root={samples}", f"output={tmp_path / 'out'}"]) == 0
    said = capsys.readouterr().out
    assert "unknown classes" in said
    assert "prediction sets hold the truth" in said


def test_classes_can_be_called_unknown(trained, samples, tmp_path):
    cfg = configured(EvaluateConfig, samples, output=str(tmp_path), classes={"0": "none_of_these"})
    assert set(evaluate([str(trained / "last.ckpt")], cfg)["unknown"]) == {"0", "4"}
    cfg.classes = {"seven": "none_of_these"}
    with pytest.raises(UserError, match="there is no class seven; those of the data are 0, 1"):
        evaluate([str(trained / "last.ckpt")], cfg)


def test_its_checkpoint_is_one_like_others(calibrated, trained, samples, settings, tmp_path):
    """It can be calibrated anew, and start another training."""
    path, report = calibrated
    cfg = configured(CalibrateConfig, samples, score="knn", coverage=0.8, rejected=0.2, output=str(tmp_path / "b.ckpt"))
    (again,) = calibrate([str(path)], cfg)
    for name in ("scale", "figures", "before"):
        assert again[name] == report[name]
    overrides = [*settings, f"output_dir={tmp_path}", "data.leave_out=[4]", "model=whitening_cnn", "model.width=0.125"]
    assert run(compose([*overrides, "trainer.max_epochs=1", f"init_from={path}"])).main.init_from["path"] == str(path)


def test_several_are_calibrated_each_for_itself(trained, samples, tmp_path, capsys):
    others = [tmp_path / name / "last.ckpt" for name in "ab"]
    for other in others:
        other.parent.mkdir()
        shutil.copy(trained / "last.ckpt", other)
    assert exit_status(["calibrate", *map(str, others), f"data.root={samples}", "method=vector"]) == 0
    assert "means of 2 checkpoints: calibration_error" in capsys.readouterr().out
    assert all(other.with_name("calibrated.ckpt").exists() for other in others)
    found = PredictConfig(images=[str(samples / "test")], output=str(tmp_path / "out"), history=False)
    answers = predict([str(o.with_name("calibrated.ckpt")) for o in others], found).answers
    assert answers.sets is None
    assert "calibrated to answer alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("checkpoint", "settings_of", "message"),
    [
        ("best.ckpt", {}, "its epoch was selected on these images; calibrate last.ckpt"),
        ("last.ckpt", {"split": "all"}, "was trained on images of these"),
        ("last.ckpt", {"score": "luck"}, "score is 'luck'; it must be one of auto, max_softmax"),
        ("last.ckpt", {"method": "isotonic"}, "method is 'isotonic'"),
        ("last.ckpt", {"rejected": 1.0}, "rejected is a share between 0 and 1"),
    ],
)
def test_what_cannot_be_relied_on_is_refused(checkpoint, settings_of, message, trained, samples):
    with pytest.raises(UserError, match=message):
        calibrate([str(trained / checkpoint)], configured(CalibrateConfig, samples, **settings_of))


def test_a_score_of_features_needs_the_training_images(trained, samples, tmp_path):
    root = tmp_path / "others"
    shutil.copytree(samples / "validation", root / "validation")
    shutil.copy(samples / "validation.csv", root)
    with pytest.raises(UserError, match="score=knn needs the images that the network was trained on"):
        calibrate([str(trained / "last.ckpt")], configured(CalibrateConfig, root, score="knn"))
    (report,) = calibrate(
        [str(trained / "last.ckpt")], configured(CalibrateConfig, root, output=str(tmp_path / "x.ckpt"))
    )
    assert (report["fitted_on"]["images"], report["score"]) == (40, "max_softmax")
    (report,) = calibrate(
        [str(trained / "last.ckpt")], configured(CalibrateConfig, samples, output=str(tmp_path / "x.ckpt"))
    )
    assert report["score"] == "knn"


def test_it_can_be_fitted_on_the_training_images_by_networks_that_have_not_seen_them(
    trained, settings, samples, tmp_path, capsys
):
    small = ["model=whitening_cnn", "model.width=0.125", "trainer.max_epochs=4", "data.leave_out=[4]"]
    overrides = [*settings, f"output_dir={tmp_path}", *small, "data.folds=2"]
    folds = [str(Path(run(compose([*overrides, f"data.fold={i}"])).main.folder) / "last.ckpt") for i in (0, 1)]
    cfg = configured(CalibrateConfig, samples, folds=folds, score="knn", output=str(tmp_path / "x.ckpt"))
    (report,) = calibrate([str(trained / "last.ckpt")], cfg)
    assert report["fitted_on"]["images"] == 80  # every training image of the four classes once
    assert report["measured_on"] == "validation: 40 images"
    command = ["calibrate", str(trained / "last.ckpt"), f"data.root={samples}", f"output={tmp_path / 'y.ckpt'}"]
    assert exit_status([*command, f"folds=[{','.join(folds)}]"]) == 0
    assert "80 images (train, each by one of 2 networks" in capsys.readouterr().out
    for wrong, message in ((folds[:1] * 2, "has a fold twice"), ([str(trained / "last.ckpt")], "no network on a fold")):
        with pytest.raises(UserError, match=message):
            calibrate([str(trained / "last.ckpt")], configured(CalibrateConfig, samples, folds=wrong))
