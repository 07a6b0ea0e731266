"""The benchmark runs, checks the answers of both sides, and says when they differ."""

import functools
import json
import sys

import numpy as np
import pytest
from helpers.command_line import exit_status

from deepfake_lit.bench import baselines, commands, endtoend, growth, loader, memory, training, utilisation
from deepfake_lit.bench.timing import BenchConfig, Comparison, compared, in_a_process
from deepfake_lit.cli.main import COMMANDS, main
from deepfake_lit.core import console
from deepfake_lit.core.errors import UserError
from deepfake_lit.settings.compose import compose
from deepfake_lit.training import steps

pytestmark = pytest.mark.slow


def test_bench_compares_both_sides(samples, tmp_path, monkeypatch, capsys):
    """One side in a process of its own, as both are: what a process imports takes seconds."""
    started = []

    def measured(cfg, function, name, side, *arguments):
        started.append(side)
        run = functools.partial(in_a_process, cfg) if side == "ours" else lambda call, *given: call(*given)
        return run(function, name, side, *arguments)

    monkeypatch.setattr(baselines, "in_a_process", measured)
    settings = [f"data.root={samples}", f"output={tmp_path}", "sizes=[1000]", "repetitions=1", "threads=1"]
    assert not COMMANDS["bench"](["knn", *settings])
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [(row["bench"], row["case"], row["same"]) for row in report["rows"]] == [
        ("knn", "100 images", True)  # no more than there are
    ]
    assert started == ["ours", "reference"]
    assert report["hardware"]["threads"] == 1
    for row in report["rows"]:
        assert row["ratio"] == pytest.approx(row["reference_seconds"] / row["seconds"])
    assert "100" in capsys.readouterr().out


def test_other_answers_make_the_exit_status_1(samples, tmp_path, monkeypatch):
    def measured(cfg, function, name, side, size, _):
        return 1.0, 0.1, np.array([side == "ours"])

    monkeypatch.setattr(baselines, "in_a_process", measured)
    assert COMMANDS["bench"](["svm", f"data.root={samples}", f"output={tmp_path}"]) == 1


def test_a_slow_side_is_not_repeated(samples, tmp_path, monkeypatch):
    sides = []

    def measured(cfg, function, name, side, size, _):
        sides.append(side)
        return 1.0 if side == "ours" else 100.0, 0.1, np.zeros(1)

    monkeypatch.setattr(baselines, "in_a_process", measured)
    settings = [f"data.root={samples}", f"output={tmp_path}", "sizes=[50]"]
    COMMANDS["bench"](["svm", *settings])
    assert sides == ["ours", "reference", "ours", "ours"]


def test_an_unknown_bench_is_one_line(samples, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["bench", "kn", f"data.root={samples}", f"output={tmp_path}"])
    assert exit.value.code == 2
    assert "bench is 'kn'; it must be one of loader, step" in capsys.readouterr().err


def test_both_sides_are_called_in_turn_and_compared():
    calls = []
    row = compared(
        "x",
        "y",
        lambda: calls.append("ours") or 1,
        lambda: calls.append("reference") or 2,
        lambda a, b: (a, b) == (1, 2),
        BenchConfig(repetitions=2),
        lambda a, b: f"{a < b}",
    )
    assert calls == ["ours", "reference"] * 3  # once to warm up
    assert row.same
    assert row.ratio == row.reference_seconds / row.seconds
    assert row.repetitions == 2
    assert isinstance(row, Comparison)


def _main(arguments: list[str]) -> int:
    return exit_status(arguments) if arguments else 0


def test_the_peak_is_that_of_all_processes(tmp_path):
    child = "import time; held = bytearray(200 * 2**20); time.sleep(0.5)"
    both = f"import subprocess, sys; held = bytearray(100 * 2**20); subprocess.run([sys.executable, '-c', {child!r}])"
    command = [sys.executable, "-c", f"{both}; print('end'); sys.exit(3)"]
    status, seconds, most, own = memory.peak(command, tmp_path / "log")
    assert status == 3
    assert 0.5 < seconds < 20
    assert 300 * 2**20 < own < most < 400 * 2**20
    assert (tmp_path / "log").read_text() == "end\n"


def test_a_command_that_fails_is_said(tmp_path, monkeypatch):
    def failed(command, log):
        log.write_text("deepfake-lit: the disk is full\n")
        return 2, 1.0, 1e9, 1e9

    monkeypatch.setattr(memory, "peak", failed)
    rows = list(memory.memory(BenchConfig(memory=[[6, 16, 2]], output=str(tmp_path))))
    assert [row.case.split(",")[0] for row in rows] == ["audit", "train", "evaluate", "predict", "report", "export"]
    assert all(row.note == "ended with status 2: deepfake-lit: the disk is full" and not row.same for row in rows)
    with pytest.raises(UserError, match="at least three images a class"):
        next(memory.memory(BenchConfig(memory=[[6, 16, 3]], output=str(tmp_path))))


@pytest.mark.parametrize(
    "name",
    [
        *("loader", "step", "utilisation", "fed", "end_to_end", "overhead", "cache", "start", "predict", "sweep"),
        *("growth", "memory"),
    ],
)
def test_every_bench_runs_and_both_sides_agree(name, samples, tmp_path, monkeypatch, capsys):
    """In this process, so that it can be made small; only `start` is about processes."""
    for place in (loader, training, endtoend, commands, growth, utilisation):
        monkeypatch.setattr(place, "in_a_process", lambda cfg, function, *arguments: function(*arguments))
    monkeypatch.setattr(memory, "peak", lambda command, log: (_main(command[3:]), 1.0, 2e9, 1e9))
    monkeypatch.setattr(loader, "cores", lambda: 1)
    monkeypatch.setattr(training, "STEPS", {"deepfake_net": 1})
    for place in (training, steps):
        monkeypatch.setattr(place, "LEARNING", 2)
    monkeypatch.setattr(endtoend, "STEPS", 3)
    monkeypatch.setattr(training, "TRIVIAL_STEPS", 20)
    monkeypatch.setattr(utilisation, "COMPUTE", {"deepfake_net": (4, 4)})
    for place in (training, endtoend, commands, utilisation):
        monkeypatch.setattr(place, "compose", lambda overrides: compose([*overrides, "data.image_size=64"]))
    if name == "start":  # the same command is started once
        monkeypatch.setattr(commands, "_python", functools.cache(commands._python))
    else:
        monkeypatch.setattr(commands, "_python", lambda *arguments: exit_status([*arguments[2:]]))
        monkeypatch.setattr(commands, "cores", lambda: 1)  # joblib's launcher without its workers: test_launchers
    for place in (loader, training, commands):
        monkeypatch.setattr(place, "compared", functools.partial(compared, warm_up=False))
    monkeypatch.setattr(commands, "ONE_BY_ONE", 5)
    monkeypatch.setattr(commands, "TRIALS", 2)
    monkeypatch.setattr("deepfake_lit.core.console.err", console.err)  # the overhead's is silent
    small = ["repetitions=1", "threads=1", "growth=[300,600]", "growth_runs=[2,4]", "memory=[[24,32,2]]"]
    settings = [f"data.root={samples}", f"output={tmp_path / 'bench'}", *small]
    assert not COMMANDS["bench"]([name, *settings])
    rows = json.loads((tmp_path / "bench" / "bench.json").read_text())["rows"]
    assert rows
    for row in rows:
        assert row["bench"] == name
        assert row["same"]
        assert row["ratio"] > 0
    assert name in capsys.readouterr().out
