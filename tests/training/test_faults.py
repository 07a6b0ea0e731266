"""Runs that are killed, told to stop, or out of disk, and what they are when they have ended.

`make test` kills a few; `make test-faults` kills 200 times and prints the figures.
"""

import csv
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from helpers import faults
from helpers.command_line import exit_status
from helpers.faults import differences, ended

from deepfake_lit.results.state import locked
from deepfake_lit.studies.status import StatusConfig, look

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("FAULTS", "12"))
AT_MOST = 5  # kills of one run
TINY = [
    "model.width=0.125",
    "trainer.max_epochs=3",
    "trainer.progress_bar=false",
    "trainer.accelerator=cpu",
    "data.batch_size=25",
    "augment.hflip=0.5",
    "augment.rotation=10",
]
KINDS = {
    "onecycle": ["optimizer=sgd", "optimizer.momentum=0.9", "augment.cutmix_p=0.5", "scheduler=onecycle"],
    "plateau": ["optimizer=adam", "scheduler=plateau", "scheduler.monitor=val/loss", "scheduler.patience=0"],
    "averaged": ["optimizer=adamw", "scheduler=constant", "trainer.ema=0.9", "trainer.early_stopping=1"],
    "workers": ["optimizer=adamw", "scheduler=cosine", "augment.mixup_p=0.5", "data.workers=1"],
}


@pytest.fixture(scope="module")
def runs(samples, tmp_path_factory):
    """Of each kind: overrides, and an unbroken run's folder and counts."""
    root = tmp_path_factory.mktemp("unbroken")
    found = {}
    for kind, overrides in KINDS.items():
        settings = [f"data.root={samples}", f"data.cache_dir={root}/cache", *TINY, *overrides]
        began = time.monotonic()
        assert ended(faults.start(root / kind, settings)) == 0, (root / f"{kind}.log").read_text()
        counts = json.loads((root / f"{kind}.json").read_text()) | {"time": time.monotonic() - began}
        found[kind] = settings, only_run(root / kind), counts
    return found


def only_run(output: Path) -> Path:
    (folder,) = (output / "runs" / "default").iterdir()
    return folder


def test_killed_runs_end_as_one_that_was_not(runs, tmp_path):
    draw = random.Random(0)
    kills = dict.fromkeys(("step", "file", "write", "time"), 0)
    mismatches, ends = [], 0
    while sum(kills.values()) < KILLS:
        settings, unbroken, counts = runs[draw.choice(list(KINDS))]
        output, every_step = tmp_path / str(ends), draw.random() < 0.7
        for _ in range(AT_MOST):
            fuse = draw.choice(list(kills))
            number = draw.uniform(0, counts[fuse]) if fuse == "time" else draw.randint(1, counts[fuse])
            status = ended(faults.start(output, settings, fuse, number, every_step))
            if status == 0:
                break
            assert status == -signal.SIGKILL, Path(f"{output}.log").read_text()
            kills[fuse] += 1
        else:
            assert ended(faults.start(output, settings)) == 0, Path(f"{output}.log").read_text()
        ends += 1
        mismatches += [f"{output}: {d}" for d in differences(only_run(output), unbroken)]
    where = ", ".join(f"{n} by {kind}" for kind, n in kills.items())
    print(f"\n{sum(kills.values())} kills ({where}) in {ends} runs, {len(mismatches)} mismatches")
    assert not mismatches


@pytest.mark.parametrize("kind", ["onecycle", "workers"])
@pytest.mark.parametrize(("name", "step", "after"), [("SIGTERM", 6, 6), ("SIGUSR1", 1, 1), ("SIGINT", 8, 8)])
def test_a_signal_ends_a_run_with_a_checkpoint(runs, tmp_path, kind, name, step, after):
    """At a step within an epoch, the first, and the last of an epoch; also sent to the loader's workers."""
    settings, unbroken, _ = runs[kind]
    output = tmp_path / "run"
    log = Path(f"{output}.log")
    assert ended(faults.start(output, settings, name, step, every_step=False)) == 75, log.read_text()
    assert "the same command goes on from there" in log.read_text()
    assert ended(faults.start(output, settings)) == 0
    assert f"after step {after}\n" in log.read_text().replace(" \n", "\n")
    assert differences(only_run(output), unbroken) == []


