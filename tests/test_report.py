"""Tables, verdicts and the page, over made-up results and real runs of seconds."""

import csv
import dataclasses
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from deepfake_lit.checkpoint import load_trained
from deepfake_lit.cli import compose, main
from deepfake_lit.compare import Mean, SeedNoise, holm, mean_over, pooled_noise
from deepfake_lit.errors import UserError
from deepfake_lit.metrics import evaluate
from deepfake_lit.report.images import grad_cam
from deepfake_lit.report.measure import measure, right
from deepfake_lit.report.notes import notes
from deepfake_lit.report.page import ReportConfig, report
from deepfake_lit.report.rows import REPORTED, read_reported
from deepfake_lit.report.sections import section_of_report, sections
from deepfake_lit.report.verdict import judge
from deepfake_lit.results import read_predictions, write_result
from deepfake_lit.train import run

REPORTS = sorted(path.stem for path in REPORTED.glob("*.yaml"))
N = 1250


def spread(value, half, components=(1e-5, 0, 0.1), images=1250):
    """A mean over three seeds with an interval of that half width, and one of a single pair of twice that."""
    ends = [(value - width, value + width) for width in (half, 2 * half)]
    return Mean(value, ends[0], 0.5, 3, images, components, ends[1])


LABELS = np.arange(N) % 5
NOISE = "not distinguishable from seed noise"
PAIR = "differs in this one pair of trainings"


def made_up(folder: Path, accuracy: float, seed: int, name: str = "net", **changes) -> str:
    """A finished run that is right on that share of the images."""
    random = np.random.default_rng(int(accuracy * 1e6) + seed)
    answers = np.where(random.random(N) < accuracy, LABELS, (LABELS + 1 + random.integers(0, 4, N)) % 5)
    p = (0.8 * np.eye(5)[answers] + 0.04).astype(np.float32)
    figures = evaluate(torch.from_numpy(p), torch.from_numpy(LABELS))
    history = [{"epoch": i, "val/accuracy": accuracy * (i + 1) / 3, "seconds": 1.0} for i in range(3)]
    result = {
        "name": name,
        "fingerprint": folder.name,
        "config": {"data": {"root": "gone"}, "model": {"kind": "deepfake_net"}},
        "seed": seed,
        "data": {"hash": "x", "class_names": list("01234")},
        "code": {"commit": "c" * 40, "version": "0", "modified": False},
        "hardware": {"name": "CPU", "precision": "fp32"},
        "wall_seconds": 60.0,
        "images_per_second": 100.0,
        "selected_on": "val/accuracy",
        "history": history,
        **dict.fromkeys(("best", "last", "best_tta", "last_tta"), figures),
        **changes,
    }
    arrays = {"ids": np.array([f"i{n}" for n in range(N)]), "labels": LABELS, "probabilities": p}
    write_result(folder, result, arrays | {"probabilities_last": p, "probabilities_last_tta": p})
    return str(folder)


def record(tmp_path: Path, accuracies: dict[str, list[float]], scale: str = "full", name: str = "report_b") -> Path:
    """What `reproduce NAME` would have kept of runs with these accuracies, a seed each."""
    trials = []
    for row, values in accuracies.items():
        for seed, value in enumerate(values):
            folder = made_up(tmp_path / "runs" / "net" / f"{row}-{seed}", value, seed)
            trials.append({"row": row, "seed": seed, "overrides": [f"x={row}"], "folders": [folder], "reason": None})
    path = tmp_path / "reproduce" / f"{name}-{scale}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"report": name, "scale": scale, "trials": trials}))
    return path


def measured(path: Path, table: str):
    tree = json.loads(path.read_text())
    section = section_of_report(path.parent.parent, tree, read_reported("report_b"))
    return {m.row.label: m for m in measure(next(t for t in section.tables if t.key == table), section.scale)}


