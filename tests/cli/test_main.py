"""The program as a user meets it: quick help, an installed wheel, the demo."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers.command_line import exit_status

from deepfake_lit.cli import show
from deepfake_lit.core import console
from deepfake_lit.core.hardware import resolve
from deepfake_lit.studies.status import RunStatus

TOP = Path(__file__).resolve().parents[2]


def python(*arguments, cwd=None, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_help_and_configuration_need_no_torch():
    """What a user types first answers at once."""
    for command in ('["--help"]', '["train", "data.root=x", "--cfg", "job"]'):
        code = f"import sys; from deepfake_lit.cli.main import main; main({command}); assert 'torch' not in sys.modules"
        done = python("-c", code)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_decoding_workers_need_no_torch():
    done = python("-c", "import sys, deepfake_lit.data.cache; assert 'torch' not in sys.modules")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel's content, unpacked as an installation would."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["-m", "pip", "wheel", str(TOP), "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    done = python(*build)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as z:
        z.extractall(folder / "site")
    return folder / "site"


def test_a_wheel_works_outside_the_checkout(wheel, tmp_path):
    assert (wheel / "deepfake_lit" / "conf" / "train.yaml").exists()
    where = "import deepfake_lit.settings.compose as c; print(c.config_dir())"
    done = python("-c", where, cwd=tmp_path, PYTHONPATH=str(wheel))
    assert done.stdout.strip() == str(wheel / "deepfake_lit" / "conf")
    arguments = ["train", "experiment=residual_cnn", "data.root=x", "--cfg", "job"]
    done = python("-m", "deepfake_lit", *arguments, cwd=tmp_path, PYTHONPATH=str(wheel))
    assert done.returncode == 0, done.stderr
    assert "name: residual_cnn" in done.stdout


def test_the_wheel_has_every_file_of_the_package_and_the_configuration(wheel):
    for folder, target in ((TOP / "deepfake_lit", "deepfake_lit"), (TOP / "conf", "deepfake_lit/conf")):
        for file in folder.rglob("*"):
            if file.suffix in (".py", ".yaml", ".j2", ".ckpt", ".md"):
                assert (wheel / target / file.relative_to(folder)).exists(), file


@pytest.mark.slow
def test_demo(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = ["train=60", "validation=30", "test=10", "image_size=32", "max_epochs=1"]
    assert exit_status(["demo", f"output_dir={tmp_path}", *sizes]) == 0
    said = capfd.readouterr()
    assert "Traceback" not in said.err
    for file in ("evaluation/confusion.png", "predictions/submission.csv", "evaluation/evaluation.json"):
        assert (tmp_path / file).exists(), file
    for command in ("samples", "audit", "train", "evaluate", "predict"):
        assert f"$ deepfake-lit {command}" in said.out
    last = said.out.rstrip().splitlines()[-1]
    assert re.fullmatch(rf"  deepfake-lit app \S+/best.ckpt data.root={tmp_path}/images", last)


@pytest.mark.slow
def test_a_multirun_trains_every_combination(samples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = [f"data.root={samples}", f"output_dir={tmp_path}", "model.width=0.125", "trainer.max_epochs=1"]
    assert exit_status(["train", "-m", "seed=0,1", "optimizer.lr=0.1,0.01", *overrides]) == 0
    assert len(list(tmp_path.glob("runs/default/*/result.json"))) == 4


@pytest.mark.slow
def test_two_processes_train_one_run(samples, tmp_path):
    """Two CPU processes stand for two GPUs: every image once an epoch, one result, the same weights in both."""
    overrides = [f"data.root={samples}", f"output_dir={tmp_path}", "model.width=0.125", "trainer.max_epochs=2"]
    devices = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=10"]
    done = python("-m", "deepfake_lit", "train", *overrides, *devices, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (result,) = tmp_path.glob("runs/default/*/result.json")
    stored = json.loads(result.read_text())
    assert stored["hardware"]["processes"] == 2
    assert [row["step"] for row in stored["history"]] == [5, 10]
    assert done.stdout.count("validation accuracy") == 1


def test_a_closed_pipe_is_no_traceback():
    command = f"{sys.executable} -m deepfake_lit train --help | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.startswith("usage: deepfake-lit train")
    assert done.stderr == ""


def test_a_run_is_extended_by_its_fingerprint_alone(samples, tmp_path, capsys):
    overrides = [f"data.root={samples}", f"output_dir={tmp_path}", "model.width=0.125", "trainer.max_epochs=1"]
    assert exit_status(["train", *overrides, "optimizer=sgd", "scheduler=constant"]) == 0
    said = capsys.readouterr()
    (folder,) = tmp_path.glob("runs/default/*")
    assert f"default, seed 0: 100 images of 5 classes, {resolve().name}" in said.err
    assert f"deepfake-lit predict {folder}/best.ckpt images=FOLDER" in said.out
    extending = ["train", f"extends={folder.name}", f"output_dir={tmp_path}", "trainer.max_epochs=2"]
    assert exit_status(extending) == 0
    (longer,) = set(tmp_path.glob("runs/default/*/result.json")) - {folder / "result.json"}
    config = json.loads(longer.read_text())["config"]
    assert (config["optimizer"]["kind"], config["trainer"]["max_epochs"]) == ("sgd", 2)
    assert exit_status(["train", "extends=0123456789abcdef", f"output_dir={tmp_path}"]) == 2
    assert "extends=0123456789abcdef: there is no such run in" in capsys.readouterr().err


def test_status_shows_running_runs_first_and_fits_the_terminal(tmp_path, capsys):
    def said(runs, most):
        with console.out.capture() as captured:
            console.out.print(show.status(runs, {}, {"net": []}, most))
        return captured.get()

    runs = [RunStatus("net", f"{i:016}", "running" if i == 30 else "done", {}) for i in range(40)]
    text = said(runs, 20)
    assert len(text.splitlines()) <= 20
    assert text.index("net/0000000000000030") < text.index("net/0000000000000000")
    assert "and 26 more" in text
    assert f"{39:016}" in said(runs, None)
    assert said([], None) == "no runs yet\n"


def test_a_finished_run_is_returned_without_torch(samples, tmp_path, capfd):
    overrides = [f"data.root={samples}", f"output_dir={tmp_path}", "model.width=0.125", "trainer.max_epochs=1"]
    assert exit_status(["train", *overrides]) == 0
    before = capfd.readouterr().out
    code = (
        f"import sys; from deepfake_lit.cli.main import main\ntry: main({['train', *overrides]!r})\n"
        "except SystemExit as end: assert end.code == 0 and 'torch' not in sys.modules, end.code"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert "finished before: " in done.stderr
    assert done.stdout == before
