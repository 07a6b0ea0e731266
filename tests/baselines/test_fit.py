"""Classical baselines as runs: alone, beside a network, saved, and used again."""

import json
from pathlib import Path

import numpy as np
import pytest
import skops.io
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from deepfake_lit.baselines.build import build_pipeline
from deepfake_lit.baselines.fit import Baselines, variants
from deepfake_lit.baselines.saved import load_baseline
from deepfake_lit.cli.main import COMMANDS, main
from deepfake_lit.core.errors import UserError
from deepfake_lit.data.images import open_data
from deepfake_lit.results.files import read_predictions
from deepfake_lit.results.result import read_result
from deepfake_lit.settings.compose import compose, config_dir
from deepfake_lit.settings.identity import fingerprint
from deepfake_lit.settings.schema import BaselineConfig
from deepfake_lit.training.run import run

pytestmark = pytest.mark.slow

ALL = sorted(path.stem for path in (config_dir() / "baseline").glob("*.yaml"))
NETWORK = ["model=deepfake_net", "model.width=0.1", "trainer.max_epochs=1", "trainer.progress_bar=false"]


def alone(samples: Path, output: Path, *overrides: str) -> list[dict]:
    return run(compose(["model=none", f"data.root={samples}", f"output_dir={output}", *overrides])).baselines


def small(name: str) -> list[str]:
    """What makes a baseline fit 32x32 images and 100 of them."""
    return {
        "pca_knn": ["baselines.pca_knn.steps.PCA.n_components=20"],
        "random_forest": ["baselines.random_forest.steps.RandomForestClassifier.n_estimators=10"],
        "logistic_regression": ["+baselines.logistic_regression.features.hog.cell=8"],
    }.get(name, [])


@pytest.mark.parametrize("name", ALL)
def test_every_baseline_leaves_a_result_like_a_network(samples, tmp_path, name):
    results = alone(samples, tmp_path, f"baseline={name}", *small(name))
    for result in results:
        folder = Path(result.folder)
        assert folder.parent == tmp_path / "runs" / name
        stored = read_result(folder)
        assert stored == result
        arrays = read_predictions(folder / "predictions.npz")
        assert arrays["probabilities"].shape == (50, 5)
        np.testing.assert_allclose(arrays["probabilities"].sum(1), 1, atol=1e-5)
        right = (arrays["probabilities"].argmax(1) == arrays["labels"]).mean()
        assert right == pytest.approx(stored.best["accuracy"]) == pytest.approx(stored.last["accuracy"])
    model = Path(results[-1].folder) / "model.skops"
    assert model.exists() == compose(["model=none", f"baseline={name}", f"data.root={samples}"]).baselines[name].save
    if model.exists():  # the file predicts what the run predicted
        data = open_data(compose([f"data.root={samples}"]).data, tmp_path / "cache")
        split = data.splits["validation"]
        pixels = torch.from_numpy(split.pixels[split.rows])
        again = load_baseline(model).probabilities(pixels, None, ["identity"], None)[0]
        np.testing.assert_allclose(again.numpy(), arrays["probabilities"], atol=1e-5)


def test_every_k_comes_from_one_search_and_is_scikit_learns(samples, tmp_path, monkeypatch):
    from deepfake_lit.baselines.knn import KNN

    searches = []
    search = KNN.kneighbors
    monkeypatch.setattr(KNN, "kneighbors", lambda *a: searches.append(a) or search(*a))
    results = alone(samples, tmp_path, "baseline=knn")
    assert len(searches) == 1
    assert len({r.fingerprint for r in results}) == 5
    data = open_data(compose([f"data.root={samples}"]).data, tmp_path / "cache")
    train, validation = data.splits["train"], data.splits["validation"]
    X, Q = (split.pixels[split.rows].reshape(len(split), -1) / 255 for split in (train, validation))
    for k, result in zip((3, 5, 7, 9, 11), results, strict=True):
        reference = KNeighborsClassifier(k, algorithm="brute").fit(X, train.labels)
        found = read_predictions(Path(result.folder) / "predictions.npz")["probabilities"]
        np.testing.assert_allclose(found, reference.predict_proba(Q), atol=1e-6)
        assert result.config["baseline"]["steps"] == [["KNN", {"n_neighbors": k}]]
    one = alone(samples, tmp_path, "baseline=knn", "baselines.knn.steps.KNN.n_neighbors=5")
    assert [r.fingerprint for r in one] == [results[1].fingerprint]
    assert len(searches) == 1  # that run was finished before


def test_a_baseline_beside_a_network_is_the_same_run_as_alone(samples, tmp_path):
    first, *_ = alone(samples, tmp_path, "baseline=histogram_svm")
    settings = [*NETWORK, f"data.root={samples}", f"output_dir={tmp_path}"]
    beside = run(compose([*settings, "baseline=[histogram_svm,knn]"]))
    assert [r.name for r in beside.every] == ["histogram_svm", *["knn"] * 5, "default"]
    assert beside.baselines[0] == first
    # baselines do not make another run of the network, and one that is finished can be given more of them
    again = run(compose([*settings, "baseline=pca_knn", *small("pca_knn")]))
    assert [r.name for r in again.every] == ["pca_knn", "default"]
    assert again.network == beside.network


def test_a_baseline_is_fitted_when_the_fit_starts(samples, tmp_path):
    cfg = compose([*NETWORK, f"data.root={samples}", f"output_dir={tmp_path}", "baseline=histogram_svm"])
    data = open_data(cfg.data, tmp_path / "cache")
    baselines = Baselines(cfg)

    class Trainer:
        is_global_zero = True
        strategy = type("S", (), {"barrier": staticmethod(lambda name: None)})
        datamodule = type("D", (), {"data": data})

    baselines.on_fit_start(Trainer, None)
    assert [r.name for r in baselines.results] == ["histogram_svm"]


