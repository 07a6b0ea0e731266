"""The command `open_set`: figures by hold-out, what is taken for what, and checkpoints that it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import exit_status
from helpers.made_up_runs import made_up

from deepfake_lit.core.errors import UserError
from deepfake_lit.data.strangers import STRANGERS, strangers
from deepfake_lit.prediction.open_set import open_set
from deepfake_lit.prediction.unfamiliarity import SCORES
from deepfake_lit.report.page import ReportConfig, report
from deepfake_lit.settings.commands import OpenSetConfig
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.run import run

pytestmark = pytest.mark.slow


def trained(settings, output: Path, *overrides: str) -> str:
    cfg = compose([*settings, f"output_dir={output}", "model=whitening_cnn", "model.width=0.125", *overrides])
    return str(Path(run(cfg).main.folder) / "last.ckpt")


@pytest.fixture(scope="module")
def measured(settings, samples, tmp_path_factory) -> tuple[list[str], Path, dict]:
    """Networks that have never seen class 3, whose traces are easy to see, or class 1, with two seeds."""
    output = tmp_path_factory.mktemp("out")
    paths = [
        trained(settings, output, f"data.leave_out=[{label}]", f"seed={seed}", "trainer.max_epochs=4")
        for label in (1, 3)
        for seed in (0, 1)
    ]
    cfg = OpenSetConfig(output=str(output / "open_set"))
    cfg.data.root = str(samples)
    return paths, output, open_set(paths, cfg)


def test_every_score_has_figures_for_every_hold_out(measured):
    _, output, found = measured
    assert json.loads((output / "open_set" / "open_set.json").read_text()) == json.loads(json.dumps(found))
    assert [(each["left_out"], each["seeds"], each["unknown"]) for each in found["hold_outs"]] == [
        (["1"], [0, 1], 10),
        (["3"], [0, 1], 10),
    ]
    for figures in (*(each["scores"] for each in found["hold_outs"]), found["mean"]):
        assert set(figures) == set(SCORES)
        for each in figures.values():
            low, high = each["auroc"]["interval"]
            assert 0 <= low <= each["auroc"]["value"] <= high <= 1
            assert each["oscr"]["value"] <= each["auroc"]["value"] + 1e-9
    means = [np.mean([each["scores"][name]["auroc"]["value"] for each in found["hold_outs"]]) for name in SCORES]
    assert [found["mean"][name]["auroc"]["value"] for name in SCORES] == pytest.approx(means)
    assert found["best"] == list(SCORES)[int(np.argmax(means))]
    assert set(found["compared"]) == set(SCORES) - {found["best"]}


def test_unknown_images_are_taken_for_known_classes(measured):
    rows = {row["what"]: row for row in measured[2]["taken"]}
    assert list(rows)[:2] == ["class 1, never seen", "class 3, never seen"]
    assert rows["class 1, never seen"]["taken_for"][1] == 0
    assert set(STRANGERS) < set(rows)
    assert all(sum(row["taken_for"]) == pytest.approx(1) for row in rows.values())


def test_the_page_and_the_terminal_show_it(measured, samples, tmp_path, capsys):
    paths, output, found = measured
    made_up(output / "runs" / "net" / "x", 0.9, 0)
    page = report(ReportConfig(output_dir=str(output), images=False))
    text = (page.parent / "report.md").read_text()
    mean = found["mean"]["knn"]["auroc"]
    assert f"{mean['value']:.3f} ({mean['interval'][0]:.3f} to {mean['interval'][1]:.3f})" in text
    assert "| class 3, never seen | " in text
    section = text[text.index("## None of these") :]
    assert all(len({line.count("|") for line in table}) == 1 for table in _tables(section))
    assert 'id="open_set"' in page.read_text()
    (output / "open_set" / "open_set.json").write_text("{}")
    assert 'id="open_set"' not in report(ReportConfig(output_dir=str(output), images=False)).read_text()
    capsys.readouterr()
    assert exit_status(["open_set", paths[0], f"data.root={samples}", f"output={tmp_path / 'one'}"]) == 0
    assert "what is taken for what" in capsys.readouterr().out


def _tables(text: str) -> list[list[str]]:
    """The tables of a Markdown text, as lines without a gap; each has a title, a rule and rows."""
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 2
    assert all(len(table) > 2 and set(table[1]) == {"|", "-"} for table in tables)
    return tables


def test_a_network_on_a_fold_is_measured_on_the_training_images_that_it_has_not_seen(settings, samples, tmp_path):
    fold = ["data.folds=2", "data.fold=1", "data.leave_out=[3]", "trainer.max_epochs=1"]
    cfg = OpenSetConfig(output=str(tmp_path / "open_set"))
    cfg.data.root = str(samples)
    found = open_set([trained(settings, tmp_path, *fold)], cfg)
    images = len((samples / "train.csv").read_text().split()) - 1
    assert found["data"]["split"] == "held-out training"
    assert found["data"]["images"] == images // 2
    assert found["hold_outs"][0]["unknown"] == images // 10


def test_a_network_of_all_classes_is_refused(settings, samples, tmp_path):
    cfg = OpenSetConfig(output=str(tmp_path / "open_set"))
    cfg.data.root = str(samples)
    with pytest.raises(UserError, match="is no network that has left out a class"):
        open_set([trained(settings, tmp_path, "trainer.max_epochs=1")], cfg)


@pytest.mark.parametrize("name", STRANGERS)
def test_images_of_no_class_are_the_same_every_time(name):
    found = strangers(name, (24, 30), 3)
    assert (found.shape, found.dtype) == ((3, 24, 30, 3), np.uint8)
    np.testing.assert_array_equal(found[:2], strangers(name, (24, 30), 2))
    assert len(np.unique(found, axis=0)) == 3
