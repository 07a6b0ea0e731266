"""The command `reproduce`: its plans, what it runs again and what not, and what it makes of failures."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from deepfake_lit.cli.main import main
from deepfake_lit.core.errors import UserError
from deepfake_lit.results.neutral import without_paths
from deepfake_lit.settings import report_file
from deepfake_lit.settings.compose import compose, config_dir
from deepfake_lit.settings.report_file import read_report
from deepfake_lit.studies import estimate
from deepfake_lit.studies import reproduce as module
from deepfake_lit.studies.plan import ReproduceConfig, filled, plans, read_plan
from deepfake_lit.studies.reproduce import reproduce
from deepfake_lit.training.run import open_run_data
from deepfake_lit.training.run import run as train

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("report", "scale"), [(p, s) for s in ("full", "cpu", "smoke") for p in plans(s)])
def test_every_row_of_every_plan_composes(report, scale):
    """A row is composed with its last seed; with the others it has the same settings."""
    rows = {}
    for trial in read_plan(report, ReproduceConfig(scale, seeds=[0, 1]), ["data.root=x"]).trials:
        rows.setdefault(trial.row, []).append(trial)
    for trials in rows.values():
        settings = {tuple(o for o in trial.overrides if o != f"seed={trial.seed}") for trial in trials}
        assert [len(trial.overrides) for trial in trials] == [len(*settings) + 1] * len(trials)
        cfg = compose([o.replace("{", "").replace("}", "") for o in trials[-1].overrides])
        assert cfg.seed == trials[-1].seed


@pytest.mark.parametrize("report", plans())
def test_every_reported_row_is_run_and_none_in_vain(report):
    tree = yaml.safe_load((config_dir() / "reproduce" / f"{report}.yaml").read_text())
    reported = {row["row"].partition(":")[0] for table in read_report(report)["tables"] for row in table["rows"]}
    assert reported - {"knn_standardised"} == set(tree["rows"])  # both preprocessings are the row knn


def test_full_scale_is_the_report_s_own():
    tree = yaml.safe_load((config_dir() / "reproduce" / "report_b.yaml").read_text())
    assert tree["scales"]["full"] == {"seeds": [0, 1, 2]}
    trial = read_plan("report_b", ReproduceConfig(rows=["cnn"], seeds=[0]), ["data.root=x"]).trials[0]
    cfg = compose(trial.overrides)
    assert (cfg.model.width, cfg.trainer.max_epochs) == (1.0, 100)


def test_rows_bring_those_that_they_need():
    plan = read_plan("report_a", ReproduceConfig(rows=["ensemble_mean"], seeds=[4]), [])
    assert [t.row for t in plan.trials][-1] == "ensemble_mean"
    assert {"deepfake_net", "vgg16", "vgg16_staged"} <= {t.row for t in plan.trials}
    assert "svm" not in {t.row for t in plan.trials}
    assert {t.seed for t in plan.trials} == {4}


def test_one_seed_has_no_mean_over_seeds():
    rows = {trial.row for trial in read_plan("record", ReproduceConfig(seeds=[1]), []).trials}
    assert rows == {"residual_svm", "speedrun", "speedrun_95", "record", "record_and_svm"}


@pytest.mark.parametrize(
    ("report", "cfg", "message"),
    [
        ("record", ReproduceConfig(rows=["record", "record_seeds"], seeds=[0]), "record_seeds is a mean over seeds"),
        ("report_c", ReproduceConfig(), "report is 'report_c'"),
        ("report_b", ReproduceConfig("huge"), "scale is 'huge'"),
        ("report_b", ReproduceConfig(rows=["cnnn"]), "rows is 'cnnn'"),
    ],
)
def test_what_does_not_exist_is_refused(report, cfg, message):
    with pytest.raises(UserError, match=message):
        read_plan(report, cfg, [])


def test_all_is_every_plan_that_has_the_scale(capsys):
    assert plans("cpu") == ["report_a", "report_b"]
    assert plans("full") == plans()
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", "all", "scale=ful", "data.root=x"])
    assert stop.value.code == 2
    assert "scale is 'ful'; it must be one of full" in capsys.readouterr().err


def test_a_row_can_be_made_of_all_seeds_of_another(tmp_path, monkeypatch):
    (tmp_path / "reproduce").mkdir()
    (tmp_path / "reproduce" / "seeds.yaml").write_text(
        "title: x\nimages: 3\ntables: [{title: x, rows: [{row: net}]}]\n"
        "rows:\n"
        "  net: [experiment=demo]\n"
        "  svm: [experiment=svm]\n"
        "  mean: [experiment=ensemble, 'model.members=[{net:last@all},{svm:model@all}]']\n"
        "scales: {full: {seeds: [0, 1]}}\n"
    )
    monkeypatch.setattr(report_file, "config_dir", lambda: tmp_path)
    monkeypatch.setattr(report_file, "choices", lambda group: ["seeds"])
    plan = read_plan("seeds", ReproduceConfig(rows=["mean"]), [])
    assert [(t.row, t.seed) for t in plan.trials] == [("net", 0), ("net", 1), ("svm", 0), ("svm", 1), ("mean", 0)]
    for trial in plan.trials[:4]:  # the baseline has no randomness: one run for both seeds
        trial.folders = [f"runs/{trial.row}/{trial.seed if trial.row == 'net' else 'x'}"]
    found = [filled(o, plan.trials[4], plan) for o in plan.trials[4].overrides]
    members = ["runs/net/0/last.ckpt", "runs/net/1/last.ckpt", "runs/svm/x/model.skops"]
    assert found[1] == f"model.members=[{','.join(f'outputs/{m}' for m in members)}]"
    plan.trials[1].folders = []
    with pytest.raises(UserError, match="it needs net, which failed"):
        filled(plan.trials[4].overrides[1], plan.trials[4], plan)


@pytest.fixture(scope="module")
def small(settings):
    return [s for s in settings if s.startswith(("data.root", "data.cache", "trainer.progress"))]


def test_report_a_s_path_is_one_command(small, tmp_path, capsys):
    """SVM, DeepFakeNet, a second stage from it, VGG16 in two stages, the ensemble in every way."""
    arguments = ["reproduce", "report_a", "scale=smoke", *small, f"output_dir={tmp_path}", "data.image_size=32"]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    record = json.loads((tmp_path / "reproduce" / "report_a-smoke.json").read_text())
    by_row = {trial["row"]: trial for trial in record["trials"]}
    assert all(trial["folders"] for trial in record["trials"])
    first = tmp_path / by_row["deepfake_net"]["folders"][-1]
    assert f"init_from={first}/best.ckpt" in by_row["deepfake_net_2_staged"]["overrides"]
    result = json.loads((tmp_path / by_row["ensemble"]["folders"][0] / "result.json").read_text())
    assert [m["name"] for m in result["members"]] == ["deepfake_net_2_erasing", "vgg16_staged"]
    page = (tmp_path / "report" / "index.html").read_text()
    assert "made at scale smoke" in page
    assert "trained head on out-of-fold answers" in page
    published = tmp_path / "published"
    with pytest.raises(SystemExit) as stop:
        main(["report", "report_a-smoke", f"output_dir={tmp_path}", f"output={published}"])
    assert stop.value.code == 0
    for file in published.rglob("*"):
        assert file.suffix in ("", ".json", ".npz", ".csv", ".html", ".md", ".svg")
        if file.suffix in (".json", ".csv", ".html", ".md", ".svg"):
            assert str(tmp_path) not in file.read_text()
    # the table of all rows has those of the other runs, too
    left_out = r"Written \S+|## All \d+ rows.*?(?=^## )"
    texts = [(folder / "report.md").read_text() for folder in (published, tmp_path / "report")]
    shown = [re.sub(left_out, "", text, flags=re.DOTALL | re.MULTILINE) for text in texts]
    assert shown[0] == re.sub(r"## Other runs.*?(?=## Order of rows|\Z)", "", shown[1], flags=re.DOTALL)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(arguments)
    said = capsys.readouterr().err
    assert "epoch 1/" not in said  # nothing is trained again
    assert "16 runs, 16 of them finished or of seconds" in said


def test_the_record_and_its_ensembles_are_one_command(small, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", "record", "scale=smoke", *small, f"output_dir={tmp_path}", "data.image_size=32"])
    assert stop.value.code == 0
    trials = json.loads((tmp_path / "reproduce" / "record-smoke.json").read_text())["trials"]
    folders = {(trial["row"], trial["seed"]): tmp_path / trial["folders"][0] for trial in trials}

    def members(row, seed):
        result = json.loads((folders[row, seed] / "result.json").read_text())
        return [member["name"] for member in result["members"]]

    assert members("record_and_svm", 1) == ["record", "residual_svm"]
    assert members("record_seeds", 0) == ["record", "record"]
    assert members("record_seeds_and_svm", 0) == ["record", "record", "residual_svm"]
    assert members("everything", 0) == ["record", "record", "speedrun_95", "speedrun_95", "residual_svm"]
    assert ("record_seeds", 1) not in folders
    with open(tmp_path / "report" / "tables" / "record-smoke-models.csv", newline="") as file:
        seconds = {row["row"]: row["seconds"] for row in csv.DictReader(file)}
    assert float(seconds["record"]) > 0
    assert seconds["record, mean of the seeds"] == ""  # the time of a head on logits would say nothing


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/alice/outputs/runs/a/b/last.ckpt", "runs/a/b/last.ckpt"),
        ("outputs/runs/a/b", "runs/a/b"),
        ("init_from=/data/x/runs/a/b/best.ckpt", "init_from=runs/a/b/best.ckpt"),
        (
            "model.members=[/o/x/runs/a/b/last.ckpt,/o/x/runs/c/d/model.skops]",
            "model.members=[runs/a/b/last.ckpt,runs/c/d/model.skops]",
        ),
        ("OSError: /home/alice/images/train/7.png is gone", "OSError: 7.png is gone"),
        ("pixels / 255, 50 images/s, a/b", "pixels / 255, 50 images/s, a/b"),
    ],
)
def test_nobody_s_folders_are_published(text, shown):
    assert without_paths({"a": [text]}, Path("outputs")) == {"a": [shown]}


def test_looks_that_were_declared_stay():
    plan = read_plan("report_b", ReproduceConfig(looks=[3, 6, 10]), [])
    assert (plan.looks, read_plan("report_b", ReproduceConfig(), []).looks) == ([3, 6, 10], [3])
    with pytest.raises(UserError, match="looks"):
        read_plan("report_b", ReproduceConfig(looks=[6, 3]), [])
    later = read_plan("report_b", ReproduceConfig(seeds=list(range(10))), [])
    assert later.looks == [10]
    seen = {"trials": [{"row": "cnn", "seed": seed, "planned": []} for seed in range(3)]}
    module._keep_looks(seen | {"looks": [3, 6, 10]}, later)
    assert later.looks == [3, 6, 10]
    module._keep_looks(seen, later)  # a record of before there were looks: they were seen at its seeds
    assert later.looks == [3]
    module._keep_looks({"trials": seen["trials"][:1]}, plan)  # one seed has no verdicts to look at
    assert plan.looks == [3, 6, 10]


def test_a_failed_row_is_kept_with_its_reason_and_those_that_need_it_too(small, tmp_path, monkeypatch):
    def run(cfg, data, wait):
        if cfg.name == "deepfake_net":
            raise RuntimeError("out of memory")
        return train(cfg, data, wait)

    monkeypatch.setattr(module, "run", run)
    further = [*small, f"output_dir={tmp_path}", "data.image_size=32"]
    cfg = ReproduceConfig("smoke", rows=["svm", "deepfake_net_2_staged"])
    reasons = {t.row: t.reason for t in reproduce("report_a", cfg, further).trials}
    assert reasons == {
        "svm": None,
        "deepfake_net": "RuntimeError: out of memory",
        "deepfake_net_2_staged": "it needs deepfake_net, which failed",
    }
    kept = json.loads((tmp_path / "reproduce" / "report_a-smoke.json").read_text())
    assert {t["row"]: t["reason"] for t in kept["trials"]} == reasons
    monkeypatch.undo()
    again = reproduce("report_a", cfg, further).trials
    assert [t.reason for t in again] == [None] * 3


def test_rows_that_are_left_out_are_kept(small, tmp_path):
    further = [*small, f"output_dir={tmp_path}"]
    reproduce("report_b", ReproduceConfig("smoke", seeds=[0], rows=["cnn"]), further)
    reproduce("report_b", ReproduceConfig("smoke", seeds=[0], rows=["knn"]), further)
    kept = json.loads((tmp_path / "reproduce" / "report_b-smoke.json").read_text())["trials"]
    assert {trial["row"]: len(trial["folders"]) for trial in kept} == {"knn": 10, "cnn": 1}


def test_what_was_finished_is_kept_when_the_next_time_is_interrupted(small, tmp_path, monkeypatch):
    further = [*small, f"output_dir={tmp_path}"]
    cfg = ReproduceConfig("smoke", seeds=[0], rows=["cnn", "rgb", "lr_1e-4"])
    reproduce("report_b", cfg, further)
    record = tmp_path / "reproduce" / "report_b-smoke.json"
    before = json.loads(record.read_text())["trials"]
    calls = []

    def run_once(*arguments, **named):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*arguments, **named)

    monkeypatch.setattr(module, "run", run_once)
    with pytest.raises(KeyboardInterrupt):
        reproduce("report_b", cfg, further)
    after = json.loads(record.read_text())["trials"]
    assert [t["folders"] for t in after] == [t["folders"] for t in before]
    monkeypatch.undo()
    other = reproduce("report_b", ReproduceConfig("smoke", seeds=[0], rows=["cnn"]), [*further, "data.batch_size=32"])
    assert other.further == ["data.batch_size=32"]
    assert len(json.loads(record.read_text())["trials"]) == 1  # runs of other settings are no rows of one table


def test_the_time_is_announced_before_and_while(small, tmp_path, capsys):
    cfg = ReproduceConfig("smoke", seeds=[0], rows=["cnn", "rgb"])
    reproduce("report_b", cfg, [*small, f"output_dir={tmp_path}"])
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning")]
    assert lines[0].startswith("report_b at scale smoke: 2 runs, 0 of them finished")
    assert "about" in lines[0]
    assert [line.partition("   ")[2].startswith("about") for line in lines if line.startswith("report_b, smoke:")] == [
        True,
        True,
    ]


def test_the_time_that_is_left_is_of_the_epochs_that_are_left(small, tmp_path):
    further = [*small, f"output_dir={tmp_path}", "trainer.max_epochs=2"]
    plan = reproduce("report_b", ReproduceConfig("smoke", seeds=[0], rows=["cnn"]), further)
    data = open_run_data(compose(plan.trials[0].overrides))
    trial = read_plan("report_b", ReproduceConfig("smoke", seeds=[0], rows=["cnn"]), further).trials[0]
    clock = estimate.TimeLeft(plan, data)
    assert clock._share_left(trial) == 0.0
    folder = tmp_path / plan.trials[0].folders[0]
    (folder / "result.json").unlink()
    header, first, _ = (folder / "history.csv").read_text().splitlines()
    (folder / "history.csv").write_text(f"{header}\n{first}\n")
    assert clock._share_left(trial) == 0.5
    (folder / "history.csv").unlink()
    assert clock._share_left(trial) == 1.0


def test_rows_are_run_over_folds(small, tmp_path, capsys):
    further = [*small, f"output_dir={tmp_path}"]
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", "report_b", "scale=smoke", "folds=2", "rows=[knn,cnn,rgb]", *further])
    assert stop.value.code == 0
    trials = json.loads((tmp_path / "reproduce" / "report_b-smoke-folds2.json").read_text())["trials"]
    assert [(t["row"], t["seed"], t["fold"]) for t in trials] == [
        (row, 0, fold) for row in ("knn", "cnn", "rgb") for fold in (0, 1)
    ]
    ids = []
    for trial in trials[2:4]:
        with np.load(tmp_path / trial["folders"][0] / "predictions.npz") as arrays:
            ids.append(set(arrays["ids"].tolist()))
    assert not ids[0] & ids[1]
    text = (tmp_path / "report" / "index.html").read_text()
    assert "2 folds of the training images" in text
    assert "in 2 of 2 folds, each by networks trained on the others" in text
    assert "the training images that folds share" in text
    with open(tmp_path / "report" / "tables" / "report_b-smoke-folds2-channels.csv", newline="") as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    assert rows["RGBA"]["difference_seeds"] == "2"
    with pytest.raises(UserError, match="folds needs 2"):
        read_plan("report_b", ReproduceConfig(folds=1), [])