def test_identity_of_a_baseline(samples, tmp_path):
    def identity(*overrides):
        cfg = compose(["model=none", f"data.root={samples}", *overrides])
        (baseline,) = cfg.baselines.values()
        return Baselines(cfg)._identity(baseline)

    svm = identity("baseline=svm")
    assert identity("baseline=svm", "seed=3", "baselines.svm.memory_gib=2", "data.batch_size=64") == svm
    assert identity("baseline=svm", "baselines.svm.steps.SVM.C=2") != svm
    assert identity("baseline=svm", "data.channels=gray") != svm
    assert identity("baseline=random_forest") != identity("baseline=random_forest", "seed=3")
    identity_of = Baselines(compose(["model=none", "baseline=svm", f"data.root={samples}"]))._identity
    steps, features = ["Standardise", "PCA"], ["pixels", "hog"]
    for one, other in (  # the order counts, of transformers and of columns
        (BaselineConfig({"pixels": {}}, dict.fromkeys([*order, "KNN"])) for order in (steps, steps[::-1])),
        (BaselineConfig(dict.fromkeys(order), {"KNN": {}}) for order in (features, features[::-1])),
    ):
        assert identity_of(one) != identity_of(other)
    plain = compose([*NETWORK, f"data.root={samples}"])
    assert fingerprint(plain, "h") == fingerprint(compose([*NETWORK, f"data.root={samples}", "baseline=svm"]), "h")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["baseline=[]"], "model=none trains no network; name a baseline"),
        (["baseline=svm", "+baselines.svm.steps.SVM.c=3"], "SVM has no parameter 'c'; it has C, class_weight"),
        (["baseline=svm", "+baselines.svm.features.hogg={}"], "there is no feature 'hogg'; did you mean hog"),
        (["baseline=svm", "+baselines.svm.steps.SVC={}"], "SVM transforms nothing"),
        (["+baselines.x={features:{pixels:{}},steps:{LinearSVC:{}}}"], "LinearSVC gives no probabilities"),
        (["+baselines.x={features:{pixels:{}},steps:{KNNN:{}}}"], "did you mean KNN"),
        (["+baselines.x={features:{pixels:{}}}"], "at least one step"),
        (["baseline=pca_knn", "baselines.pca_knn.steps.PCA.n_components=-1"], "n_components"),
        (["baseline=knn", "baselines.knn.steps.KNN.n_neighbors=[3,0]"], "whole numbers above 0"),
        (["baseline=svm", "baselines.svm.memory=3"], "memory"),
    ],
)
def test_mistakes_are_one_line_before_any_data_is_read(tmp_path, capsys, overrides, message):
    command = ["train", "model=none", f"data.root={tmp_path / 'nothing here'}", *overrides]
    with pytest.raises(SystemExit) as exit:
        main(command)
    assert exit.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_an_estimator_inside_another_gets_device_memory_and_seed():
    steps = {"BaggingClassifier": {"estimator": {"SVM": {"C": 3.0}}, "n_estimators": 3}}
    pipeline = build_pipeline(steps, 2**40 + 7, "cpu", 3.0)
    assert pipeline[-1].random_state == 7
    assert pipeline[-1].estimator.get_params() == {
        "C": 3.0, "class_weight": None, "device": "cpu", "gamma": "scale", "memory_gib": 3.0,
    }  # fmt: skip
    assert variants(BaselineConfig(steps=steps)) == [BaselineConfig(steps=steps)]


def test_predict_and_evaluate_take_baselines_and_networks_together(samples, tmp_path, capsys):
    svm, *_ = alone(samples, tmp_path, "baseline=residual_svm")
    network = run(compose([*NETWORK, f"data.root={samples}", f"output_dir={tmp_path}"])).main
    members = [f"{svm.folder}/model.skops", f"{network.folder}/best.ckpt"]
    for files in (members[:1], members, members[::-1]):
        COMMANDS["evaluate"]([*files, f"data.root={samples}", f"output={tmp_path}/evaluation"])
        report = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
        if len(files) == 1:
            for key in ("confusion", "accuracy", "log_loss"):  # the last by products of other shapes
                np.testing.assert_allclose(report["plain"][key], svm.best[key], rtol=1e-6)
    COMMANDS["predict"]([*members, f"images={samples}", f"output={tmp_path}/predictions"])
    assert len((tmp_path / "predictions" / "submission.csv").read_text().splitlines()) == 11


def test_a_file_that_is_no_baseline_is_refused(tmp_path):
    def written(name, content):
        path = tmp_path / f"{name}.skops"
        path.write_bytes(content)
        return path

    forest = RandomForestClassifier(2).fit(np.eye(4), [0, 1, 0, 1])
    for path, message in (
        (tmp_path / "absent.skops", "there is no such baseline"),
        (written("empty", b""), "not a readable baseline"),
        (written("text", b"hello"), "not a readable baseline"),
        (written("foreign", skops.io.dumps({"a": 1})), "not a readable baseline"),
        (written("tree", skops.io.dumps({"pipeline": Pipeline([("f", forest)])})), "holds more than data"),
        (written("code", skops.io.dumps({"pipeline": Path.unlink})), "holds more than data"),
    ):
        with pytest.raises(UserError, match=message):
            load_baseline(path)


def test_a_failure_is_recorded(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("deepfake_lit.baselines.fit.extract", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        alone(samples, tmp_path, "baseline=histogram_svm")
    (report,) = (tmp_path / "runs" / "histogram_svm").glob("*/failure.json")
    assert "ZeroDivisionError" in report.read_text()
    monkeypatch.undo()
    alone(samples, tmp_path, "baseline=histogram_svm")
    assert not report.exists()