def test_a_signal_at_the_very_last_step_ends_a_sweep_too(swept, tmp_path):
    settings, unbroken, _ = swept
    output = tmp_path / "sweep"
    assert ended(faults.start(output, settings, "SIGTERM", 8, sweep=SWEEP)) == 75, Path(f"{output}.log").read_text()
    assert len(list((output / "runs" / "default").iterdir())) == 1
    assert ended(faults.start(output, settings, sweep=SWEEP)) == 0
    assert sweep_table(output) == sweep_table(unbroken)


def test_a_full_disk_loses_nothing(runs, tmp_path):
    settings, unbroken, _ = runs["plateau"]
    output = tmp_path / "run"
    size = (unbroken / "last.ckpt").stat().st_size
    assert ended(faults.start(output, settings, "step", 6)) == -signal.SIGKILL
    before, log = (only_run(output) / "last.ckpt").read_bytes(), Path(f"{output}.log")
    assert ended(faults.start(output, settings, "size", size // 2)) == 1
    assert "Unfinished" in log.read_text()
    assert "make room, and the same command goes on" in log.read_text()
    assert not (only_run(output) / "failure.json").exists()
    assert (only_run(output) / "last.ckpt").read_bytes() == before
    assert ended(faults.start(output, settings)) == 0
    assert differences(only_run(output), unbroken) == []


def test_a_clock_that_goes_back_changes_nothing(runs, tmp_path):
    settings, unbroken, _ = runs["onecycle"]
    output = tmp_path / "run"
    assert ended(faults.start(output, settings, "step", 6)) == -signal.SIGKILL
    assert ended(faults.start(output, settings, "clock", 1_500_000_000)) == 0, Path(f"{output}.log").read_text()
    assert differences(only_run(output), unbroken) == []


def test_a_folder_that_becomes_read_only_loses_nothing(runs, tmp_path):
    settings, unbroken, counts = runs["averaged"]
    output = tmp_path / "run"
    for number in range(1, counts["write"], 5):
        assert ended(faults.start(output, settings, "locked", number)) == 1
        said = Path(f"{output}.log").read_text().replace("\n", " ")
        assert "make it writable, and the same command goes on" in said
    assert ended(faults.start(output, settings)) == 0
    assert differences(only_run(output), unbroken) == []


@pytest.mark.parametrize(("below", "reason"), [("a file", "File exists"), ("/proc", "cannot be written")])
def test_a_folder_that_cannot_be_made_is_one_line(runs, tmp_path, capsys, below, reason):
    (tmp_path / "a file").touch()
    assert exit_status(["train", *runs["onecycle"][0], f"output_dir={tmp_path / below}"]) == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning")]
    assert reason in said


SWEEP = ["optimizer.lr=0.1,0.01", "seed=0,1"]


def sweep_table(output: Path) -> list[dict[str, str]]:
    (path,) = output.glob("sweeps/*/table.csv")
    with open(path, newline="") as file:
        return [{k: v for k, v in row.items() if k != "folder"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def swept(runs, tmp_path_factory):
    """Settings, an unbroken sweep's output and its counts."""
    settings = [*runs["onecycle"][0], "trainer.max_epochs=2"]
    output = tmp_path_factory.mktemp("swept") / "sweep"
    began = time.monotonic()
    assert ended(faults.start(output, settings, sweep=SWEEP)) == 0, Path(f"{output}.log").read_text()
    counts = json.loads(Path(f"{output}.json").read_text()) | {"time": time.monotonic() - began}
    return settings, output, counts


def test_a_killed_sweep_ends_with_the_table_of_one_that_was_not(swept, tmp_path):
    settings, unbroken, counts = swept
    assert [(row["optimizer.lr"], row["seed"], row["state"]) for row in sweep_table(unbroken)] == [
        (lr, seed, "done") for lr in ("0.1", "0.01") for seed in ("0", "1")
    ]
    draw, kills = random.Random(1), 0
    output, finished = tmp_path / "sweep", {}
    while kills < 5:
        fuse = draw.choice(["step", "file", "write", "time"])
        number = draw.uniform(1, counts[fuse]) if fuse == "time" else draw.randint(1, counts[fuse] // 2)
        status = ended(faults.start(output, settings, fuse, number, sweep=SWEEP))
        if status == 0:
            break
        assert status == -signal.SIGKILL, Path(f"{output}.log").read_text()
        kills += 1
        results = {path: path.stat().st_mtime_ns for path in output.glob("runs/*/*/result.json")}
        assert finished.items() <= results.items()  # a finished trial is not run again
        finished = results
    assert kills
    assert ended(faults.start(output, settings, sweep=SWEEP)) == 0
    assert sweep_table(output) == sweep_table(unbroken)
    for folder in (output / "runs" / "default").iterdir():
        assert differences(folder, unbroken / "runs" / "default" / folder.name) == []


def test_two_processes_share_a_sweep(swept, tmp_path):
    settings, unbroken, _ = swept
    output = tmp_path / "sweep"
    both = [faults.start(output, settings, sweep=SWEEP) for _ in range(2)]
    assert [ended(process) for process in both] == [0, 0], Path(f"{output}.log").read_text()
    assert Path(f"{output}.log").read_text().count("epoch 2/2") == 4
    assert sweep_table(output) == sweep_table(unbroken)


def test_a_full_disk_ends_a_sweep_with_a_message(swept, tmp_path):
    settings, unbroken, _ = swept
    output = tmp_path / "sweep"
    assert ended(faults.start(output, settings, "size", 20_000, sweep=SWEEP)) == 75, Path(f"{output}.log").read_text()
    assert "Traceback" not in Path(f"{output}.log").read_text()
    assert ended(faults.start(output, settings, sweep=SWEEP)) == 0
    assert sweep_table(output) == sweep_table(unbroken)


def test_a_failed_trial_is_listed_and_tried_again_on_request(swept, tmp_path):
    settings, _, _ = swept
    output, sweep = tmp_path / "sweep", ["data.class_sampling=null,[1,1]", "seed=0"]

    def tried(*more) -> tuple[int, str]:
        before = len(log.read_text()) if log.exists() else 0
        status = ended(faults.start(output, [*settings, *more], sweep=sweep))
        return status, log.read_text()[before:].replace("\n", " ")

    log = Path(f"{output}.log")
    status, said = tried()
    assert status == 1
    assert "needs a weight of 0 or more for each of 5 classes" in said
    assert [row["state"] for row in sweep_table(output)] == ["done", "failed"]
    status, said = tried()
    assert status == 1
    assert "failed before and is left out" in said
    assert "epoch 1/" not in said
    assert "left out" not in tried("retry_failed=true")[1]


def test_a_sweep_by_name_and_its_status(swept, tmp_path, capsys):
    settings = [*swept[0], "trainer.max_epochs=1", f"output_dir={tmp_path}"]
    assert exit_status(["train", *settings, "+sweep=learning_rate"]) == 0
    (folder,) = (tmp_path / "sweeps").iterdir()
    assert folder.name.startswith("learning_rate-")
    with open(folder / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["optimizer.lr"] for row in rows] == ["0.0001"] * 3 + ["0.0003"] * 3 + ["0.001"] * 3
    Path(rows[0]["folder"], "result.json").unlink()
    capsys.readouterr()
    assert exit_status(["status", f"output_dir={tmp_path}"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"sweep {folder.name}: 1 interrupted, 8 done" in said
    assert said.count("done") == 9
    # flags of Hydra's after the settings
    assert exit_status(["train", *settings, "--cfg", "job"]) == 0
    assert "max_epochs: 1" in capsys.readouterr().out


def test_status_of_what_did_not_end_well(tmp_path, capsys):
    runs = tmp_path / "runs" / "x"
    for name, files in {
        "failed": {"failure.json": '{"error": "ValueError: no"}'},
        "odd": {"result.json": "[]"},
        "begun": {"run.json": '{"config": {}}'},
    }.items():
        (runs / name).mkdir(parents=True)
        for file, text in files.items():
            (runs / name / file).write_text(text)
    (runs / "busy").mkdir()
    with locked(runs / "busy"):
        found = look(StatusConfig(str(tmp_path)))[0]
    states = {run.fingerprint: run.state for run in found}
    assert states == {"begun": "interrupted", "busy": "running", "failed": "failed", "odd": "unreadable"}
    assert exit_status(["status", f"output_dir={tmp_path / 'nothing'}"]) == 2
    assert "there is no folder" in capsys.readouterr().err
