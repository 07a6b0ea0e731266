"""The benchmark runs, checks the answers of both sides, and says when they differ."""

import json

import numpy as np
import pytest

from deepfake_lit import bench as module
from deepfake_lit import cli


def test_bench_compares_both_sides(samples, tmp_path, capsys):
    settings = [f"data.root={samples}", f"output={tmp_path}", "sizes=[40,1000]", "repetitions=1", "threads=1"]
    assert not cli.COMMANDS["bench"](["knn", *settings])
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [(row["bench"], row["images"], row["same"]) for row in report["rows"]] == [
        ("knn", 40, True),
        ("knn", 100, True),  # no more than there are
    ]
    assert report["hardware"]["threads"] == 1
    for row in report["rows"]:
        assert row["ratio"] == pytest.approx(row["reference_seconds"] / row["seconds"])
    assert "100" in capsys.readouterr().out


def test_other_answers_make_the_exit_status_1(samples, tmp_path, monkeypatch):
    def measured(function, name, side, size, cfg):
        return 1.0, 0.1, np.array([side == "ours"])

    monkeypatch.setattr(module, "_in_a_process", measured)
    assert cli.COMMANDS["bench"](["svm", f"data.root={samples}", f"output={tmp_path}"]) == 1


def test_a_slow_side_is_not_repeated(samples, tmp_path, monkeypatch):
    sides = []

    def measured(function, name, side, size, cfg):
        sides.append(side)
        return 1.0 if side == "ours" else 100.0, 0.1, np.zeros(1)

    monkeypatch.setattr(module, "_in_a_process", measured)
    settings = [f"data.root={samples}", f"output={tmp_path}", "sizes=[50]"]
    cli.COMMANDS["bench"](["svm", *settings])
    assert sides == ["ours", "reference", "ours", "ours"]


def test_an_unknown_bench_is_one_line(samples, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["bench", "kn", f"data.root={samples}", f"output={tmp_path}"])
    assert exit.value.code == 2
    assert "there is no bench 'kn'; there are knn" in capsys.readouterr().err
