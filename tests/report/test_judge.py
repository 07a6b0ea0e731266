"""Anybody's report: files of predictions in every form, the page made of them, and one line for every mistake."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.command_line import exit_status
from helpers.made_up_runs import LABELS, N, made_up

from deepfake_lit.core.errors import UserError
from deepfake_lit.report.judge import judge
from deepfake_lit.report.measure import measure
from deepfake_lit.report.sections import sections
from deepfake_lit.report.unchecked import images_needed
from deepfake_lit.results.foreign import read_answers
from deepfake_lit.settings.commands import ReproduceConfig
from deepfake_lit.settings.report_file import read_report
from deepfake_lit.studies.plan import read_plan

EXAMPLE = Path(__file__).parents[2] / "docs" / "judge.md"
IDS = [f"i{n:03d}" for n in range(200)]
SEEDS, SHARES = (0, 1, 2), {"a": 0.7, "b": 0.9}
TRUTH = np.array(["fake", "real"])[np.arange(200) % 2]


def answers(share: float, seed: int) -> np.ndarray:
    """Labels of which about that share is right."""
    wrong = np.random.default_rng(seed).random(200) > share
    return np.where(wrong, np.where(TRUTH == "real", "fake", "real"), TRUTH)


def csv(names: str, *columns) -> str:
    return names + "\n" + "".join(",".join(map(str, row)) + "\n" for row in zip(*columns, strict=True))


TREE = {
    "title": "Somebody's",
    "images": 200,
    "truth": "truth.csv",
    "tables": [
        {
            "title": "Nets",
            "reference": "a",
            "rows": [
                {"row": "a", "accuracy": 0.7},
                {"row": "b", "label": "B", "accuracy": 0.95},
                {"row": "c", "accuracy": 0.91, "std": 0.01, "seeds": 3},
            ],
        }
    ],
    "claims": [{"better": "c", "than": "b", "by": [0.01, 0.02]}],
    "predictions": {row: [f"{row}{seed}.csv" for seed in SEEDS] for row in SHARES},
}


@pytest.fixture
def files(tmp_path) -> Path:
    (tmp_path / "truth.csv").write_text(csv("id,label", IDS, TRUTH))
    for row, share in SHARES.items():
        for seed in SEEDS:
            found = answers(share, seed + ord(row))
            (tmp_path / f"{row}{seed}.csv").write_text(csv("id,prediction", IDS[::-1], found[::-1]))
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(TREE))
    return tmp_path


def measured_in(folder: Path, **changes) -> tuple:
    (folder / "claims.yaml").write_text(yaml.safe_dump(TREE | changes))
    judge(str(folder / "claims.yaml"), folder / "out")
    (section,) = sections(folder / "out")
    return section, measure(section.tables)


def test_files_of_another_program_are_measured_and_the_rest_is_told(files):
    section, tables = measured_in(files)
    a, b, c = tables["nets"]
    rights = [[(answers(share, seed + ord(row)) == TRUTH).mean() for seed in SEEDS] for row, share in SHARES.items()]
    shares = [np.mean(each) for each in rights]
    assert [m.accuracy.value for m in (a, b)] == pytest.approx(shares)
    assert b.difference.verdict.kind == "real"
    assert b.difference.seeds == 3
    assert c.accuracy is None
    assert b.metrics.keys() == {"f1"}  # of labels there is no log loss
    assert [table.key for table in section.tables] == ["nets", "claims"]


def test_the_command_prints_verdicts_contradictions_and_what_it_would_take(files, capsys):
    assert exit_status(["judge", str(files / "claims.yaml"), f"output={files}/out"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "B: the mean of its 3 files of predictions has" in said
    assert "c in place of B, +1.5 points: predictions for about" in said
    assert "no spread over seeds is stated" in said
    page = (files / "out" / "claims" / "report" / "report.md").read_text()
    assert "| B in place of a | +25.0 |" in page
    assert "What could not be checked, and what it would take" in page
    assert "Measured on 200 images of the classes fake, real" in page
    assert "log loss" in page
    assert (files / "out" / "claims" / "report" / "index.html").exists()


def test_a_claim_is_about_a_recall_or_has_a_direction_alone(files, capsys):
    claims = [
        {"better": "b", "than": "a", "by": "more"},
        {"better": "b", "than": "a", "by": [0.05, 0.5], "recall_of": "fake"},
        {"better": "b", "than": "a", "by": "less", "recall_of": "real"},
        {"better": "c", "than": "a", "by": "more", "recall_of": "real"},
    ]
    _, tables = measured_in(files, claims=claims)
    b = next(m for m in tables["claims"] if m.row.key == "b")
    shares = {}
    for row in SHARES:
        right = np.mean([answers(SHARES[row], seed + ord(row)) == TRUTH for seed in SEEDS], 0)
        shares[row] = {name: right[name == TRUTH].mean() for name in ("fake", "real")}
    for name, difference in b.recall_differences.items():
        assert difference.value == pytest.approx(shares["b"][name] - shares["a"][name])
        assert difference.reference == pytest.approx(shares["a"][name])
    assert b.recall_differences.keys() == {"fake", "real"}
    assert b.difference.verdict.text == "real, as claimed"
    assert b.recall_differences["fake"].verdict.text == "real, as large as claimed"
    assert exit_status(["judge", str(files / "claims.yaml"), f"output={files}/out"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "c: recall of class real in place of a, more: the report does not say by how much" in said
    assert b.difference.claimed is None  # no size is claimed
    page = (files / "out" / "claims" / "report" / "report.md").read_text()
    assert "| B: recall of class fake in place of a | +5.0 to +50.0 |" in page
    assert "| B: recall of class real in place of a | less |" in page


def test_a_claim_about_a_class_that_is_not_there_is_told(files):
    _, tables = measured_in(files, claims=[{"better": "b", "than": "a", "by": "more", "recall_of": "fakes"}])
    (b,) = (m for m in tables["claims"] if m.row.key == "b")
    assert not b.recall_differences
    assert "its images have no class fakes, of which a claim is; did you mean fake?" in map(str, b.problems)


def in_every_form(folder: Path) -> dict[str, Path]:
    found = answers(0.8, 3)
    real = np.where(found == "real", 0.75, 0.25)
    forms = {
        "kaggle.csv": csv("image_id,label", IDS, found),
        "classes.csv": csv("filename,fake,real,truth", IDS, 1 - real, real, TRUTH),
        "one.csv": csv("path,probability", IDS, real),
        "tabs.tsv": csv("id,prediction", IDS, found).replace(",", "\t"),
        "labels.jsonl": "".join(json.dumps({"id": i, "pred": p}) + "\n" for i, p in zip(IDS, found, strict=True)),
        "lists.jsonl": "".join(
            json.dumps({"id": i, "probabilities": [1 - p, p], "label": t}) + "\n"
            for i, p, t in zip(IDS, real, TRUTH, strict=True)
        ),
    }
    for name, text in forms.items():
        (folder / name).write_text(text)
    np.savez(folder / "arrays.npz", ids=np.array(IDS), probabilities=np.stack([1 - real, real], 1))
    np.savez(folder / "numbers.npz", ids=np.array(IDS), predictions=found)
    return {name: folder / name for name in [*forms, "arrays.npz", "numbers.npz"]}


def test_every_form_gives_the_same_accuracy(files):
    wanted = (answers(0.8, 3) == TRUTH).mean()
    for name in in_every_form(files):
        _, tables = measured_in(files, predictions={"a": name}, classes=["fake", "real"])
        assert tables["nets"][0].accuracy.value == pytest.approx(wanted), name
        labels = name in ("kaggle.csv", "tabs.tsv", "labels.jsonl", "numbers.npz")
        assert ("log_loss" in tables["nets"][0].metrics) != labels
    of_file = read_answers(files / "lists.jsonl", {}, ["fake", "real"])
    assert of_file.truth.tolist() == TRUTH.tolist()


def test_numbers_are_classes_and_ids_however_they_are_written(files):
    (files / "n.csv").write_text(csv("photo,guess,gold", range(3), ["1.0", "2.0", "1.0"], [1, 2, 2]))
    found = read_answers(files / "n.csv", {"id": "photo", "answer": "guess", "truth": "gold"}, None)
    assert (found.ids.tolist(), found.labels.tolist(), found.truth.tolist()) == (
        ["0", "1", "2"],
        ["1", "2", "1"],
        ["1", "2", "2"],
    )


def test_a_run_of_this_project_stands_beside_another_program_s_file(tmp_path):
    made_up(tmp_path / "runs" / "net" / "mine", 0.9, 0)
    ids = [f"i{n}" for n in range(N)]
    (tmp_path / "other.csv").write_text(csv("id,label", ids, np.where(np.arange(N) % 3, LABELS, 0)))
    tree = {
        "title": "Both",
        "images": N,
        "tables": [{"title": "T", "reference": "mine", "rows": [{"row": "mine"}, {"row": "other"}]}],
        "predictions": {"mine": "runs/net/mine", "other": "other.csv"},
    }
    (tmp_path / "both.yaml").write_text(yaml.safe_dump(tree))
    judge(str(tmp_path / "both.yaml"), tmp_path / "out")
    (section,) = sections(tmp_path / "out")
    mine, other = measure(section.tables)["t"]
    assert mine.row.done[0].folder.endswith("runs/net/mine")
    assert other.accuracy.value == pytest.approx(np.mean((np.arange(N) % 3 > 0) | (LABELS == 0)))
    assert other.difference.seeds == 1


def test_percent_and_counts_are_shares():
    tree = read_report("report_b")
    assert tree["tables"][0]["rows"][0]["accuracy"] == 0.912


def test_the_example_of_the_document_is_judged_as_it_says(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"`(\w+\.\w+)`[^`]*```\w+\n(.*?)```", EXAMPLE.read_text(), re.DOTALL)
    named = dict(blocks)
    assert list(named) == ["claims.yaml", "truth.csv", "baseline_0.csv", "ours_0.jsonl"]
    for name, text in named.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name.replace("_0", "_1")).write_text(text)
    monkeypatch.chdir(tmp_path)
    assert exit_status(["judge", "claims.yaml"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "larger in place of Ours, +1.5 points" in said
    assert (tmp_path / "outputs" / "judge" / "claims" / "report" / "index.html").exists()


def test_a_report_from_outside_is_judged_as_the_document_says(tmp_path, capsys):
    assert exit_status(["judge", str(EXAMPLE.parent / "examples" / "rvf10k.yaml"), f"output={tmp_path}"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "confusion matrix" not in said
    assert "All 2 of its differences are larger than the images alone let two samples differ by" in said
    assert "EfficientNetB0 in place of Xception, +1.0 points" in said
    assert "3 seeds of each show it if trainings of one recipe have a standard deviation below 0.4 points" in said


def test_the_documents_plan_is_one(tmp_path):
    text = EXAMPLE.read_text()
    own = text[text.index("title: My ablation") : text.index("```", text.index("title: My ablation"))]
    (tmp_path / "my_report.yaml").write_text(own)
    plan = read_plan(str(tmp_path / "my_report.yaml"), ReproduceConfig(), [])
    assert (plan.name, [t.row for t in plan.trials][::3]) == ("my_report-full", ["without", "with"])
    assert plan.reported["tables"][0]["rows"][1]["accuracy"] == 0.943


@pytest.mark.slow
def test_a_report_of_one_s_own_is_reproduced(tmp_path, settings, capsys):
    tree = {
        "title": "Mine",
        "images": 50,
        "tables": [
            {"title": "T", "reference": "a", "rows": [{"row": "a", "accuracy": 0.5}, {"row": "b", "accuracy": 0.6}]}
        ],
        "rows": {"a": ["model=whitening_cnn"], "b": ["model=whitening_cnn", "optimizer.lr=0.01"]},
        "scales": {"full": {"seeds": [0, 1]}},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree))
    assert exit_status(["reproduce", f"{tmp_path}/mine.yaml", *settings, f"output_dir={tmp_path}/out"]) == 0
    assert "a to b" in capsys.readouterr().out
    (tmp_path / "mine.yaml").unlink()  # the page needs it no more
    (section,) = sections(tmp_path / "out")
    assert section.command.startswith("deepfake-lit reproduce mine.yaml")


def test_images_needed_follow_connor():
    assert images_needed(0.9, 0.9, 0.02, 0.0) == pytest.approx(7.849 * 0.18 / 0.0004, rel=0.01)
    assert images_needed(0.9, 0.9, 0.02, 0.8) < images_needed(0.9, 0.9, 0.02, 0.0) / 4


def changed(**changes) -> str:
    return yaml.safe_dump(TREE | changes)


def rows(*entries, reference="a") -> str:
    return changed(
        tables=[{"title": "Nets", "reference": reference, "rows": list(entries)}], predictions={"a": "a0.csv"}
    )


A, B = {"row": "a", "accuracy": 0.7}, {"row": "b", "accuracy": 0.9}
# what claims.yaml is, or what other file is what; and what is said of it
MALFORMED = {
    "no YAML": ("title: [", "is no YAML"),
    "a list": ("- 1", "is not of type 'object'"),
    "nothing": ("", "is not of type 'object'"),
    "no title": ("images: 3", "'title' is a required property"),
    "no tables": ("{title: x, images: 3}", "it has neither tables nor claims"),
    "an unknown entry": (changed(claim=[]), "there is no entry 'claim'; did you mean claims?"),
    "images in words": (changed(images="many"), "images: 'many' is not of type 'integer'"),
    "percent for shares": (rows(A, {"row": "b", "accuracy": 94.3}), "accuracy of b is 94.3, more than 1"),
    "a negative accuracy": (rows(A, {"row": "b", "accuracy": -0.1}), "tables[0].rows[1].accuracy: -0.1"),
    "a row twice": (rows(A, B, B), "has the row b twice"),
    "no reference": (rows(A, B, reference="aa"), "has no row aa, its reference; did you mean a?"),
    "predictions of no row": (changed(predictions={"bb": "b0.csv"}), "predictions names the row 'bb'"),
    "a claim without a size": (
        changed(claims=[{"better": "b", "than": "a"}]),
        "claims[0]: 'by' is a required property",
    ),
    "a confusion matrix": (changed(confusion={"a": [[1, 2], [3]]}), "the confusion matrix of a is not square"),
    "a missing file": (changed(predictions={"a": "none.csv"}), "none.csv cannot be read as predictions: No such file"),
    "a picture": (changed(predictions={"a": "x.png"}), "x.png is no predictions"),
    "no truth": (yaml.safe_dump({k: v for k, v in TREE.items() if k != "truth"}), "does not say the true classes"),
    "another program's pickle": (changed(predictions={"a": "pickled.npz"}), "cannot be read as predictions"),
    "no ids": ({"a0.csv": "x,prediction\n1,real\n"}, "a0.csv has no column of the images"),
    "no answers": ({"a0.csv": "id,when\n1,now\n"}, "a0.csv has no column of answers"),
    "a claim on itself": (changed(claims=[{"better": "b", "than": "b", "by": 0.1}]), "b is better than itself"),
    "a claim twice": (
        changed(claims=[{"better": "b", "than": "a", "by": x} for x in (1, 2)]),
        "two claims say by how much b",
    ),
    "an image twice": ({"a0.csv": "id,prediction\n1,real\n1,real\n"}, "has the image 1 twice"),
    "too few images": ({"a0.csv": "id,prediction\ni000,real\n"}, "lacks 199 of the 200 images"),
    "an unknown class": (
        {"a0.csv": csv("id,prediction", IDS, ["cat"] * 200)},
        "answers 'cat', which is none of the classes",
    ),
    "a short line": ({"a0.csv": "id,prediction\n1\n"}, "line 2 has 1 cells"),
    "an empty file": ({"a0.csv": ""}, "it is empty"),
    "bad numbers": ({"a0.csv": csv("id,fake,real", IDS, [0.9] * 200, [0.9] * 200)}, "sum to 1.8, not to 1"),
    "bytes": ({"a0.csv": "id,prediction\n\x00\n"}, "a0.csv cannot be read"),
    "a broken line": (changed(predictions={"a": "broken.jsonl"}), "line 2 is no JSON"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_file_is_one_line(what, files, capsys):
    content, message = MALFORMED[what]
    np.savez(files / "pickled.npz", ids=np.array([{}], dtype=object))
    (files / "broken.jsonl").write_text('{"id": 1, "label": "real"}\n{"id": \n')
    if isinstance(content, str):
        content = {"claims.yaml": content}
    for name, text in content.items():
        (files / name).write_bytes(text.encode())
    assert exit_status(["judge", str(files / "claims.yaml"), f"output={files}/out"]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert message in said


def test_reports_that_are_none_are_refused():
    with pytest.raises(UserError, match="report is 'report_c'; it must be one of"):
        read_report("report_c")
