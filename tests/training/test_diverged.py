"""A training that diverges has failed, and says in which epoch; nothing of it passes for a result."""

import json
import math
from pathlib import Path

import pytest
import torch
from helpers.command_line import exit_status

from deepfake_lit.core.errors import UserError
from deepfake_lit.prediction.inference import logits
from deepfake_lit.results.result import Result, write_result
from deepfake_lit.settings.compose import compose
from deepfake_lit.studies.status import StatusConfig, look
from deepfake_lit.training.classifier import Classifier
from deepfake_lit.training.run import run

DIVERGES = ["optimizer.lr=1e30", "optimizer=sgd"]


def strict_json(path: Path):
    """The file as other programs read it: NaN is no JSON."""

    def refuse(constant: str):
        raise AssertionError(f"{path} holds {constant}")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_it_ends_as_failed(settings, tmp_path, capsys):
    assert exit_status(["train", *settings, *DIVERGES, f"output_dir={tmp_path}"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("deepfake-lit: the training diverged in epoch 1: ")
    assert "lower optimizer.lr" in said
    (folder,) = tmp_path.glob("runs/default/*")
    assert not (folder / "result.json").exists()
    assert strict_json(folder / "failure.json")["error"].startswith("the training diverged in epoch 1")
    (seen,) = look(StatusConfig(str(tmp_path)))[0]
    assert (seen.state, seen.reason[:21]) == ("failed", "the training diverged")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_found_though_the_answers_are(value, settings, tmp_path, monkeypatch):
    """As where one batch of the second epoch has it."""
    step = Classifier.training_step

    def training_step(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        if self.current_epoch == 1 and batch_idx == 0:
            self.train_sums[0] += value
        return loss

    monkeypatch.setattr(Classifier, "training_step", training_step)
    with pytest.raises(UserError, match="diverged in epoch 2: the training loss"):
        run(compose([*settings, f"output_dir={tmp_path}"]))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_answer_that_is_not_finite_is_found(value, settings, tmp_path, monkeypatch):
    step = Classifier.validation_step

    def validation_step(self, batch, batch_idx):
        step(self, batch, batch_idx)
        self._answers[-1][0][0, 0] = value

    monkeypatch.setattr(Classifier, "validation_step", validation_step)
    with pytest.raises(UserError, match="diverged in epoch 1: the answers for the validation images"):
        run(compose([*settings, f"output_dir={tmp_path}"]))


def test_answers_of_the_end_are_looked_at_too(settings, tmp_path, monkeypatch):
    """As where the precision of the evaluation does not suffice."""
    monkeypatch.setattr("deepfake_lit.prediction.trained.logits", lambda *a: logits(*a) * math.nan)
    with pytest.raises(UserError, match=r"best.ckpt answers with NaN or infinity"):
        run(compose([*settings, f"output_dir={tmp_path}"]))
    assert list(tmp_path.glob("runs/default/*/failure.json"))
    assert not list(tmp_path.glob("runs/default/*/result.json"))


def test_a_result_holds_no_nan(tmp_path):
    figures = {"accuracy": 0.5, "log_loss": math.nan}
    needed = {key: {} for key in ("config", "data", "code", "hardware")}
    result = Result("network", "n", "f", seed=0, best=figures, last=figures, folder=str(tmp_path), **needed)
    with pytest.raises(UserError, match="a figure is NaN or infinite"):
        write_result(result, {})
    with pytest.raises(UserError, match="probabilities has NaN or infinity"):
        write_result(result, {"probabilities": torch.full((2, 2), torch.nan).numpy()})
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.slow
def test_in_a_sweep_the_trial_has_failed_and_the_others_have_not(settings, tmp_path, capsys):
    sweep = ["optimizer=sgd", "optimizer.lr=1e30,0.01", f"output_dir={tmp_path}"]
    assert exit_status(["train", "-m", *settings, *sweep]) == 1
    said = capsys.readouterr()
    assert "trial 0 failed: the training diverged in epoch 1" in " ".join(said.err.split())
    (table,) = tmp_path.glob("sweeps/*/table.csv")
    states = [row.split(",")[2] for row in table.read_text().splitlines()[1:]]
    assert sorted(states) == ["done", "failed"]


@pytest.mark.slow
def test_it_cannot_win_a_search(settings, tmp_path, capsys):
    pytest.importorskip("optuna", reason="the extra search is not installed")
    space = ["optimizer=sgd", "optimizer.lr=1e30,0.01", "pruner=none", "seeds=[0]", "folds=2", f"output_dir={tmp_path}"]
    assert exit_status(["search", *settings, *space]) == 1
    said = capsys.readouterr()
    assert "failed: the training diverged in epoch 1" in " ".join(said.err.split())
    (path,) = tmp_path.glob("searches/*/search.json")
    record = json.loads(path.read_text())
    states = {float(trial["params"]["optimizer.lr"]): trial["state"] for trial in record["trials"]}
    assert states == {1e30: "failed", 0.01: "done"}
    assert record["trials"][record["winner"]["number"]]["params"]["optimizer.lr"] == "0.01"
