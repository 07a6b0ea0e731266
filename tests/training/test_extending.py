"""Averages of weights, early stopping, and runs that go on for more epochs than they were begun with."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.faults import differences
from helpers.kills import Killed, kill_at
from pytorch_lightning import LightningModule

from deepfake_lit.core.errors import UserError
from deepfake_lit.data.datamodule import ImageDataModule
from deepfake_lit.prediction.checkpoint import read_checkpoint
from deepfake_lit.prediction.trained import load_trained
from deepfake_lit.results.files import read_predictions
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.identity import fingerprint
from deepfake_lit.training.averaging import MovingAverage
from deepfake_lit.training.callbacks import DerivedRandomness
from deepfake_lit.training.run import open_run_data, run

pytestmark = pytest.mark.slow

SCHEDULES = {
    "onecycle": ["scheduler=onecycle", "optimizer=sgd", "optimizer.momentum=0.9"],
    "cosine": ["scheduler=cosine", "scheduler.warmup=0.2"],
    "plateau": ["scheduler=plateau", "scheduler.patience=0", "trainer.ema=0.8"],
    "constant": ["scheduler=constant"],
}


def cpu_weights(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the weights and buffers as they are now, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in net.state_dict().items()}


@pytest.mark.parametrize("kind", ["plateau", "constant"])
def test_more_epochs_of_a_schedule_without_a_length_are_the_longer_run(kind, settings, tmp_path):
    overrides = [*settings, *SCHEDULES[kind]]
    short = run(compose([*overrides, f"output_dir={tmp_path / 'a'}", "trainer.max_epochs=2"])).main
    more = ["trainer.max_epochs=4", f"extends='{short.fingerprint}'"]
    longer = run(compose([*overrides, f"output_dir={tmp_path / 'a'}", *more])).main
    whole = run(compose([*overrides, f"output_dir={tmp_path / 'b'}", "trainer.max_epochs=4"])).main
    assert longer.fingerprint == whole.fingerprint
    for name in ("best.ckpt", "last.ckpt"):
        a, b = (read_checkpoint(Path(result.folder) / name)["state_dict"] for result in (longer, whole))
        assert all(torch.equal(a[key], b[key]) for key in a)
    timing = ("seconds", "images_per_second")
    a, b = ([{k: v for k, v in row.items() if k not in timing} for row in r.history] for r in (longer, whole))
    assert a == b


@pytest.mark.parametrize("kind", ["onecycle", "cosine"])
def test_more_epochs_of_a_planned_schedule_follow_the_new_plan(kind, settings, tmp_path, monkeypatch, capsys):
    """From the step that it is at, also when the longer run is killed and goes on itself."""
    overrides = [*settings, *SCHEDULES[kind]]

    def learning_rates(name: str, *more: str) -> tuple[dict, list[float]]:
        result = run(compose([*overrides, f"output_dir={tmp_path / name}", *more])).main
        return result, [row["lr"] for row in result.history]

    short, _ = learning_rates("a", "trainer.max_epochs=2")
    _, planned = learning_rates("b", "trainer.max_epochs=5")
    more = ["trainer.max_epochs=5", f"extends='{short.fingerprint}'"]
    longer, rates = learning_rates("a", *more)
    assert rates[2:] == pytest.approx(planned[2:])
    assert "the schedule is planned anew for 20 steps" in capsys.readouterr().err.replace("\n", " ")
    assert longer.fingerprint not in (short.fingerprint, fingerprint(compose([*overrides]), ""))

    learning_rates("c", "trainer.max_epochs=2")
    with monkeypatch.context() as patch:
        kill_at(patch, 3, 1)
        with pytest.raises(Killed):
            learning_rates("c", *more)
    again, _ = learning_rates("c", *more)
    assert differences(Path(again.folder), Path(longer.folder)) == []


def test_extending_is_refused_with_the_differences(settings, tmp_path):
    overrides = [*settings, f"output_dir={tmp_path}"]
    short = run(compose(overrides)).main
    extends = f"extends='{short.fingerprint}'"
    with pytest.raises(UserError, match=r"differs in optimizer.lr \(0.001, 0.01\)$"):
        run(compose([*overrides, extends, "trainer.max_epochs=3", "optimizer.lr=0.01"]))
    with pytest.raises(UserError, match=r"is of 2 epochs; trainer\.max_epochs must be more, not 2"):
        run(compose([*overrides, extends]))
    with pytest.raises(UserError, match="there is no such checkpoint"):
        run(compose([*overrides, "extends=0123456789abcdef", "trainer.max_epochs=3"]))
    with pytest.raises(UserError, match="must be the fingerprint of a run"):
        compose([*overrides, "extends=../x"])


def test_settings_that_came_later_leave_fingerprints_as_they_were(settings):
    plain = fingerprint(compose(settings), "x")
    assert fingerprint(compose([*settings, "trainer.ema=null", "extends=null"]), "x") == plain
    for override in ("trainer.ema=0.9", "trainer.early_stopping=3", "extends=0123456789abcdef"):
        assert fingerprint(compose([*settings, override]), "x") != plain


def test_early_stopping_ends_after_so_many_epochs_without_a_better_value(settings, tmp_path, monkeypatch):
    overrides = [
        *settings,
        "trainer.max_epochs=9",
        "trainer.early_stopping=2",
        "scheduler=constant",
        "optimizer.lr=1e-9",
    ]
    whole = run(compose([*overrides, f"output_dir={tmp_path / 'a'}"])).main
    assert whole.best_epoch == 0  # nothing is learned
    assert [row["epoch"] for row in whole.history] == [0, 1, 2]

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch:  # all is trained, and no result is written
        patch.setattr("deepfake_lit.training.run.write_result", kill)
        with pytest.raises(Killed):
            run(compose([*overrides, f"output_dir={tmp_path / 'b'}"]))
    again = run(compose([*overrides, f"output_dir={tmp_path / 'b'}"])).main
    assert differences(Path(again.folder), Path(whole.folder)) == []


def test_checkpoints_and_validation_are_of_the_average(settings, device, tmp_path, monkeypatch):
    """Against an average that is kept by hand, with the warm-up of the decay."""
    expected: dict[str, torch.Tensor] = {}
    updates = 0

    def average(self, trainer, module, *_):
        nonlocal updates
        decay = min(0.9, (1 + updates) / (10 + updates))
        for name, value in cpu_weights(module.net).items():
            before = expected.get(name, value.float())
            expected[name] = (decay * before + (1 - decay) * value.float()) if updates else value.float().clone()
        updates += 1

    monkeypatch.setattr(DerivedRandomness, "on_train_batch_end", average)
    overrides = ["trainer.ema=0.9", "trainer.precision=fp32", f"trainer.accelerator={device}"]
    cfg = compose([*settings, *overrides, f"output_dir={tmp_path}"])
    result = run(cfg).main
    folder = Path(result.folder)
    found = load_trained(folder / "last.ckpt").net.state_dict()
    assert updates == 8
    for name, value in expected.items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)
    trained = read_checkpoint(folder / "last.ckpt")["current_model_state"]
    assert not torch.equal(trained["net.classifier.weight"], found["classifier.weight"])
    with open(folder / "history.csv", newline="") as file:
        logged = [float(row["val/accuracy"]) for row in csv.DictReader(file)]
    predictions = read_predictions(folder / "predictions.npz")
    for which, epoch in (("probabilities", result.best_epoch), ("probabilities_last", -1)):
        accuracy = (predictions[which].argmax(1) == predictions["labels"]).mean()
        assert accuracy == pytest.approx(logged[epoch], abs=1e-6)


def test_stochastic_weight_averaging_is_the_mean_of_the_last_epochs(settings, device, tmp_path, monkeypatch):
    """Six epochs, the last three averaged; batch-norm statistics are those of training images under the mean."""
    by_epoch = []

    def keep(self, trainer, module, outputs, batch, batch_idx):
        if trainer.is_last_batch:
            by_epoch.append(cpu_weights(module.net))

    monkeypatch.setattr(DerivedRandomness, "on_train_batch_end", keep)
    overrides = ["trainer.swa=0.5", "trainer.max_epochs=6", "trainer.precision=fp32", "model.dropout=[0,0,0]"]
    cfg = compose([*settings, *overrides, f"trainer.accelerator={device}", f"output_dir={tmp_path}"])
    folder = Path(run(cfg).main.folder)
    net = load_trained(folder / "last.ckpt").net
    found = {k: v.clone() for k, v in net.state_dict().items()}
    for name in dict(net.named_parameters()):
        torch.testing.assert_close(found[name], sum(w[name] for w in by_epoch[3:]) / 3, rtol=1e-4, atol=1e-6)
    trained = read_checkpoint(folder / "last.ckpt")["current_model_state"]
    assert torch.equal(trained["net.classifier.weight"], by_epoch[-1]["classifier.weight"])

    module = ImageDataModule(open_run_data(cfg), cfg.data, cfg.augment, cfg.seed)
    torch.optim.swa_utils.update_bn(module.training_images(5, 100, torch.device("cpu")), net)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)
    (mean,) = [k for k in found if k.endswith("running_mean")][:1]
    assert not torch.allclose(found[mean], by_epoch[-1][mean], rtol=1e-3)


def test_an_extended_run_keeps_the_epochs_that_were_kept(settings, tmp_path):
    overrides = [*settings, "scheduler=constant", "trainer.keep_epochs=2"]
    whole = run(compose([*overrides, "trainer.max_epochs=4", f"output_dir={tmp_path / 'whole'}"])).main
    first = run(compose([*overrides, "trainer.max_epochs=2", f"output_dir={tmp_path / 'two'}"])).main
    extends = f"extends={first.fingerprint}"
    later = run(compose([*overrides, "trainer.max_epochs=4", extends, f"output_dir={tmp_path / 'two'}"])).main
    found = differences(Path(later.folder), Path(whole.folder))
    assert [text for text in found if "TensorBoard" not in text] == []  # its own begins where it goes on
    assert len(list(Path(later.folder).glob("epoch-*.ckpt"))) == 2


def test_until_it_starts_the_average_is_the_trained_weights(settings, tmp_path):
    """And what is validated meanwhile is what a run without it validates."""
    overrides = ["trainer.max_epochs=4", "scheduler=constant"]
    plain = run(compose([*settings, *overrides, f"output_dir={tmp_path}"])).main.history
    averaged = run(compose([*settings, *overrides, "trainer.swa=0.5", f"output_dir={tmp_path}"])).main.history
    assert [row["val/loss"] for row in averaged[:3]] == [row["val/loss"] for row in plain[:3]]
    assert averaged[3]["val/loss"] != plain[3]["val/loss"]
    assert averaged[3]["train/loss"] == plain[3]["train/loss"]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_average_asks_nothing_of_the_device(device):
    """Not even whether an update is the first: tensors on "meta" have no values."""
    module, callback = LightningModule(), MovingAverage(0.8)
    module.norm = torch.nn.BatchNorm1d(2, device=device)
    module.layer = torch.nn.Linear(2, 2, device=device)
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)), global_step=0)
    callback.setup(trainer, module, "fit")
    expected = [tensor.clone() for tensor in module.state_dict().values()]
    for step in range(30):
        for i, tensor in enumerate(module.state_dict().values()):
            tensor.copy_(torch.full_like(tensor, 3 * step + i))
            decay = min((1 + step) / (10 + step), 0.8)
            mean = tensor + decay * (expected[i] - tensor)
            expected[i] = (mean if step else tensor.clone()).to(tensor.dtype)
        trainer.global_step = step + 1
        callback.on_train_batch_end(trainer, module, None, None, step)
    average = callback._average_model
    assert average.n_averaged == 30
    for tensor, mean in zip(average.module.state_dict().values(), expected, strict=True):
        assert (tensor.device, tensor.dtype) == (mean.device, mean.dtype)
        assert device == "meta" or torch.allclose(tensor, mean, rtol=1e-6)
