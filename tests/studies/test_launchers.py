"""Sweeps by other launchers than Hydra's own, killed and typed again."""

import os
import signal
import time
from pathlib import Path

import pytest
from helpers import faults
from helpers.faults import ended
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher

from deepfake_lit.core import hardware
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.system import cores
from deepfake_lit.settings.compose import config_dir, register
from deepfake_lit.studies import one_card
from deepfake_lit.studies.hydra_sweep import SWEPT, _side_by_side, what_differs
from deepfake_lit.studies.status import StatusConfig, look

pytestmark = pytest.mark.slow

SWEEP = ["optimizer.lr=0.1,0.01"]
TINY = ["model.width=0.125", "trainer.max_epochs=2", "trainer.progress_bar=false", "data.batch_size=25"]


@pytest.fixture(scope="module")
def settings(samples, tmp_path_factory) -> list[str]:
    cache = tmp_path_factory.mktemp("cache")
    return [f"data.root={samples}", f"data.cache_dir={cache}", "trainer.accelerator=cpu", "trainer.threads=1", *TINY]


@pytest.fixture(scope="module")
def unbroken(settings, tmp_path_factory) -> Path:
    """The only finished runs of the sweep, by Hydra's own launcher."""
    output = tmp_path_factory.mktemp("unbroken") / "sweep"
    assert ended(faults.start(output, settings, sweep=SWEEP)) == 0, log(output)
    return output


def log(output: Path) -> str:
    return Path(f"{output}.log").read_text()


def needs(launcher: str) -> None:
    if not any(f"hydra_{launcher}_launcher" in plugin.__module__ for plugin in Plugins.instance().discover(Launcher)):
        pytest.skip(f"hydra-{launcher}-launcher is not installed")


@pytest.mark.parametrize(
    ("package", "launcher"),
    [
        ("joblib", ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]),
        ("submitit", ["hydra/launcher=submitit_local"]),
        ("ray", ["hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2"]),
    ],
)
def test_a_killed_sweep_goes_on_by_any_launcher(package, launcher, settings, unbroken, tmp_path):
    needs(package)
    output = tmp_path / "sweep"
    command = [*settings, *launcher]
    process = faults.start(output, command, sweep=SWEEP)  # the launcher starts processes of its own
    while process.is_alive() and not list(output.glob("runs/default/*/last.ckpt")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)  # what a launcher has put into a group of its own works on
    assert ended(process) == -signal.SIGKILL, log(output)
    assert ended(faults.start(output, command, sweep=SWEEP)) == 0, log(output)
    runs, sweeps = look(StatusConfig(str(output)))
    assert list(sweeps.values()) == [{"done": 2}]
    folders = sorted((output / "runs" / "default").iterdir())
    assert [run.fingerprint for run in runs] == [folder.name for folder in folders]
    for folder in folders:
        assert faults.differences(folder, unbroken / "runs" / "default" / folder.name) == []


def chosen_jobs(*given: str) -> int:
    needs("joblib")
    register()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        overrides = ["data.root=x", "hydra/launcher=joblib", *given]
        config = compose("train", overrides, return_hydra_config=True)
    config.hydra.overrides.hydra = list(given)
    _side_by_side(config)
    return config.hydra.launcher.n_jobs


@pytest.mark.parametrize(("given", "expected"), [([], cores()), (["hydra.launcher.n_jobs=7"], 7)])
def test_joblib_runs_a_trial_a_core_unless_told_otherwise(given, expected):
    assert chosen_jobs(*given) == expected


def test_on_a_gpu_joblib_runs_as_many_trials_as_were_measured_to_fit(monkeypatch, capsys):
    monkeypatch.setattr(hardware, "_available", lambda: {"cpu", "cuda"})
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(one_card, "trials_at_once", lambda cfg: 3 if cfg.model.kind == "deepfake_net" else 5)
    assert chosen_jobs() == 3
    assert "3 at once, by a measured step" in capsys.readouterr().err

    def fails(cfg):
        raise UserError("there is no folder x")

    monkeypatch.setattr(one_card, "trials_at_once", fails)
    assert chosen_jobs() == 1
    assert "one trial at a time (there is no folder x)" in capsys.readouterr().err


def test_a_trial_tells_how_far_the_sweep_is_and_what_makes_it(monkeypatch):
    monkeypatch.setenv(SWEPT, "6 model.dropout seed")
    assert what_differs(2, ["data.root=x", "+model.dropout=0.3", "seed=1"]) == "3/6, model.dropout=0.3 seed=1"
    monkeypatch.delenv(SWEPT)
    assert what_differs(2, ["seed=1"]) == "3/?"


def test_every_line_of_a_trial_is_labelled(unbroken):
    text = log(unbroken)
    assert "trial 0: 1/2, optimizer.lr=0.1" in text
    assert "trial 1: 2/2, optimizer.lr=0.01" in text
    assert "trial 1: epoch 2/2" in text
