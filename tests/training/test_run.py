"""Whole runs on made-up images: what they leave, that they resume, that schedules step as they should."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from deepfake_lit.core.errors import UserError
from deepfake_lit.prediction.checkpoint import read_checkpoint
from deepfake_lit.prediction.trained import load_trained
from deepfake_lit.results.figures import figures_of
from deepfake_lit.results.files import read_predictions
from deepfake_lit.results.result import read_result
from deepfake_lit.results.statistics import wilson_interval
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.kinds import CosineConfig, OneCycleConfig, PlateauConfig, SGDConfig
from deepfake_lit.training.classifier import sums_of
from deepfake_lit.training.optimizers import build_optimizer, build_scheduler
from deepfake_lit.training.run import run


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    output = tmp_path_factory.mktemp("finished")
    cfg = compose([*settings, f"output_dir={output}", "augment.cutmix_p=0.5", "loss.label_smoothing=0.1"])
    return cfg, run(cfg).main


def _folder(result) -> Path:
    return Path(result.folder)


def weights(checkpoint):
    return {k: v for k, v in read_checkpoint(checkpoint)["state_dict"].items() if k.startswith("net.")}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_what_a_run_leaves(finished):
    _, result = finished
    folder = _folder(result)
    names = {p.name for p in folder.iterdir()} - {".lock"}
    files = {"result.json", "predictions.npz", "history.csv", "run.json", "tensorboard"}
    assert names == files | {"best.ckpt", "last.ckpt"}
    stored = json.loads((folder / "result.json").read_text())
    assert read_result(folder) == result
    assert {"config", "fingerprint", "code", "versions", "hardware", "seed", "data", "wall_seconds"} <= stored.keys()
    assert stored["hardware"]["precision"] in ("fp32", "bf16")
    assert list(folder.glob("tensorboard/events*"))
    rows = (folder / "history.csv").read_text().splitlines()
    assert len(rows) == 3
    assert {"train/loss", "val/accuracy", "val/recall_4", "lr", "images_per_second"} <= set(rows[0].split(","))


def test_training_figures_are_means_over_the_images_of_an_epoch(settings, tmp_path, monkeypatch):
    """Also where the last batch is smaller: 100 images in batches of 30."""
    seen = []
    monkeypatch.setattr(
        "deepfake_lit.training.classifier.sums_of",
        lambda logits, loss, labels: seen.append((logits.argmax(1) == labels, loss)) or sums_of(logits, loss, labels),
    )
    (first, _) = run(compose([*settings, f"output_dir={tmp_path}", "data.batch_size=30"])).main.history
    assert [len(right) for right, _ in seen] == [30, 30, 30, 10] * 2
    assert first["train/accuracy"] == pytest.approx(torch.cat([right for right, _ in seen[:4]]).float().mean().item())
    losses = sum(loss.item() * len(right) for right, loss in seen[:4])
    assert first["train/loss"] == pytest.approx(losses / 100, rel=1e-5)


def test_predictions_and_figures_belong_together(finished):
    _, result = finished
    arrays = read_predictions(_folder(result) / "predictions.npz")
    assert arrays["probabilities"].shape == (50, 5)
    np.testing.assert_allclose(arrays["probabilities"].sum(1), 1, rtol=1e-5)
    for key, which in (("probabilities", "best"), ("probabilities_last", "last"), ("probabilities_tta", "best_tta")):
        accuracy = (arrays[key].argmax(1) == arrays["labels"]).mean()
        assert getattr(result, which)["accuracy"] == pytest.approx(accuracy)
        assert np.trace(getattr(result, which)["confusion"]) == round(accuracy * 50)
    assert result.last["log_loss"] == pytest.approx(result.history[-1]["val/loss"], rel=1e-4)
    best = max(result.history, key=lambda row: row["val/accuracy"])  # the first of equals
    assert result.best["log_loss"] == pytest.approx(best["val/loss"], rel=1e-4)
    assert result.best_epoch == best["epoch"]


def test_a_checkpoint_is_enough_to_predict_with(finished):
    cfg, result = finished
    trained = load_trained(_folder(result) / "best.ckpt")
    assert trained.class_names == ["0", "1", "2", "3", "4"]
    assert trained.image_size == (32, 32)
    assert trained.config == cfg
    assert trained.meta["data_hash"] == result.data["hash"]
    assert not trained.net.training


def test_the_same_run_again_returns_at_once(finished, monkeypatch):
    cfg, result = finished
    monkeypatch.setattr("deepfake_lit.training.run._train_and_evaluate", lambda *_: pytest.fail("trained again"))
    assert run(cfg).main == result


def test_seed_0_is_a_seed_and_seeds_differ(settings, tmp_path):
    first = [run(compose([*settings, "seed=0", f"output_dir={tmp_path / str(i)}"])).main for i in (0, 1)]
    other = run(compose([*settings, "seed=1", f"output_dir={tmp_path / '0'}"])).main
    assert same(*(weights(_folder(r) / "last.ckpt") for r in first))
    assert not same(weights(_folder(first[0]) / "last.ckpt"), weights(_folder(other) / "last.ckpt"))
    assert first[0].fingerprint != other.fingerprint


def test_a_failure_is_recorded_and_a_success_removes_it(settings, tmp_path, monkeypatch):
    cfg = compose([*settings, f"output_dir={tmp_path}", "trainer.limit_train_batches=1"])
    with monkeypatch.context() as patch:
        patch.setattr("deepfake_lit.training.run.build_trainer", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(cfg)
    failures = list(tmp_path.glob("runs/default/*/failure.json"))
    assert "ZeroDivisionError" in json.loads(failures[0].read_text())["error"]
    run(cfg)
    assert not failures[0].exists()


def test_a_foreign_result_is_refused(finished, tmp_path):
    (tmp_path / "result.json").write_text('{"accuracy": 1.0}')
    with pytest.raises(UserError, match="not a result of deepfake_lit"):
        read_result(tmp_path)
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read_result(tmp_path)
    assert read_result(tmp_path / "nothing") is None


PROOF = os.path.join(tempfile.gettempdir(), f"deepfake_lit_was_run_{os.getpid()}")


class Malicious:
    def __reduce__(self):
        return (open, (PROOF, "w"))


@pytest.mark.parametrize("content", ["malicious", "empty", "text", "foreign", "missing"])
def test_checkpoints_are_data(content, tmp_path):
    path = tmp_path / "x.ckpt"
    if content == "malicious":
        torch.save({"state_dict": {}, "deepfake_lit": Malicious()}, path)
    elif content == "foreign":
        torch.save({"state_dict": {}}, path)
    elif content != "missing":
        path.write_text("" if content == "empty" else "not a checkpoint")
    reasons = {"malicious": "more than data", "foreign": "not a checkpoint of", "missing": "no such checkpoint"}
    with pytest.raises(UserError, match=reasons.get(content, "checkpoint")):
        read_checkpoint(path)
    assert not Path(PROOF).exists()


def scheduler(cfg, total=100, lr=0.1):
    net = nn.Linear(2, 2)
    optimizer = build_optimizer(SGDConfig(lr=lr), net)
    described = build_scheduler(cfg, optimizer, total)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if not isinstance(described["scheduler"], ReduceLROnPlateau):
            described["scheduler"].step()
    return described, rates


def test_onecycle_starts_at_a_25th_of_its_peak():
    """Report B: "the same as the initial lr"; the schedule of its settings starts at max / 25."""
    described, rates = scheduler(OneCycleConfig(warmup=0.1))
    assert described["interval"] == "step"
    assert rates[0] == pytest.approx(0.1 / 25)
    assert max(rates) == pytest.approx(0.1)
    assert rates.index(max(rates)) == 9
    assert rates[-1] < 1e-6


@pytest.mark.parametrize("total", [1, 2, 5, 10, 20])
def test_onecycle_of_few_steps(total):
    _, rates = scheduler(OneCycleConfig(warmup=0.1), total)
    assert all(0 < rate <= 0.1 for rate in rates)


def test_cosine_with_warmup():
    described, rates = scheduler(CosineConfig(warmup=0.1))
    assert described["interval"] == "step"
    assert rates[0] == pytest.approx(0.01)
    assert rates[10] == pytest.approx(0.1)
    assert rates[-1] < 1e-3
    assert scheduler(CosineConfig())[1][0] == pytest.approx(0.1)


@pytest.mark.parametrize(("monitor", "mode"), [("val/accuracy", "max"), ("val/loss", "min")])
def test_plateau_watches_in_the_right_direction(monitor, mode):
    """Report A set mode "max" and stepped with the training loss."""
    described, _ = scheduler(PlateauConfig(monitor=monitor))
    assert described["scheduler"].mode == mode
    assert described["monitor"] == monitor
    assert described["interval"] == "epoch"


def test_plateau_steps_in_a_run(settings, tmp_path):
    """A learning rate of almost nothing cannot improve the loss by the scheduler's threshold, so the rate is halved
    after patience + 1 epochs."""
    overrides = ["scheduler=plateau", "scheduler.monitor=val/loss", "scheduler.patience=1", "optimizer.lr=1e-6"]
    overrides += ["trainer.max_epochs=5", "trainer.limit_train_batches=1", "model.dropout=[0,0,0]", "augment.hflip=0"]
    overrides += ["data.batch_size=100", "optimizer=sgd"]
    result = run(compose([*settings, *overrides, f"output_dir={tmp_path}"])).main
    rates = [row["lr"] for row in result.history]
    assert rates[0] == 1e-6
    assert rates[-1] <= 5e-7


def test_evaluate_on_a_known_case():
    p = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1]])
    figures = figures_of(p.numpy(), np.array([0, 1, 1, 0]))
    assert figures["accuracy"] == 0.75
    assert figures["confusion"] == [[2, 0], [1, 1]]
    assert figures["precision_of"] == pytest.approx([2 / 3, 1.0])
    assert figures["recall_of"] == [1.0, 0.5]
    assert figures["log_loss"] == pytest.approx(-np.log([0.8, 0.4, 0.7, 0.9]).mean())


def test_wilson_interval_against_scipy():
    from scipy.stats import binomtest

    low, high = wilson_interval(1179 / 1250, 1250)
    expected = binomtest(1179, 1250).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize("clip", ["null", "0.5"])
def test_optimizers_are_fused_unless_gradients_are_clipped(clip, settings, tmp_path):
    overrides = ["optimizer=adam", "trainer.precision=bf16", "trainer.max_epochs=1", f"trainer.gradient_clip={clip}"]
    folder = _folder(run(compose([*settings, *overrides, f"output_dir={tmp_path}"])).main)
    (group,) = read_checkpoint(folder / "last.ckpt")["optimizer_states"][0]["param_groups"]
    assert group["fused"] is (clip == "null")
