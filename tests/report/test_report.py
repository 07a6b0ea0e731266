"""Tables, verdicts and the page, over made-up results and real runs of seconds."""

import csv
import dataclasses
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.made_up_runs import made_up, record
from sklearn.metrics import precision_score, recall_score

from deepfake_lit.core.errors import UserError
from deepfake_lit.report.answers import values
from deepfake_lit.report.measure import measure
from deepfake_lit.report.notes import notes
from deepfake_lit.report.page import ReportConfig, report
from deepfake_lit.report.pairs import class_differences
from deepfake_lit.report.rows import run_at
from deepfake_lit.report.sections import section_of_report
from deepfake_lit.results.comparison import estimate
from deepfake_lit.results.family import Family
from deepfake_lit.results.figures import figures_of
from deepfake_lit.results.noise import of_pair, row_noise
from deepfake_lit.results.result import read_result, write_result
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.conf import choices
from deepfake_lit.settings.report_file import read_report
from deepfake_lit.training.run import run

REPORTS = choices("reproduce")


def measured(path: Path, table: str):
    tree = json.loads(path.read_text())
    section = section_of_report(path.parent.parent, tree, read_report("report_b"))
    return {m.row.label: m for m in measure(section.tables, section.scale)[table]}


def test_a_real_difference_is_called_real_and_its_figures_are_those_of_the_predictions(tmp_path):
    rows = measured(record(tmp_path, {"cnn": [0.94, 0.945, 0.94], "lr_1e-4": [0.90, 0.905, 0.90]}), "learning_rate")
    low, reference = rows["learning rate 1e-4"], rows["learning rate 3e-4"]
    assert low.difference.verdict.kind == "real"
    shares = []
    for row in ("cnn", "lr_1e-4"):
        arrays = [np.load(tmp_path / "runs" / "net" / f"{row}-{seed}" / "predictions.npz") for seed in range(3)]
        shares.append(np.array([a["probabilities"].argmax(1) == a["labels"] for a in arrays]))
    assert reference.accuracy.value == pytest.approx(shares[0].mean())
    noise = row_noise(np.stack(shares).mean(2))[0]
    expected = estimate(shares[1].astype(int) - shares[0].astype(int), of_pair([noise, noise], same=True))
    assert low.difference.value == pytest.approx(expected.value)
    family = Family(2)  # the mirror image is another claim
    assert low.difference.interval == pytest.approx(expected.interval(family.level()))
    assert low.difference.errors_removed == pytest.approx(expected.value / (1 - shares[0].mean()))
    assert low.difference.claimed == pytest.approx(0.912 - 0.943)
    assert reference.difference is None
    assert [str(p) for p in rows["learning rate 1e-3"].problems] == ["not run"]


def test_p_is_corrected_for_the_comparisons_of_the_table(tmp_path):
    path = record(tmp_path, {"cnn": [0.9] * 3, "lr_1e-4": [0.89] * 3, "lr_1e-3": [0.895] * 3})
    both = measured(path, "learning_rate")
    alone = measured(record(tmp_path, {"cnn": [0.9] * 3, "lr_1e-4": [0.89] * 3}), "learning_rate")
    assert both["learning rate 1e-4"].difference.p >= alone["learning rate 1e-4"].difference.p