def test_a_real_difference_is_called_real_and_its_figures_are_those_of_the_predictions(tmp_path):
    rows = measured(record(tmp_path, {"cnn": [0.94, 0.945, 0.94], "lr_1e-4": [0.90, 0.905, 0.90]}), "learning_rate")
    low, reference = rows["learning rate 1e-4"], rows["learning rate 3e-4"]
    assert low.difference.verdict == "real"
    shares = []
    for row in ("cnn", "lr_1e-4"):
        arrays = [np.load(tmp_path / "runs" / "net" / f"{row}-{seed}" / "predictions.npz") for seed in range(3)]
        shares.append(np.array([a["probabilities"].argmax(1) == a["labels"] for a in arrays]))
    assert reference.accuracy.value == pytest.approx(shares[0].mean())
    expected = mean_over(shares[1].astype(int) - shares[0].astype(int))
    assert (low.difference.value, low.difference.interval) == (expected.value, expected.interval)
    assert low.difference.claimed == pytest.approx(0.912 - 0.943)
    assert reference.difference is None
    assert rows["learning rate 1e-3"].problems == ["not run"]


def test_p_is_corrected_for_the_comparisons_of_the_table(tmp_path):
    path = record(tmp_path, {"cnn": [0.9] * 3, "lr_1e-4": [0.89] * 3, "lr_1e-3": [0.895] * 3})
    both = measured(path, "learning_rate")
    alone = measured(record(tmp_path, {"cnn": [0.9] * 3, "lr_1e-4": [0.89] * 3}), "learning_rate")
    assert both["learning rate 1e-4"].difference.p >= alone["learning rate 1e-4"].difference.p


@pytest.mark.parametrize(
    ("mean", "p", "claimed", "deterministic", "verdict", "words"),
    [
        (spread(0.03, 0.02), 0.01, 0.02, False, "real", "3 seeds"),
        (spread(0.03, 0.02), 0.01, 0.09, False, "real, smaller than claimed", "3 seeds"),
        (spread(0.09, 0.02), 0.01, 0.02, False, "real, larger than claimed", "3 seeds"),
        (spread(-0.03, 0.02), 0.01, 0.02, False, "contradicted", "the other way round"),
        (spread(0.0, 0.01), 0.9, 0.022, False, "contradicted", "3 seeds"),
        (spread(0.0, 0.01), 0.9, 0.012, False, NOISE, "would"),  # outside of the mean's interval, not of one pair's
        (spread(0.01, 0.03), 0.06, 0.028, False, NOISE, "would"),
        (spread(0.01, 0.03, (1e-4, 0.01, 0.1)), 0.4, 0.02, False, NOISE, "more would be needed"),
        (spread(0.01, 0.03, (0, 1.0, 0.1), 50), 0.4, 0.02, False, NOISE, "more images"),
        (spread(0.01, 0.03, (0, 0, 0.001)), 0.4, 0.2, False, "contradicted", "3 seeds"),
        (Mean(0.01, (-0.02, 0.04), 0.4, 1, N), 0.4, 0.02, False, "not distinguishable with 1 seed", "at least 2 more"),
        (Mean(0.0, (-0.01, 0.01), 0.4, 1, N), 0.4, 0.2, False, "not distinguishable with 1 seed", "at least 2 more"),
        (Mean(0.03, (0.01, 0.05), 0.01, 1, N), 0.01, None, False, "differs in this one pair", "seed noise is unknown"),
        (Mean(0.03, (0, 0.05), 0.01, 1, N), 0.01, 0.02, False, PAIR + ", in the claimed", "2 more"),
        (Mean(0.03, (0, 0.05), 0.01, 1, N), 0.01, -0.02, False, PAIR + ", against", "2 more"),
        (Mean(0.03, (0.01, 0.05), 0.01, 1, N), 0.01, 0.03, True, "real", "no randomness"),
        (Mean(0.01, (-0.02, 0.04), 0.4, 1, N), 0.4, None, True, "not distinguishable from chance", "too few"),
    ],
)  # fmt: skip
def test_verdicts(mean, p, claimed, deterministic, verdict, words):
    word, reason = judge(mean, p, claimed and (claimed, claimed), deterministic)
    assert word.startswith(verdict)
    assert words in reason


def test_an_honest_report_is_seldom_contradicted():
    """Its figure is of one pair of trainings of the same recipe on the same images, not of a mean."""
    random, contradicted = np.random.default_rng(0), 0
    hard = random.normal(2.2, 1, N)

    def trained(seeds: int) -> np.ndarray:
        score = hard + random.normal(0, 0.12, (seeds, 1)) + random.normal(0, 0.5, (seeds, N))
        return (score > 0).astype(int)

    for _ in range(200):
        (claim,) = trained(1).mean(1) - trained(1).mean(1)
        mean = mean_over(trained(3) - trained(3))
        contradicted += judge(mean, mean.p, (claim, claim), False)[0] == "contradicted"
    assert contradicted < 20


