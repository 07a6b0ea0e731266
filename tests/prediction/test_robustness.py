"""`robustness`: figures by condition, beside `evaluate`; several checkpoints; going on after an interruption."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import exit_status
from helpers.made_up_runs import made_up

from deepfake_lit.core.errors import UserError
from deepfake_lit.prediction import robustness as module
from deepfake_lit.prediction.calibrate import calibrate
from deepfake_lit.prediction.evaluate import EvaluateConfig, evaluate
from deepfake_lit.prediction.robustness import RobustnessConfig, robustness
from deepfake_lit.report.page import ReportConfig
from deepfake_lit.report.page import report as write_page
from deepfake_lit.settings.commands import CalibrateConfig
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.run import run

KINDS = ["jpeg", "noise", "messenger"]


@pytest.fixture(scope="module")
def checkpoints(settings, tmp_path_factory) -> list[str]:
    """A network and a baseline."""
    output = tmp_path_factory.mktemp("runs")
    results = run(compose([*settings, f"output_dir={output}", "baseline=logistic_regression"]))
    network = Path(results.main.folder) / "last.ckpt"
    return [str(network), str(Path(results.baselines[0].folder) / "model.skops")]


def config(samples, output, **more) -> RobustnessConfig:
    cfg = RobustnessConfig(output=str(output), kinds=KINDS, **more)
    cfg.data.root = str(samples)
    return cfg


@pytest.fixture(scope="module")
def report(checkpoints, samples, tmp_path_factory) -> tuple[dict, Path]:
    output = tmp_path_factory.mktemp("robustness")
    return robustness(checkpoints, config(samples, output)), output


def test_clean_images_have_the_figures_of_evaluate(report, checkpoints, samples, tmp_path):
    cfg = EvaluateConfig(output=str(tmp_path), views=["identity"])
    cfg.data.root = str(samples)
    for checkpoint, results in zip(checkpoints, report[0]["results"], strict=True):
        plain = evaluate([checkpoint], cfg)["plain"]
        assert {key: results[0][key] for key in plain} == plain
        assert results[0]["flips"] == 0


def test_files_hold_every_condition_of_every_checkpoint(report):
    found, output = report
    names = [condition["name"] for condition in found["conditions"]]
    assert names[:3] == ["clean", "jpeg 95", "jpeg 85"]
    assert json.loads((output / "robustness.json").read_text())["results"] == found["results"]
    with (output / "robustness.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["condition"] for row in rows] == names * 2
    assert float(rows[3]["accuracy"]) == pytest.approx(found["results"][0][3]["accuracy"])
    assert (output / "robustness.png").stat().st_size > 10_000


def test_the_mean_and_the_comparison_are_over_the_distorted_conditions(report):
    found, _ = report
    means = [np.mean([f["accuracy"] for f in results[1:]]) for results in found["results"]]
    assert [s["mean"] for s in found["summaries"]] == pytest.approx(means)
    [beside] = found["compared"]
    assert beside["mean"] == pytest.approx(means[1] - means[0])
    first, second = (results[2]["accuracy"] for results in found["results"])
    assert beside["conditions"][2]["difference"] == pytest.approx(second - first)
    assert all(row["p_holm"] >= row["p"] for row in beside["conditions"])


def test_it_goes_on_where_it_was_interrupted(report, checkpoints, samples, tmp_path, monkeypatch):
    real, calls = module._distorted, []

    def stopping(condition, *rest):
        calls.append(condition.name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(condition, *rest)

    monkeypatch.setattr(module, "_distorted", stopping)
    with pytest.raises(KeyboardInterrupt):
        robustness(checkpoints, config(samples, tmp_path))
    again = robustness(checkpoints, config(samples, tmp_path))
    assert calls[4] == calls[3]  # the first three are not done again
    assert again["results"] == report[0]["results"]
    calls.clear()
    robustness(checkpoints[::-1], config(samples, tmp_path))
    assert not calls


def test_other_images_are_measured_anew(report, checkpoints, samples):
    found, output = report
    other = robustness(checkpoints[1:], config(samples, output, split="train"))
    again = robustness(checkpoints, config(samples, output))
    assert other["data"]["images"] == 100
    assert again == found


def test_a_name_need_not_be_text():
    assert module._key("noise", "a\udcff") != module._key("noise", "a") != module._key("blur", "a")


def test_batches_change_no_answer(report, checkpoints, samples, tmp_path):
    found = robustness(checkpoints[1:], config(samples, tmp_path, batch_size=7))
    for few, many in zip(found["results"][0], report[0]["results"][1], strict=True):
        assert few["confusion"] == many["confusion"]
        assert few["log_loss"] == pytest.approx(many["log_loss"], abs=1e-5)


def test_the_command_prints_the_grid(checkpoints, samples, tmp_path, capsys):
    command = ["robustness", *checkpoints, f"data.root={samples}", f"output={tmp_path}", "kinds=[blur]"]
    assert exit_status(command) == 0
    said = capsys.readouterr().out
    assert "blur 1.5" in said
    assert "B beside A" in said
    assert exit_status([*command[:-1], "kinds=[jpge]"]) == 2
    assert "kinds" in capsys.readouterr().err


def test_a_checkpoint_is_named_once(checkpoints, samples, tmp_path):
    for named, message in ([], "at least one"), ([checkpoints[0]] * 2, "twice"):
        with pytest.raises(UserError, match=message):
            robustness(named, config(samples, tmp_path))


def test_a_calibrated_checkpoint_says_what_is_left_of_it(report, checkpoints, samples, tmp_path, capsys):
    """The first one without a calibration, the second one with it: each answers for itself."""
    cfg = CalibrateConfig(views=["identity"], output=str(tmp_path / "calibrated.ckpt"), coverage=0.8)
    cfg.data.root = str(samples)
    calibrate([checkpoints[0]], cfg)
    command = ["robustness", checkpoints[1], cfg.output, f"data.root={samples}", f"output={tmp_path / 'out'}"]
    assert exit_status([*command, "kinds=[noise]"]) == 0
    said = capsys.readouterr()
    assert "B: what is left of its calibration" in said.out
    assert "is not used" not in said.err
    plain, calibrated = json.loads((tmp_path / "out" / "robustness.json").read_text())["results"]
    assert "coverage" not in plain[0]
    assert calibrated[0]["coverage"] >= 0.8  # of the images that it was fitted on
    both = zip(report[0]["conditions"], report[0]["results"][0], strict=True)
    before = [figures for condition, figures in both if condition["kind"] in ("clean", "noise")]
    assert [f["confusion"] for f in calibrated] == [f["confusion"] for f in before]
    assert [f["log_loss"] for f in calibrated] != [f["log_loss"] for f in before]
    with (tmp_path / "out" / "robustness.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["coverage"] == "" for row in rows if row["checkpoint"] == checkpoints[1]} == {True}
    assert float(rows[-1]["rejected"]) == pytest.approx(calibrated[-1]["rejected"], abs=1e-5)
    made_up(tmp_path / "runs" / "net" / "x", 0.9, 0)
    page = write_page(ReportConfig(output_dir=str(tmp_path), images=False))
    for name in ("index.html", "report.md"):
        assert "what is left of its calibration after" in page.with_name(name).read_text()