def test_recall_and_precision_are_compared_class_by_class(tmp_path):
    path = record(tmp_path, {"cnn": [0.94, 0.945, 0.94], "lr_1e-4": [0.90, 0.905, 0.90]})
    tree = json.loads(path.read_text())
    section = section_of_report(path.parent.parent, tree, read_report("report_b"))
    table = next(t for t in section.tables if t.key == "learning_rate")
    rows = {m.row.key: m.row for m in measure(section.tables)["learning_rate"]}
    found = class_differences([rows["lr_1e-4"]], rows["cnn"], table.rows)
    assert list(found) == ["recall", "precision"]
    for which, metric in enumerate((recall_score, precision_score)):
        shares = []
        for row in ("lr_1e-4", "cnn"):
            arrays = [np.load(tmp_path / "runs" / "net" / f"{row}-{seed}" / "predictions.npz") for seed in range(3)]
            shares.append(np.mean([metric(a["labels"], a["probabilities"].argmax(1), average=None) for a in arrays], 0))
        differences = found[("recall", "precision")[which]]["lr_1e-4"]
        assert [d.value for d in differences] == pytest.approx(np.subtract(*shares))
        assert all(d.interval[0] <= d.value <= d.interval[1] for d in differences)
        assert all((d.p < 0.05) == (not d.interval[0] <= 0 <= d.interval[1]) for d in differences)


def test_the_spread_of_a_precision_is_that_of_resampled_images(tmp_path):
    run = run_at(made_up(tmp_path / "run", 0.9, 0), 0)
    found = values(run, "last", "precision", 3)
    random, labels, answers = np.random.default_rng(0), run.predictions["labels"], run.answers("last")
    drawn = random.integers(0, len(labels), (2000, len(labels)))
    resampled = ((labels == 3) & (answers == 3))[drawn].sum(1) / (answers == 3)[drawn].sum(1)
    assert found.std() / np.sqrt(len(labels)) == pytest.approx(resampled.std(), rel=0.1)


def test_scales_have_a_say_in_verdicts(tmp_path):
    accuracies = {"cnn": [0.9] * 3, "lr_1e-4": [0.95] * 3}  # the report: 3.1 points less, not 5 more
    found = [
        measured(record(tmp_path, accuracies, scale), "learning_rate")["learning rate 1e-4"].difference.verdict.text
        for scale in ("full", "cpu", "smoke")
    ]
    assert found == ["contradicted", "not seen at this scale", "none at this scale"]


def test_what_is_missing_failed_or_mixed_is_seen(tmp_path):
    path = record(tmp_path, {"cnn": [0.9, 0.9, 0.9], "rgb": [0.9, 0.9]})
    tree = json.loads(path.read_text())
    made_up(tmp_path / "runs" / "net" / "cnn-1", 0.9, 1, code={"commit": "d" * 40, "version": "0", "modified": True})
    made_up(tmp_path / "runs" / "net" / "cnn-2", 0.9, 2, hardware={"name": "GPU", "precision": "bf16"})
    (tmp_path / "runs" / "net" / "rgb-1" / "result.json").unlink()
    tree["trials"].append({"row": "rgb", "seed": 2, "overrides": [], "folders": [], "reason": "ValueError: no"})
    path.write_text(json.dumps(tree))
    rows = measured(path, "channels")
    assert [str(p) for p in rows["RGBA"].problems] == [
        "runs of several machines",
        "runs of several commits",
        "the difference is over the shared seeds 0 alone",
        "other hardware than the reference row",
        "other commits than the reference row",
    ]
    assert rows["RGBA"].commits == ["ccccccc", "ddddddd, modified"]
    assert [str(p) for p in rows["RGB"].problems] == ["seed 1 interrupted", "seed 2 failed: ValueError: no"]
    page = report(ReportConfig(str(tmp_path), images=False)).read_text()
    for text in ("seed 2 failed: ValueError: no", "runs of several commits", "1 of 3 seeds", "3 of 3 seeds"):
        assert text in page


def test_damaged_predictions_are_named_and_the_rest_is_shown(tmp_path):
    path = record(tmp_path, {"cnn": [0.9], "rgb": [0.9]})
    (tmp_path / "runs" / "net" / "rgb-0" / "predictions.npz").write_bytes(b"PK")
    rows = measured(path, "channels")
    assert "cannot be read as predictions" in str(rows["RGB"].problems[0])
    assert rows["RGBA"].accuracy is not None
    assert report(ReportConfig(str(tmp_path), images=False)).exists()