def test_scales_have_a_say_in_verdicts(tmp_path):
    accuracies = {"cnn": [0.9] * 3, "lr_1e-4": [0.95] * 3}  # the report: 3.1 points less, not 5 more
    assert (
        measured(record(tmp_path, accuracies), "learning_rate")["learning rate 1e-4"].difference.verdict
        == "contradicted"
    )
    found = [
        measured(record(tmp_path, accuracies, scale), "learning_rate")["learning rate 1e-4"]
        for scale in ("cpu", "smoke")
    ]
    assert [m.difference.verdict for m in found] == ["contradicted, at scale cpu", "none at this scale"]


def test_what_is_missing_failed_or_mixed_is_seen(tmp_path):
    path = record(tmp_path, {"cnn": [0.9, 0.9, 0.9], "rgb": [0.9, 0.9]})
    tree = json.loads(path.read_text())
    made_up(tmp_path / "runs" / "net" / "cnn-1", 0.9, 1, code={"commit": "d" * 40, "version": "0", "modified": True})
    made_up(tmp_path / "runs" / "net" / "cnn-2", 0.9, 2, hardware={"name": "GPU", "precision": "bf16"})
    (tmp_path / "runs" / "net" / "rgb-1" / "result.json").unlink()
    tree["trials"].append({"row": "rgb", "seed": 2, "overrides": [], "folders": [], "reason": "ValueError: no"})
    path.write_text(json.dumps(tree))
    rows = measured(path, "channels")
    assert rows["RGBA"].problems == [
        "runs of several machines",
        "runs of several commits",
        "the difference is over the shared seeds 0 alone",
        "other hardware than the reference row",
        "other commits than the reference row",
    ]
    assert rows["RGBA"].commits == ["ccccccc", "ddddddd, modified"]
    assert rows["RGB"].problems == ["seed 1 interrupted", "seed 2 failed: ValueError: no"]
    page = report(ReportConfig(str(tmp_path), images=False)).read_text()
    for text in ("seed 2 failed: ValueError: no", "runs of several commits", "1 of 3 seeds", "3 of 3 seeds"):
        assert text in page


def test_damaged_predictions_are_named_and_the_rest_is_shown(tmp_path):
    path = record(tmp_path, {"cnn": [0.9], "rgb": [0.9]})
    (tmp_path / "runs" / "net" / "rgb-0" / "predictions.npz").write_bytes(b"PK")
    rows = measured(path, "channels")
    assert "cannot be read as predictions" in rows["RGB"].problems[0]
    assert rows["RGBA"].accuracy is not None
    assert report(ReportConfig(str(tmp_path), images=False)).exists()


def test_runs_on_other_images_are_not_compared(tmp_path):
    path = record(tmp_path, {"cnn": [0.9], "rgb": [0.9]})
    arrays = dict(np.load(tmp_path / "runs" / "net" / "rgb-0" / "predictions.npz"))
    np.savez(tmp_path / "runs" / "net" / "rgb-0" / "predictions.npz", **(arrays | {"ids": arrays["ids"][::-1]}))
    rows = measured(path, "channels")
    assert rows["RGBA"].difference is None
    assert "evaluated on other images" in rows["RGBA"].problems[0]


def test_report_b_s_contradictions_are_computed_from_its_numbers():
    text = "\n".join(notes(read_reported("report_b"), {}, None))
    assert "1,136 of 1,250 = 90.88%, not the 94.3%" in text
    assert "takes 25x25 to 13x13, not to the 12x12" in text
    assert "peak of 0.0003 starts at 1.2e-05, not at 0.0003" in text
    assert "94.3% of 1,250 images, has a 95 % interval of 92.9% to 95.5%" in text
    mended = read_reported("report_b")
    mended["confusion"]["cnn"][4] = [6, 4, 3, 0, 225]
    mended["recalls"]["cnn"] = [232, 237, 235, 250, 225]
    mended["architecture"]["cnn"]["sides"] = [100, 50, 25, 13]
    mended["one_cycle"]["cnn"]["claimed_initial_lr"] = 1.2e-5
    left = "\n".join(notes(mended, {}, None))
    assert "1,136" not in left
    assert "12x12" not in left
    assert "starts at" not in left


