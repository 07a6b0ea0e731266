"""What a GPU computes, beside itself and beside the CPU. The weights' averages on one: test_extending.

Bit for bit only with `trainer.deterministic=true`: most of a GPU's kernels add up in any order.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.faults import differences
from helpers.kills import Killed, kill_at

from deepfake_lit.baselines.knn import KNN
from deepfake_lit.baselines.svm import SVM
from deepfake_lit.core.hardware import resolve
from deepfake_lit.prediction.checkpoint import read_checkpoint
from deepfake_lit.prediction.predict import PredictConfig, predict
from deepfake_lit.results.files import read_predictions
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.run import run

pytestmark = [pytest.mark.cuda, pytest.mark.slow]

DETERMINISTIC = ["trainer.deterministic=true", "augment.cutmix_p=0.5", "augment.rotation=10"]


@pytest.fixture
def train(settings, cuda, tmp_path):
    """Train on the GPU into a folder of that name."""

    def trained(name: str, *overrides: str):
        return run(
            compose([*settings, *overrides, f"trainer.accelerator={cuda}", f"output_dir={tmp_path / name}"])
        ).main

    return trained


def losses(result) -> list[float]:
    return [row["train/loss"] for row in result.history]


@pytest.mark.parametrize("every_step", [True, False])
@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=sgd", "optimizer.momentum=0.9", "scheduler=onecycle"],
        ["trainer.ema=0.9", "model=residual_cnn", "data.on_device=false"],
        ["trainer.swa=0.5", "optimizer=muon", "trainer.precision=fp32"],
    ],
)
def test_a_killed_deterministic_run_ends_as_one_that_was_not(overrides, every_step, train, monkeypatch):
    overrides = [*DETERMINISTIC, *overrides, "trainer.max_epochs=4", "trainer.checkpoint_minutes=0"]
    whole = train("whole", *overrides)
    with monkeypatch.context() as patch:
        kill_at(patch, 2, 1, every_step)
        with pytest.raises(Killed):
            train("killed", *overrides)
    assert differences(Path(train("killed", *overrides).folder), Path(whole.folder)) == []


def test_images_kept_on_the_gpu_are_those_that_are_sent_there(train):
    """Kept there, from pinned memory, and from pinned memory through worker processes."""
    ways = (["data.on_device=true"], ["data.on_device=false"], ["data.on_device=false", "data.workers=2"])
    kept, *sent = [Path(train(str(i), *DETERMINISTIC, *way).folder) for i, way in enumerate(ways)]
    for other in sent:
        assert differences(other, kept) == []


def test_mixed_precision_learns_what_fp32_learns(train):
    fp32 = train("fp32", "trainer.precision=fp32", "trainer.max_epochs=4")
    for precision in ("bf16", "fp16"):
        mixed = train(precision, f"trainer.precision={precision}", "trainer.max_epochs=4")
        assert mixed.hardware["precision"] == precision
        assert losses(mixed) == pytest.approx(losses(fp32), rel=0.05)  # fp16 leaves steps out until its scale fits
        weights = read_checkpoint(Path(mixed.folder) / "last.ckpt")["state_dict"]
        assert {w.dtype for w in weights.values() if w.is_floating_point()} == {torch.float32}


def test_a_run_learns_what_the_cpu_learns(settings, train, tmp_path):
    overrides = ["trainer.precision=fp32", "trainer.max_epochs=4"]
    there = train("there", *overrides)
    here = run(compose([*settings, *overrides, "trainer.accelerator=cpu", f"output_dir={tmp_path / 'here'}"])).main
    assert (there.hardware["device"], here.hardware["device"]) == (resolve("cuda").device, "cpu")
    assert there.fingerprint == here.fingerprint
    assert losses(there) == pytest.approx(losses(here), rel=0.03)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=residual_cnn", "trainer.ema=0.5", "optimizer=muon"],
        ["trainer.precision=fp32", "trainer.gradient_clip=0.5"],
        ["trainer.precision=fp16", "optimizer=sgd"],
    ],
)
def test_a_compiled_network_learns_what_the_plain_one_learns(overrides, train):
    """Batches of 30, so that each epoch ends with a smaller one, which the plain network trains on."""
    overrides = [*overrides, "trainer.max_epochs=4", "data.batch_size=30"]
    plain, compiled = (train(how, *overrides, f"trainer.compile={how}") for how in ("off", "on"))
    assert (compiled.hardware["compiled"], plain.hardware["compiled"]) == (True, False)
    assert losses(compiled) == pytest.approx(losses(plain), rel=0.02)
    assert [row["val/loss"] for row in compiled.history] == pytest.approx(
        [row["val/loss"] for row in plain.history], rel=0.05
    )


def test_a_compiled_run_that_is_killed_goes_on(train, monkeypatch):
    overrides = ["trainer.compile=on", "trainer.max_epochs=4", "trainer.checkpoint_minutes=0"]
    whole = train("whole", *overrides)
    with monkeypatch.context() as patch:
        kill_at(patch, 2, 1, True)
        with pytest.raises(Killed):
            train("killed", *overrides)
    assert losses(train("killed", *overrides)) == pytest.approx(losses(whole), rel=0.02)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.003), ("bf16", 0.03)])
def test_predictions_are_the_cpu_s(precision, tolerance, samples, train, cuda, tmp_path):
    result = train("run", f"trainer.precision={precision}", "trainer.max_epochs=4")
    checkpoint = str(Path(result.folder) / "best.ckpt")

    def answers(device: str, precision: str) -> dict[str, np.ndarray]:
        where = {"images": str(samples / "validation"), "output": str(tmp_path / device)}
        found = predict([checkpoint], PredictConfig(**where, accelerator=device, precision=precision))
        return dict(zip(found.ids, found.probabilities, strict=True))

    there, here = answers(cuda, precision), answers("cpu", "fp32")
    stored = read_predictions(Path(result.folder) / "predictions.npz")
    assert sorted(there) == sorted(here) == sorted(stored["ids"])
    for name, trained in zip(stored["ids"], stored["probabilities_tta"], strict=True):
        np.testing.assert_allclose(there[name], here[name], atol=tolerance)
        np.testing.assert_allclose(there[name], trained, atol=tolerance)


@pytest.mark.parametrize("estimator", [KNN, SVM])
def test_a_baseline_s_answers_are_the_cpu_s(estimator, cuda):
    random = np.random.default_rng(0)
    y, y_new = random.integers(0, 5, 1500), random.integers(0, 5, 500)
    means = random.normal(128, 4, (5, 300))
    X, X_new = (np.clip(means[labels] + random.normal(0, 30, (len(labels), 300)), 0, 255) for labels in (y, y_new))
    if estimator is KNN:
        X, X_new = X.astype(np.uint8), X_new.astype(np.uint8)
    else:
        X, X_new = (((rows - 128) / 30).astype(np.float32) for rows in (X, X_new))
    there, here = (estimator(device=device).fit(X, y) for device in (cuda, "cpu"))
    np.testing.assert_array_equal(there.predict(X_new), here.predict(X_new))
    np.testing.assert_allclose(there.predict_proba(X_new), here.predict_proba(X_new), atol=1e-3)
