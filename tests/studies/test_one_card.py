"""Trials that share a GPU, without one: how many, in what order, and what becomes of one that runs out of memory."""

import threading
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.command_line import exit_status
from helpers.faults import differences
from helpers.kills import Killed, kill_at

from deepfake_lit.settings.compose import compose
from deepfake_lit.studies import one_card, sweep
from deepfake_lit.studies.one_card import _at_once, _measured, turn
from deepfake_lit.training.callbacks import DerivedRandomness
from deepfake_lit.training.run import run

GIB = 2**30


@pytest.mark.parametrize(
    ("free", "needed", "busy", "cores", "expected"),
    [
        (80, 4, 0.4, 16, 3),  # the card is idle for more than half of a step
        (80, 4, 0.97, 16, 2),
        (10, 4, 0.1, 16, 2),  # memory
        (80, 4, 0.1, 4, 4),  # cores
        (3, 4, 0.1, 16, 1),  # it may still fit
        (80, 1, 0.0, 16, 16),
    ],
)
def test_as_many_as_memory_idle_time_and_cores_allow(free, needed, busy, cores, expected):
    assert _at_once(free * GIB, needed * GIB, busy, cores) == expected


def test_a_few_steps_are_measured(settings):
    """On a CPU: no GPU has memory or is busy."""
    cfg = compose([*settings, "model.width=0.125"])
    free, needed, busy = _measured(cfg)
    assert (free, busy) == (0, 0)
    assert needed == one_card.CONTEXT + 150 * 32 * 32 * 3


def test_one_that_waits_to_be_alone_is_next(tmp_path):
    """Two are at it, one asks to be alone, and a fourth that comes later waits for it."""
    seen, inside, leave = [], threading.Barrier(3), threading.Event()

    def work(name: str, alone: bool = False):
        with turn(tmp_path, alone):
            seen.append(name)
            if name in "ab":
                inside.wait(10)
                leave.wait(10)
            seen.append(name.upper())

    def started(*arguments) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments)
        thread.start()
        return thread

    threads = [started("a"), started("b")]
    inside.wait(10)  # both at once
    threads.append(started("c", True))
    threads[-1].join(0.3)  # it has the gate by now
    threads.append(started("d"))
    threads[-1].join(0.3)
    assert sorted(seen) == ["a", "b"]
    leave.set()
    for thread in threads:
        thread.join(10)
    assert seen[4:] == ["c", "C", "d", "D"]


@pytest.fixture
def no_memory(monkeypatch):
    """A function that lets so many runs of seed 1 run out of memory, in the second epoch."""
    left = 0
    end = DerivedRandomness.on_train_batch_end

    def short(self, trainer, module, outputs, batch, batch_idx):
        nonlocal left
        if left and (module.cfg.seed, trainer.current_epoch, batch_idx) == (1, 1, 1):
            left -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity")
        end(self, trainer, module, outputs, batch, batch_idx)

    def times(number: int) -> None:
        nonlocal left
        left = number

    monkeypatch.setattr(DerivedRandomness, "on_train_batch_end", short)
    return times


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_a_trial_that_runs_out_of_memory_is_tried_alone(times, no_memory, settings, tmp_path, monkeypatch, capsys):
    """It goes on from its checkpoint, and ends as a trial that had memory enough."""
    turns = []

    def counted(folder: Path, alone: bool = False):
        turns.append(alone)
        return turn(folder, alone)

    monkeypatch.setattr(sweep, "turn", counted)
    no_memory(times)
    status = exit_status(["train", "-m", *settings, "seed=1,2", f"output_dir={tmp_path / 'swept'}"])
    said = " ".join(capsys.readouterr().err.split())
    assert "trial 0: ran out of memory and waits until it can have the GPU alone" in said
    assert turns == [False, True, False]
    if times == 2:
        assert status == 1
        remedy = "lower data.batch_size, or let it have the GPU alone"
        assert f"trial 0 failed: CUDA out of memory. Tried to allocate 2.00 GiB; {remedy}" in said
        return
    assert status == 0
    for seed in (1, 2):
        alone = run(compose([*settings, f"seed={seed}", f"output_dir={tmp_path / 'alone'}"])).main
        assert differences(tmp_path / "swept" / "runs" / "default" / alone.fingerprint, Path(alone.folder)) == []


@pytest.mark.slow
def test_no_memory_is_said_in_one_line_and_says_nothing_against_a_checkpoint(settings, tmp_path, monkeypatch, capsys):
    command = ["train", *settings, f"output_dir={tmp_path}"]
    with monkeypatch.context() as patch:
        kill_at(patch, 1, 1)
        with pytest.raises(Killed):
            run(compose(command[1:]))

    def fit(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with monkeypatch.context() as patch:
        patch.setattr(pl.Trainer, "fit", fit)
        assert exit_status(command) == 2
    said = capsys.readouterr().err
    assert "deepfake-lit: CUDA out of memory. Tried to allocate 2.00 GiB; lower data.batch_size" in said
    assert "Traceback" not in said
    (folder,) = tmp_path.glob("runs/default/*")
    assert (folder / "last.ckpt").exists()
    assert not list(folder.glob("*unusable*"))