def test_runs_on_other_images_are_not_compared(tmp_path):
    path = record(tmp_path, {"cnn": [0.9], "rgb": [0.9]})
    arrays = dict(np.load(tmp_path / "runs" / "net" / "rgb-0" / "predictions.npz"))
    np.savez(tmp_path / "runs" / "net" / "rgb-0" / "predictions.npz", **(arrays | {"ids": arrays["ids"][::-1]}))
    rows = measured(path, "channels")
    assert rows["RGBA"].difference is None
    assert "evaluated on other images" in str(rows["RGBA"].problems[0])


def test_report_b_s_contradictions_are_computed_from_its_numbers():
    text = "\n".join(notes(read_report("report_b"), {}, None))
    assert "1,136 of 1,250 = 90.88%, not the 94.3%" in text
    assert "takes 25x25 to 13x13, not to the 12x12" in text
    assert "peak of 0.0003 starts at 1.2e-05, not at 0.0003" in text
    assert "94.3% of 1,250 images, has a 95 % interval of 92.9% to 95.5%" in text
    mended = read_report("report_b")
    mended["confusion"]["cnn"][4] = [6, 4, 3, 0, 225]
    mended["recalls"]["cnn"] = [232, 237, 235, 250, 225]
    mended["architecture"]["cnn"]["sides"] = [100, 50, 25, 13]
    mended["one_cycle"]["cnn"]["claimed_initial_lr"] = 1.2e-5
    left = "\n".join(notes(mended, {}, None))
    assert "1,136" not in left
    assert "12x12" not in left
    assert "starts at" not in left


def test_report_a_s_numbers_agree_with_each_other():
    text = "\n".join(notes(read_report("report_a"), {}, None))
    assert "confusion" not in text
    assert "the mean of its" not in text


@pytest.mark.parametrize("name", REPORTS)
def test_reported_values_are_well_formed(name):
    tree = read_report(name)
    rows = {row["row"] for table in tree["tables"] for row in table["rows"]}
    for table in tree["tables"]:
        assert table["reference"] in {"", *(row["row"] for row in table["rows"])}  # "": rows on different images
    for what in ("confusion", "per_class", "recalls"):
        assert set(tree.get(what, {})) <= rows
    for matrix in tree.get("confusion", {}).values():
        assert {sum(row) for row in matrix} == {250}


def test_alpha_is_said_to_carry_nothing_beside_the_measured_difference(tmp_path):
    path = record(tmp_path, {"cnn": [0.9, 0.91, 0.9], "rgb": [0.9, 0.9, 0.91]})
    channels = list(measured(path, "channels").values())
    alpha = {"opaque": 10, "images": 10, "verdict": "alpha is constant 255 in 10 of 10 images"}
    (note,) = [n for n in notes(read_report("report_b"), {"channels": channels}, alpha) if n.startswith("Alpha")]
    assert "cannot come from transparency" in note
    assert f"{100 * channels[1].difference.value:+.1f} points" in note
    assert "Claimed: +2.2" in note


def test_accuracy_stands_over_time_beside_what_others_state(tmp_path):
    record(tmp_path, {"speedrun": [0.9, 0.91], "speedrun_95": [0.95, 0.95]}, name="record")
    made_up(tmp_path / "runs" / "net" / "speedrun-1", 0.91, 1, wall_seconds=180.0)
    text = report(ReportConfig(str(tmp_path), images=False)).read_text()
    (plot,) = re.findall(r'<svg[^>]*aria-label="Validation accuracy over minutes.*?</svg>', text, flags=re.DOTALL)
    others = [entry["label"] for entry in read_report("record")["elsewhere"]]
    for label in ("speedrun", "speedrun to 95 %", *others):
        assert f">{label}<" in plot
    assert "record, mean over views" not in plot  # not run
    assert "Both reports chose" not in text  # no report's table
    made_up(tmp_path / "runs" / "net" / "speedrun_95-0", 1.0, 0)
    assert "over minutes" in report(ReportConfig(str(tmp_path), images=False)).read_text()  # nothing above 100 %
    record(tmp_path / "other", {"cnn": [0.9]})
    assert "Accuracy over time" not in report(ReportConfig(str(tmp_path / "other"), images=False)).read_text()