def test_report_a_s_numbers_agree_with_each_other():
    text = "\n".join(notes(read_reported("report_a"), {}, None))
    assert "confusion" not in text
    assert "the mean of its" not in text


@pytest.mark.parametrize("name", REPORTS)
def test_reported_values_are_well_formed(name):
    tree = read_reported(name)
    rows = {row["row"] for table in tree["tables"] for row in table["rows"]}
    for table in tree["tables"]:
        assert table["reference"] in {row["row"] for row in table["rows"]}
    for what in ("confusion", "per_class", "recalls"):
        assert set(tree.get(what, {})) <= rows
    for matrix in tree.get("confusion", {}).values():
        assert {sum(row) for row in matrix} == {250}


def test_alpha_is_said_to_carry_nothing_beside_the_measured_difference(tmp_path):
    path = record(tmp_path, {"cnn": [0.9, 0.91, 0.9], "rgb": [0.9, 0.9, 0.91]})
    channels = list(measured(path, "channels").values())
    alpha = {"opaque": 10, "images": 10, "verdict": "alpha is constant 255 in 10 of 10 images"}
    (note,) = [n for n in notes(read_reported("report_b"), {"channels": channels}, alpha) if n.startswith("Alpha")]
    assert "cannot come from transparency" in note
    assert f"{100 * channels[1].difference.value:+.1f} points" in note
    assert "Claimed: +2.2" in note


def test_accuracy_stands_over_time_beside_what_others_state(tmp_path):
    record(tmp_path, {"speedrun": [0.9, 0.91], "speedrun_95": [0.95, 0.95]}, name="record")
    made_up(tmp_path / "runs" / "net" / "speedrun-1", 0.91, 1, wall_seconds=180.0)
    text = report(ReportConfig(str(tmp_path), images=False)).read_text()
    (plot,) = re.findall(r'<svg[^>]*aria-label="Validation accuracy over minutes.*?</svg>', text, flags=re.DOTALL)
    others = [entry["label"] for entry in read_reported("record")["elsewhere"]]
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
    assert text.index("Which claimed differences exist?") < text.index('<h2 id="report_b-full">')
    panel = text[text.index('id="report_b-full-claims"') : text.index('<h2 id="report_b-full">')]
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
        "| learning rate 1e-4, from learning rate 3e-4 | \N{MINUS SIGN}3.1 |" in (page.parent / "report.md").read_text()
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
        figures = evaluate(torch.from_numpy(p), torch.from_numpy(labels))
        result = json.loads((folder / "result.json").read_text())
        result |= dict.fromkeys(("best", "last", "best_tta", "last_tta"), figures)
        result["data"]["class_names"] = ["$\\foo$", "b", "c"]
        del result["wall_seconds"]
        write_result(folder, result, {"ids": arrays["ids"], "labels": labels, "probabilities_last": p})
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


@pytest.mark.parametrize(("rows", "seeds"), [(4, 2), (2, 2), (4, 3)])
def test_the_rows_of_a_sweep_share_the_noise_between_seeds(tmp_path, rows, seeds):
    trials = [
        ([f"x={row}", f"seed={seed}"], [made_up(tmp_path / "runs" / f"{row}" / f"{seed}", 0.9 - 0.02 * row, seed)])
        for row in range(rows)
        for seed in range(seeds)
    ]
    text = sweep_of(tmp_path, trials)
    assert ("one and the same in 4 rows" in text) is (rows == 4)
    (section,) = sections(tmp_path)
    measured = measure(section.tables[0])
    assert {m.accuracy.rows for m in measured} == {4 if rows == 4 else 1}
    if rows < 4:
        return
    answers = [np.stack([right(run, "last") for run in m.row.done]).astype(int) for m in measured]
    noise, _ = pooled_noise(answers)
    assert measured[1].accuracy == mean_over(answers[1], noise)
    both = SeedNoise(2 * noise.variance, noise.freedom)
    p = [mean_over(other - answers[0], both).p for other in answers[1:]]
    assert [m.difference.p for m in measured[1:]] == holm(p)
    (alone,) = [m for m in measure(dataclasses.replace(section.tables[0], reference="")) if m.row is measured[1].row]
    assert alone.accuracy == mean_over(answers[1])  # rows that nobody asked for together


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
