"""`bench gpu`: its path with a GPU that is not there."""

import json
import time

import pytest
from helpers.command_line import exit_status

import deepfake_lit.bench as bench
from deepfake_lit.bench import gpu
from deepfake_lit.bench.timing import BenchConfig, Comparison, OutOfTime, in_a_process
from deepfake_lit.core import hardware
from deepfake_lit.core.hardware import Hardware

JUNIT = """<testsuites><testsuite name="pytest">
<testcase classname="tests.training.test_on_cuda" name="test_a[x]"><failure message="x">...</failure></testcase>
<testcase classname="tests.training.test_on_cuda" name="test_b"/>
<testcase classname="tests.training.test_on_cuda" name="test_c"><skipped message="no"/></testcase>
</testsuite></testsuites>"""


def test_without_a_gpu_it_is_one_line(tmp_path, capsys):
    assert exit_status(["bench", "gpu", f"output={tmp_path}"]) == 2
    assert (
        capsys.readouterr().err == "deepfake-lit: bench gpu needs an NVIDIA GPU, and torch finds none on this machine\n"
    )
    assert not list(tmp_path.iterdir())


def test_three_minutes_on_made_up_images_leave_rows_that_name_the_card_and_the_tests(tmp_path, monkeypatch, capsys):
    def step(cfg):
        assert (cfg.seconds, cfg.data.root) == (gpu.SECONDS, str(tmp_path / "images"))
        yield Comparison("step", "a network, bf16", 0.001, 0.002, 2.0, True, 3, "64,000 images/s against 32,000")

    def end_to_end(cfg):
        yield from ()
        raise OutOfTime

    monkeypatch.setattr(hardware, "resolve", lambda *_: Hardware("cuda", "NVIDIA H100 80GB HBM3", 16, "bf16", True))
    monkeypatch.setattr(gpu, "NAMES", ("step", "end_to_end"))
    monkeypatch.setattr(gpu, "IMAGES", {"train": 10, "validation": 5, "image_size": 16})
    monkeypatch.setattr(bench, "BENCHES", {"step": step, "end_to_end": end_to_end})
    (tmp_path / "tests.xml").write_text(JUNIT)
    assert exit_status(["bench", "gpu", f"output={tmp_path}"]) == 0
    said = capsys.readouterr()
    assert "on NVIDIA H100 80GB HBM3" in said.out
    assert "end_to_end did not end in the time that was left" in " ".join(said.err.split())
    tree = json.loads((tmp_path / "bench.json").read_text())
    assert tree["hardware"]["name"] == tree["rows"][0]["machine"] == "NVIDIA H100 80GB HBM3"
    assert tree["unfinished"] == ["end_to_end"]
    failed = ["tests.training.test_on_cuda.test_a[x]"]
    assert tree["tests"] == {"passed": 1, "skipped": 1, "failed": failed}
    table = (tmp_path / "bench.md").read_text().splitlines()
    note = "64,000 images/s against 32,000"
    assert table[2] == f"| step: a network, bf16 | 0.001 | 0.002 | 2 | {note} | NVIDIA H100 80GB HBM3 |"


def test_what_is_given_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "resolve", lambda *_: Hardware("cuda", "a GPU", 16, "bf16", True))
    given = [f"output={tmp_path}", "data.root=x", "seconds=30"]
    assert gpu.arranged(["loader", "gpu", *given]) == ["loader", *gpu.NAMES, *given]
    assert not list(tmp_path.iterdir())


def test_a_process_is_ended_when_the_time_is_over():
    cfg = BenchConfig(seconds=60)
    assert in_a_process(cfg, abs, -3) == 3
    assert 0 < cfg.seconds < 60
    cfg.seconds = 0.2
    start = time.monotonic()
    with pytest.raises(OutOfTime):
        in_a_process(cfg, time.sleep, 100)
    assert time.monotonic() - start < 20
    assert cfg.seconds == 0
