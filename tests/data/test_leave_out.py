"""Classes that are left out: what a run sees of the data, and that it is a run of its own."""

import json
from pathlib import Path

import numpy as np
import pytest

from deepfake_lit.cli.main import main
from deepfake_lit.core.errors import UserError
from deepfake_lit.data.images import as_set, cache_dir, open_data
from deepfake_lit.prediction.checkpoint import ENTRY, read_checkpoint
from deepfake_lit.results.files import read_predictions
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.run import run


def opened(settings, *overrides):
    cfg = compose([*settings, *overrides])
    return open_data(cfg.data, cache_dir(cfg.data, cfg.output_dir))


def test_the_images_of_other_classes_stay_and_their_labels_are_numbered_anew(settings):
    every, part = opened(settings), opened(settings, "data.leave_out=[1,3]")
    assert (part.class_names, part.left_out) == (["0", "2", "4"], ["1", "3"])
    assert part.hash == every.hash
    for name in ("train", "validation"):
        whole, split = every.splits[name], part.splits[name]
        rows = np.flatnonzero(np.isin(whole.labels, [0, 2, 4]))
        assert split.ids == [whole.ids[i] for i in rows]
        np.testing.assert_array_equal(split.labels, whole.labels[rows] // 2)
        np.testing.assert_array_equal(split.gather(slice(None))[0], whole.gather(rows)[0])


def test_a_fold_holds_out_the_same_images_with_and_without_a_class(settings):
    every = opened(settings, "data.folds=2", "data.fold=1")
    part = opened(settings, "data.folds=2", "data.fold=1", "data.leave_out=[4]").splits["validation"]
    whole = every.splits["validation"]
    assert part.ids == [i for i, label in zip(whole.ids, whole.labels, strict=True) if label != 4]
    assert part.labels.max() == 3


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        ("[]", "must be numbers of classes"),
        ("[3,1]", "in order and each once"),
        ("[-1]", "must be numbers of classes"),
        ("[5]", r"there is no class 5; the classes are 0\.\.4"),
        ("[0,1,2,3]", "leaves 1 of 5 classes"),
    ],
)
def test_impossible_classes_are_refused(settings, left_out, message):
    with pytest.raises(UserError, match=message):
        opened(settings, f"data.leave_out={left_out}")


def test_all_images_opened_once_give_what_each_run_sees(settings):
    cfg = compose([*settings, "data.leave_out=[2]"])
    assert (
        as_set(opened(settings), cfg.data).splits["train"].ids
        == opened(settings, "data.leave_out=[2]").splits["train"].ids
    )


@pytest.mark.slow
def test_a_run_without_a_class_knows_the_others_by_their_names(settings, tmp_path):
    overrides = [*settings, f"output_dir={tmp_path}", "trainer.max_epochs=1"]
    result = run(compose([*overrides, "data.leave_out=[2]"])).main
    assert result.data["class_names"] == ["0", "1", "3", "4"]
    answers = read_predictions(Path(result.folder) / "predictions.npz")
    assert answers["probabilities_last"].shape == (len(answers["ids"]), 4)
    entry = read_checkpoint(Path(result.folder) / "last.ckpt")[ENTRY]
    assert (entry["class_names"], entry["left_out"]) == (["0", "1", "3", "4"], ["2"])
    assert result.fingerprint != run(compose([*overrides, "data.leave_out=[3]"])).main.fingerprint


@pytest.mark.slow
def test_a_baseline_without_a_class_is_a_run_of_its_own(settings, tmp_path):
    overrides = [o for o in settings if not o.startswith("model.")]
    overrides = [*overrides, f"output_dir={tmp_path}", "model=none", "baseline=logistic_regression"]
    results = [run(compose([*overrides, *own])).main for own in ([], ["data.leave_out=[0]"], ["data.leave_out=[4]"])]
    assert len({result.folder for result in results}) == 3
    assert [len(result.data["class_names"]) for result in results] == [5, 4, 4]


@pytest.mark.slow
def test_every_hold_out_is_one_command(settings, tmp_path):
    small = [s for s in settings if s.startswith(("data.root", "data.cache", "trainer.progress"))]
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", "open_set", "scale=smoke", *small, f"output_dir={tmp_path}"])
    assert stop.value.code == 0
    record = json.loads((tmp_path / "reproduce" / "open_set-smoke.json").read_text())
    left_out = {}
    for trial in record["trials"]:
        entry = read_checkpoint(tmp_path / trial["folders"][-1] / "last.ckpt")[ENTRY]
        left_out.setdefault(trial["row"], set()).add(tuple(entry["left_out"]))
    assert left_out == {f"without_{label}": {(str(label),)} for label in range(5)}
    page = (tmp_path / "report" / "index.html").read_text()
    assert "without class 4" in page
    assert "different images" not in page
    measured = json.loads((tmp_path / "open_set-smoke" / "open_set.json").read_text())
    assert [(each["left_out"], each["seeds"]) for each in measured["hold_outs"]] == [
        ([str(c)], [0, 1]) for c in range(5)
    ]
    assert "The best single score is" in page
    published = tmp_path / "published"
    with pytest.raises(SystemExit):
        main(["report", "open_set-smoke", f"output_dir={tmp_path}", f"output={published}"])
    assert str(tmp_path) not in (published / "open_set-smoke" / "open_set.json").read_text()
    assert "The best single score is" in (published / "report.md").read_text()
