"""The table of metrics: the same as torchmetrics, and there for runs that are older than a metric."""

import csv
import json

import numpy as np
import pytest
import torch
from helpers.made_up_runs import made_up, record
from sklearn import metrics as sklearn_metrics
from torchmetrics.functional import classification as torchmetrics

from deepfake_lit.core import metrics
from deepfake_lit.core.metrics import LOGGED, METRICS, MONITORS, PER_CLASS, Metric, better, confusion
from deepfake_lit.report.page import ReportConfig, report
from deepfake_lit.results.figures import figures_of
from deepfake_lit.results.result import read_result
from deepfake_lit.studies.trials import table


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    p = random.dirichlet(np.ones(4), 300).astype(np.float32)
    return p, random.integers(0, 4, 300)


def test_metrics_are_those_of_torchmetrics(answers):
    p, labels = answers
    found = figures_of(p, labels)
    given = torch.from_numpy(p), torch.from_numpy(labels)
    for name, reference in (
        ("accuracy", torchmetrics.multiclass_accuracy(*given, 4, average="micro")),
        ("f1", torchmetrics.multiclass_f1_score(*given, 4)),
        ("precision_of", torchmetrics.multiclass_precision(*given, 4, average="none")),
        ("recall_of", torchmetrics.multiclass_recall(*given, 4, average="none")),
        ("f1_of", torchmetrics.multiclass_f1_score(*given, 4, average="none")),
        ("calibration_error", torchmetrics.multiclass_calibration_error(*given, 4, n_bins=15)),
    ):
        np.testing.assert_allclose(found[name], reference.numpy(), rtol=1e-6)
    assert found["log_loss"] == pytest.approx(sklearn_metrics.log_loss(labels, p.astype(float)), rel=1e-6)
    assert found["confusion"] == sklearn_metrics.confusion_matrix(labels, p.argmax(1)).tolist()


@pytest.mark.parametrize("name", ["calibration_error", "log_loss"])
def test_what_images_give_has_the_metric_for_its_mean(answers, name):
    p, labels = answers
    assert METRICS[name].of_images(p, labels).mean() == pytest.approx(METRICS[name].compute(p, labels), rel=1e-5)


def test_the_spread_of_the_calibration_error_is_that_of_the_bootstrap():
    random = np.random.default_rng(0)
    p = random.dirichlet(np.full(3, 0.3), 2000).astype(np.float32)
    labels = np.where(random.random(2000) < 0.7, p.argmax(1), random.integers(0, 3, 2000))
    drawn = random.integers(0, 2000, (300, 2000))
    expected = np.std([metrics.calibration_error(p[rows], labels[rows]) for rows in drawn])
    assert metrics.calibration_gaps(p, labels).std() / np.sqrt(2000) == pytest.approx(expected, rel=0.15)


def test_shares_are_exact():
    labels = np.zeros(1250, np.int64)
    p = np.tile(np.array([[0.9, 0.1]], np.float32), (1250, 1))
    p[792:] = [0.1, 0.9]
    assert json.dumps(figures_of(p, labels)["accuracy"]) == "0.6336"


def test_a_class_that_is_not_there_counts_for_nothing(answers):
    """As in torchmetrics: neither true nor answered, it is not part of the mean."""
    p, labels = answers
    wider = np.concatenate([p, np.zeros((300, 1), np.float32)], 1)
    assert METRICS["f1"].compute(wider, labels) == pytest.approx(METRICS["f1"].compute(p, labels))
    assert PER_CLASS["recall_of"].compute(wider, labels)[4] == 0
    assert confusion(wider, labels)[4] == [0] * 5


def test_what_is_monitored_says_which_way_is_better():
    known = {"val/loss": "min", "val/accuracy": "max", "val/f1": "max", "val/calibration_error": "min"}
    assert {name: better(name) for name in known} == known
    assert set(MONITORS) == {"val/loss", *(f"val/{name}" for name in LOGGED)}


def test_a_run_of_before_gets_a_new_metric(tmp_path, monkeypatch):
    """On the page, in its CSV files, in a sweep's table: from the stored predictions."""
    record(tmp_path, {"cnn": [0.9, 0.91], "rgb": [0.92, 0.9]})
    folder = made_up(tmp_path / "runs" / "net" / "swept", 0.9, 0)
    trials = tmp_path / "sweeps" / "multirun-0" / "trials"
    trials.mkdir(parents=True)
    entry = {"number": 0, "overrides": ["seed=0"], "folder": folder, "folders": [folder], "reason": None}
    (trials / "a.json").write_text(json.dumps(entry))

    def sureness(p: np.ndarray, labels: np.ndarray) -> float:
        return float(p.max(1).mean())

    monkeypatch.setitem(metrics.METRICS, "sureness", Metric("mean confidence", sureness, column="sureness"))
    result = read_result(tmp_path / "runs" / "net" / "cnn-0")
    assert result.value("sureness", "last") == pytest.approx(0.84)  # 0.8 + 0.04 on one class
    page = report(ReportConfig(str(tmp_path), images=False))
    assert "mean confidence" in page.read_text()
    with (page.parent / "tables" / "report_b-full-channels.csv").open() as file:
        assert float(next(csv.DictReader(file))["sureness"]) == pytest.approx(0.84)
    assert table(tmp_path / "sweeps" / "multirun-0")[0]["sureness"] == pytest.approx(0.84)


