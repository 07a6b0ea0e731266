"""The page of sweeps: their tables, plots, commands, images, and what is published of them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.made_up_runs import made_up
from torch import nn

from deepfake_lit.cli.main import main
from deepfake_lit.prediction.trained import load_trained
from deepfake_lit.report.answers import right
from deepfake_lit.report.images import grad_cam
from deepfake_lit.report.measure import measure
from deepfake_lit.report.page import ReportConfig, report
from deepfake_lit.report.sections import sections
from deepfake_lit.results.comparison import estimate
from deepfake_lit.results.family import Family
from deepfake_lit.results.files import read_predictions
from deepfake_lit.results.noise import of_pair, row_noise

pytestmark = pytest.mark.slow

NOISE = "not distinguishable from seed noise"


@pytest.fixture(scope="module")
def swept(settings, tmp_path_factory):
    """A sweep of four runs of seconds by the command line, and its page with images."""
    output = tmp_path_factory.mktemp("swept")
    with pytest.raises(SystemExit) as stop:
        main(["train", "-m", *settings, f"output_dir={output}", "optimizer.lr=1e-2,1e-3", "seed=0,1"])
    assert stop.value.code == 0
    return output, report(ReportConfig(str(output)))


def sweep_of(tmp_path: Path, trials: list[tuple[list[str], list[str]]]) -> str:
    """The Markdown of a sweep's trials: overrides and folders."""
    for number, (overrides, folders) in enumerate(trials):
        entry = {"number": number, "overrides": overrides, "folder": folders[-1], "folders": folders, "reason": None}
        path = tmp_path / "sweeps" / "some" / "trials" / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(entry))
    return report(ReportConfig(str(tmp_path), images=False)).with_name("report.md").read_text()


def test_a_sweep_of_neighbours_shows_every_k(tmp_path):
    def neighbours(name, k):
        config = {"baseline": {"features": [], "steps": [["KNN", {"n_neighbors": k}]]}, "data": {}}
        return made_up(tmp_path / "runs" / name / f"{k}", 0.3 + k / 100, 0, name, config=config, selected_on=None)

    trials = [([f"baseline={name}"], [neighbours(name, k) for k in (3, 5)]) for name in ("knn", "knn_standardised")]
    text = sweep_of(tmp_path, trials)
    for row in ("baseline=knn: knn, k = 3", "baseline=knn_standardised: knn_standardised, k = 5"):
        assert f"| {row} |" in text
    assert "Other runs" not in text


def test_a_sweep_over_seeds_alone_has_a_row_with_augmentation_at_test_time(tmp_path):
    trials = [([f"seed={seed}"], [made_up(tmp_path / "runs" / "net" / f"{seed}", 0.9, seed)]) for seed in (0, 1)]
    assert "| with test-time augmentation |" in sweep_of(tmp_path, trials)


def test_a_sweep_on_a_fold_says_on_which_images_it_was_measured(tmp_path):
    config = {"data": {"folds": 5, "fold": 2}, "model": {"kind": "deepfake_net"}}
    trials = [([f"x={x}"], [made_up(tmp_path / "runs" / "net" / f"{x}", 0.9, 0, config=config)]) for x in (0, 1)]
    assert "on 1,250 held-out training images (data.fold=2) of the classes 0, 1, 2, 3, 4" in sweep_of(tmp_path, trials)


def test_of_many_rows_the_best_are_drawn_and_every_difference(tmp_path):
    accuracies = [0.7, *np.linspace(0.5, 0.9, 14).round(2)]
    trials = [
        ([f"idea=i{row}"], [made_up(tmp_path / "runs" / "net" / f"{row}", accuracy, 0)])
        for row, accuracy in enumerate(accuracies)
    ]
    sweep_of(tmp_path, trials)
    page = (tmp_path / "report" / "index.html").read_text()

    def drawn(label):
        (plot,) = re.findall(rf'<svg[^>]*aria-label="{label}.*?</svg>', page, flags=re.DOTALL)
        return re.findall(r">(idea=i\d+)</text>", plot)

    assert drawn("Differences from idea=i0") == [f"idea=i{row}" for row in range(14, 0, -1)]
    assert sorted(drawn("Validation accuracy over epochs")) == sorted(f"idea=i{row}" for row in (0, *range(4, 15)))
    assert "the reference and the best, 3 more rows are not drawn" in page


def test_the_rows_of_a_sweep_share_the_noise_of_a_training(tmp_path):
    trials = [
        ([f"x={row}", f"seed={seed}"], [made_up(tmp_path / "runs" / f"{row}" / f"{seed}", 0.9 - 0.02 * row, seed)])
        for row in range(4)
        for seed in range(2)
    ]
    assert "The noise of a training is taken from 4 rows together" in sweep_of(tmp_path, trials)
    (section,) = sections(tmp_path)
    (found,) = measure(section.tables).values()
    answers = [np.stack([right(run, "last") for run in m.row.done]).astype(int) for m in found]
    noise = row_noise(np.stack(answers).mean(2))[0]
    family = Family(3)
    for m, own in zip(found[1:], answers[1:], strict=True):
        expected = estimate(own - answers[0], of_pair([noise, noise], same=True))
        assert m.difference.p == pytest.approx(family.adjusted(expected.p()))
        assert m.difference.interval == pytest.approx(expected.interval(family.level()))
    assert found[1].accuracy.rows == 4