def test_the_page_is_one_file_without_a_network(tmp_path):
    record(tmp_path, {"cnn": [0.94, 0.93], "rgb": [0.93, 0.94], "lr_1e-4": [0.9, 0.9], "lr_1e-3": [0.92, 0.92]}, "cpu")
    page = report(ReportConfig(str(tmp_path), images=False))
    text = page.read_text()
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', text) == []
    assert "@import" not in text
    first = re.sub(r"<[^>]*>", "", text[text.index("<header>") :]).strip().splitlines()[0]
    assert "made at scale cpu" in first
    assert text.count("<svg") >= 4
    assert "mathdefault" not in text
    assert ">0.0003</text>" in text
    assert "reproduce report_b scale=cpu &#39;rows=[cnn,rgb,lr_1e-4,lr_1e-3]&#39;" in text
    assert "Measured on 1,250 validation images of the classes 0, 1, 2, 3, 4 (data x)" in text
    markdown = (page.parent / "report.md").read_text()
    assert "made at scale **cpu**" in markdown
    with open(page.parent / "tables" / "report_b-cpu-learning_rate.csv", newline="") as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    assert float(rows["learning rate 1e-4"]["reported"]) == 0.912
    assert float(rows["learning rate 1e-4"]["last_epoch"]) == pytest.approx(0.9, abs=0.02)


def test_claims_come_first_each_once(tmp_path):
    record(tmp_path, {"cnn": [0.94, 0.93, 0.94], "rgb": [0.93, 0.94, 0.93], "lr_1e-4": [0.9, 0.9, 0.9]})
    page = report(ReportConfig(str(tmp_path), images=False))
    text = page.read_text()
    assert text.index("Which claimed differences exist?") < text.index('id="report_b-full"')
    panel = text[text.index('id="report_b-full-claims"') : text.index('id="all_rows"')]
    rows = [re.sub(r"<[^>]*>", " ", row) for row in panel.split("<tr>")[2:]]
    assert len(rows) == 11
    (low,) = [row for row in rows if row.split()[:3] == ["learning", "rate", "1e-4"]]
    assert "real" in low
    (high,) = [row for row in rows if row.split()[:3] == ["learning", "rate", "1e-3"]]
    assert "not measured: not run" in high
    (view,) = [row for row in rows if "mirror image" in row]
    assert "+0.3 to +0.5" in view
    assert "Claimed and measured differences" in panel  # the plot
    assert (
        "| learning rate 1e-4 in place of learning rate 3e-4 | \N{MINUS SIGN}3.1 |"
        in (page.parent / "report.md").read_text()
    )


def test_class_names_and_reasons_cannot_put_code_into_the_page(tmp_path):
    path = record(tmp_path, {"cnn": [0.9]})
    tree = json.loads(path.read_text())
    tree["trials"][0] |= {"folders": [], "reason": "<script>alert(1)</script>"}
    path.write_text(json.dumps(tree))
    made_up(tmp_path / "runs" / "net" / "odd", 0.9, 0, data={"hash": "x", "class_names": ["<b>", "&", '"', "'", "e"]})
    text = report(ReportConfig(str(tmp_path), images=False)).read_text()
    assert "<script>" not in text
    assert "<b></td>" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.slow
def test_two_hundred_runs_are_a_page_in_seconds(tmp_path):
    for i in range(200):
        made_up(tmp_path / "runs" / "net" / f"{i:016x}", 0.9, i)
    start = time.monotonic()
    page = report(ReportConfig(str(tmp_path), images=False))
    assert time.monotonic() - start < 30  # 3 s on a free machine; a page of all pairs would take minutes
    assert page.stat().st_size < 3e6