def test_the_worst_classes_come_in_their_own_order():
    counts = np.diag([9, 1, 0, 5, 0]) + np.eye(5, k=1, dtype=int) * 5  # recall 0.64, 0.17, 0, 0.5, and no image
    assert metrics.worst(counts, 5) == [0, 1, 2, 3, 4]
    assert metrics.worst(counts, 3) == [1, 2, 3]
    assert metrics.worst(counts, 4) == [0, 1, 2, 3]


def test_metrics_of_detection_are_those_of_scikit_learn():
    """With ties, since probabilities of baselines are often shares of neighbours."""
    random = np.random.default_rng(3)
    p = random.multinomial(8, np.ones(4) / 4, 500) / 8
    labels = np.where(random.random(500) < 0.4, p.argmax(1), random.integers(0, 4, 500))
    found = figures_of(p, labels)
    for label in range(4):
        own, scores = labels == label, p[:, label]
        fpr, tpr, _ = sklearn_metrics.roc_curve(own, scores, drop_intermediate=False)
        assert found["ap_of"][label] == pytest.approx(sklearn_metrics.average_precision_score(own, scores))
        assert found["auc_of"][label] == pytest.approx(sklearn_metrics.roc_auc_score(own, scores))
        assert found["found_at_1_of"][label] == pytest.approx(tpr[fpr <= 0.01].max())
        assert found["found_at_5_of"][label] == pytest.approx(tpr[fpr <= 0.05].max())
        eer = found["eer_of"][label]
        assert np.interp(eer, fpr, 1 - tpr) == pytest.approx(eer)
    for name in ("ap", "auc", "eer", "found_at_1", "found_at_5"):
        assert found[name] == pytest.approx(np.mean(found[f"{name}_of"]))
    one_hot = np.eye(4)[labels]
    assert found["brier"] == pytest.approx(((p - one_hot) ** 2).sum(1).mean())


def test_a_class_without_images_has_no_metric_of_detection(answers):
    p, labels = answers
    found = figures_of(p, np.where(labels == 3, 0, labels))
    assert (found["auc_of"][3], found["eer_of"][3]) == (None, None)
    assert found["auc"] == pytest.approx(np.mean(found["auc_of"][:3]))
    alone = figures_of(p, np.zeros(300, int))
    assert alone["auc"] is None
    json.dumps(alone, allow_nan=False)


def test_adaptive_bins_see_what_equal_bins_do_not():
    """Nine in ten images are surely right, and hide that the others are half as sure as they should be."""
    random = np.random.default_rng(4)
    honest = random.dirichlet(np.ones(3), 20000)
    labels = (honest.cumsum(1) < random.random((20000, 1))).sum(1)
    assert metrics.adaptive_calibration_error(honest, labels) < 0.01
    sharpened = honest**2 / (honest**2).sum(1, keepdims=True)
    assert metrics.adaptive_calibration_error(sharpened, labels) > 0.04


def test_risk_is_the_share_of_errors_among_the_surest():
    p = np.array([[0.6, 0.4], [0.9, 0.1], [0.3, 0.7], [0.2, 0.8]])
    labels = np.array([1, 0, 1, 0])  # the surest first: right, wrong, right, wrong
    assert metrics.detection.risk_by_coverage(p, labels).tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert METRICS["risk_area"].compute(p, labels) == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_the_page_shows_metrics_of_detection_and_classes_put_together(tmp_path):
    record(tmp_path, {"cnn": [0.9, 0.91], "rgb": [0.92, 0.9]})
    page = report(ReportConfig(str(tmp_path), images=False, groups={"real": [0], "fake": [1, 2, 3, 4]}))
    text = page.with_name("report.md").read_text()
    assert "| one class against the rest | adaptive calibration error, % | Brier score |" in text
    assert "| real against fake | adaptive calibration error, %" in text
    assert "Accuracy among the surest images" in page.read_text()
    assert "real against" not in report(ReportConfig(str(tmp_path), images=False)).read_text()