def test_a_sweep_s_reference_is_what_runs_without_it(swept):
    (section,) = sections(swept[0])
    (table,) = section.tables
    assert [row.key for row in table.rows] == ["optimizer.lr=0.01", "optimizer.lr=0.001"]
    assert table.reference == "optimizer.lr=0.001"  # AdamW's own


def test_a_sweep_of_settings_that_there_are_no_longer_is_shown(tmp_path):
    own = [["+sweep=gone", "experiment=gone", "~class_weights", f"optimizer.lr={lr}"] for lr in ("0.1", "0.2")]
    runs = [made_up(tmp_path / "runs" / "net" / str(i), 0.9, 0) for i in range(2)]
    text = sweep_of(tmp_path, [(overrides, [run]) for overrides, run in zip(own, runs, strict=True)])
    assert "| optimizer.lr=0.1 |" in text
    command = "deepfake-lit train -m +sweep=gone experiment=gone ~class_weights optimizer.lr=0.1,0.2 data.root=PATH"
    assert f"`{command}`" in text


def test_class_weights_are_the_same_in_a_result_and_composed(settings, tmp_path):
    weights = ["class_weights=equal,class_4_by_2.7", "experiment=deepfake_net_2"]
    with pytest.raises(SystemExit):
        main(["train", "-m", *settings, *weights, "trainer.max_epochs=1", f"output_dir={tmp_path}"])
    (section,) = sections(tmp_path)
    assert section.tables[0].reference == "class_weights=class_4_by_2.7"


def test_a_sweep_is_published_and_found_wherever_it_is_copied_to(swept, tmp_path):
    (name,) = [folder.name for folder in (swept[0] / "sweeps").iterdir()]
    with pytest.raises(SystemExit) as stop:
        main(["report", name, f"output_dir={swept[0]}", f"output={tmp_path / 'first'}"])
    assert stop.value.code == 0
    (tmp_path / "first").rename(tmp_path / "second")
    pages = [
        report(ReportConfig(str(output), str(tmp_path / f"page{i}"), images=False))
        for i, output in enumerate((swept[0], tmp_path / "second"))
    ]
    shown = [re.sub(r"Written \S+", "", page.with_name("report.md").read_text()) for page in pages]
    assert shown[0] == shown[1]
    assert "| optimizer.lr=0.01 | 2 |" in shown[1]
    for file in (tmp_path / "second").rglob("*.npz"):  # half of it would be the best epoch's
        assert read_predictions(file).keys() == {"ids", "labels", "probabilities_last", "probabilities_last_tta"}
    for file in (tmp_path / "second").rglob("*.json"):
        assert str(swept[0]) not in file.read_text()


def test_every_run_is_published_whole(swept, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(["report", "runs", f"output_dir={swept[0]}", f"output={tmp_path}"])
    assert stop.value.code == 0
    found, published = (sorted(p.relative_to(top) for p in top.glob("runs/*/*/*.npz")) for top in (swept[0], tmp_path))
    assert found == published
    for name in published:
        assert (tmp_path / name).read_bytes() == (swept[0] / name).read_bytes()
        assert {p.suffix for p in (tmp_path / name).parent.iterdir()} <= {".npz", ".json", ".csv"}
        assert str(swept[0]) not in (tmp_path / name).with_name("result.json").read_text()


def test_a_sweep_is_a_table_over_its_seeds(swept):
    text = swept[1].read_text()
    assert "optimizer.lr=0.01" in text or "optimizer.lr=1e-2" in text
    assert text.count("2 of 2 seeds") == 2
    assert "deepfake-lit train -m" in text
    assert str(swept[0]) not in text  # commands say what, not where


def test_images_are_shown_where_they_are_at_hand(swept, tmp_path):
    text = swept[1].read_text()
    assert text.count("data:image/png") > 6
    assert "Grad-CAM" in text
    without = report(ReportConfig(str(swept[0]), str(tmp_path), images=False)).read_text()
    assert "data:image/png" not in without


def test_grad_cam_finds_what_the_answer_comes_from(swept):
    """A network whose answer is the mean of the red plane's left half looks there."""
    run = next((swept[0] / "runs" / "default").iterdir())
    trained = load_trained(run / "last.ckpt")

    class Left(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 1, 1, bias=False)
            self.conv.weight.data = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)

        def forward(self, x):
            score = self.conv(x).relu().mean((1, 2, 3))
            return torch.stack([score, -score], 1)

    trained.net = Left()
    pixels = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    pixels[:, :, :16, 0] = 255
    heat = grad_cam(trained, pixels, None, 0)[0]
    assert heat[:, :16].min() > 0.9
    assert heat[:, 16:].max() < 0.1