@pytest.mark.parametrize("content", ["{", "[]", '{"report": "report_x", "scale": "full", "trials": []}', "{}"])
def test_a_damaged_record_is_left_out_with_a_warning(content, tmp_path, capsys):
    made_up(tmp_path / "runs" / "net" / "a", 0.9, 0)
    (tmp_path / "reproduce").mkdir()
    (tmp_path / "reproduce" / "report_b-cpu.json").write_text(content)
    assert "net" in report(ReportConfig(str(tmp_path), images=False)).read_text()
    assert "is left out" in capsys.readouterr().err.replace("\n", " ")


def test_other_classes_than_the_report_s_and_odd_names_are_no_trouble(tmp_path):
    path = record(tmp_path, {"cnn": [0.9, 0.9], "rgb": [0.9, 0.9]})
    for seed in range(2):
        folder = tmp_path / "runs" / "net" / f"cnn-{seed}"
        arrays = dict(np.load(folder / "predictions.npz"))
        labels, p = (
            arrays["labels"] % 3,
            arrays["probabilities_last"][:, :3] / arrays["probabilities_last"][:, :3].sum(1, keepdims=True),
        )
        figures = figures_of(p, labels)
        result = read_result(folder)
        result.best = result.last = result.best_tta = result.last_tta = figures
        result.data["class_names"] = ["$\\foo$", "b", "c"]
        result.wall_seconds = None
        write_result(result, {"ids": arrays["ids"], "labels": labels, "probabilities_last": p})
    assert "reported<br>rows true" not in report(ReportConfig(str(tmp_path), images=False)).read_text()
    assert measured(path, "channels")["RGBA"].accuracy is not None


def test_runs_of_one_configuration_are_one_row(settings, tmp_path):
    for seed in (0, 1):
        run(compose([*settings, "trainer.max_epochs=1", f"seed={seed}", f"output_dir={tmp_path}"]))
    run(compose([*settings, "trainer.max_epochs=1", "optimizer.lr=0.1", f"output_dir={tmp_path}"]))
    text = report(ReportConfig(str(tmp_path), images=False)).read_text()
    assert "default, optimizer.lr=0.1" in text
    assert "2 of 2 seeds" in text


def test_no_runs_are_an_error(tmp_path):
    with pytest.raises(UserError, match="there are no runs"):
        report(ReportConfig(str(tmp_path)))


def test_a_page_of_many_classes_shows_the_worst(tmp_path):
    k = 300
    labels = np.arange(2 * k) % k
    answers = np.where(labels % 10 == 3, (labels + 1) % k, labels)
    p = (0.9 * np.eye(k)[answers] + 0.1 / k).astype(np.float32)
    figures = figures_of(p, labels)
    folder = Path(made_up(tmp_path / "runs" / "net" / "a", 0.9, 0))
    result = dataclasses.replace(
        read_result(folder), **dict.fromkeys(("best", "last", "best_tta", "last_tta"), figures)
    )
    result.data["class_names"] = [f"class-{i:03}" for i in range(k)]
    arrays = {"ids": np.array([f"i{n}" for n in range(2 * k)]), "labels": labels, "probabilities": p}
    write_result(result, arrays | {"probabilities_last": p, "probabilities_last_tta": p})
    page = report(ReportConfig(str(tmp_path), images=False)).read_text()
    assert len(page) < 300_000
    assert "The 20 classes with the least recall, of 300" in page
    assert {f"class-{i:03}" for i in range(3, 203, 10)} <= set(re.findall(r"<th>(class-\d+)</th>", page))
    assert page.count("<th>others</th>") == 1
    assert "class-019 and 280 more" in page
    assert len(json.loads((folder / "result.json").read_text())["last"]["confusion"]) == k
